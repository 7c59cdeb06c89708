"""Shapes without values: a fast forward pass on the meta device gives the same shapes as an ordinary forward pass."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from aimlib.shapes import quick_batch_norm


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 4, 3, stride=2),
        nn.BatchNorm2d(4, affine=False),
        nn.Flatten(),
        nn.Linear(4 * 7 * 7, 6),
        nn.BatchNorm1d(6, track_running_stats=False),
    )


def kept(network: nn.Module, x: Tensor, *, quick: bool) -> tuple[list[tuple[int, ...]], int]:
    """Return the modules' output shapes, and the bytes that autograd keeps in addition to parameters and buffers."""
    shapes: list[tuple[int, ...]] = []
    own = {t.untyped_storage()._cdata for t in (*network.parameters(), *network.buffers())}
    stored: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage()._cdata not in own:
            stored[tensor.untyped_storage()._cdata] = tensor
        return tensor

    handles = [module.register_forward_hook(lambda *a: shapes.append(tuple(a[2].shape))) for module in network]
    context = quick_batch_norm(network) if quick else nullcontext()
    with context, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(x)
    for handle in handles:
        handle.remove()
    return shapes, sum(tensor.untyped_storage().nbytes() for tensor in stored.values())


def test_shapes_and_kept_bytes_are_the_same_as_in_a_normal_forward_pass() -> None:
    network = convolutions().to("meta")
    x = torch.zeros(2, 3, 16, 16, device="meta")
    assert kept(network, x, quick=True) == kept(network, x, quick=False)


def test_random_number_generators_and_the_network_are_unchanged() -> None:
    torch.manual_seed(0)
    network, x = convolutions(), torch.randn(2, 3, 16, 16)
    with quick_batch_norm(network):
        quick = network(x)
    torch.testing.assert_close(quick, network(x), rtol=0, atol=0)
    assert all("forward" not in vars(module) for module in network.modules())


@pytest.mark.parametrize("channels", [7, 9])
def test_a_map_that_does_not_fit_the_network_is_refused(channels: int) -> None:
    network = nn.Sequential(nn.Conv2d(3, channels, 1), nn.BatchNorm2d(8)).to("meta")
    with quick_batch_norm(network), pytest.raises(ValueError, match=f"of 8 channels cannot take {channels}"):
        network(torch.zeros(2, 3, 4, 4, device="meta"))
