"""A layer reads the current memory or, with the routing as run, the second, static memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_runs import AIM, SHAPE, SMALL, model

from aimlib.errors import UsageError
from aimlib.memory.attach import AimNetwork
from aimlib.models import build, skeleton

TWO_BLOCKS = {**SMALL, "blocks": [2, 2]}
AS_RUN: dict[str, Any] = {
    **AIM,
    "backbone": TWO_BLOCKS,
    "placement": "block_entry",
    "update_after": "first_block",
    "routing": "as_run",
}


def network_of(options: dict[str, Any], seed: int = 0) -> AimNetwork:
    network = build(model(**options), SHAPE, seed).eval()
    assert isinstance(network, AimNetwork)
    return network


def images(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_only_the_first_block_of_a_stage_reads_the_current_memory() -> None:
    network = network_of(AS_RUN)
    read = {reading.layer: reading.memory for reading in network.attachment.readers}
    assert read == {
        "layer1.0.conv1": "current",
        "layer1.1.conv1": "static",
        "layer2.0.conv1": "current",
        "layer2.1.conv1": "static",
    }
    assert all(reading.memory == "current" for reading in network_of({**AS_RUN, "routing": None}).attachment.readers)


def test_the_static_memory_has_its_own_source() -> None:
    network = network_of(AS_RUN)
    assert len(list(network.sources())) == 2
    assert network.static_source is not None
    assert not torch.equal(network.source(1), network.static_source(1))
    current = network_of({**AS_RUN, "routing": "current"})
    assert torch.equal(network.source(1), current.source(1)), "the first source starts as with routing: current"
    assert current.static_source is None


def test_updates_do_not_affect_static_readers() -> None:
    """After the last update, all readers are static, so their input is the same as in a network without updates."""
    network = network_of(AS_RUN)
    seen: dict[str, torch.Tensor] = {}
    for reading, reader in zip(network.attachment.readers, network.readers(), strict=True):
        reader.register_forward_pre_hook(
            lambda module, _arguments, name=reading.layer: seen.update({name: module.memory.read().clone()})
        )
    network(images())
    assert network.static_source is not None
    for name in ("layer1.1.conv1", "layer2.1.conv1"):
        assert torch.equal(seen[name], network.static_source(1))
    assert torch.equal(seen["layer1.0.conv1"], network.source(1))
    assert seen["layer2.0.conv1"].shape[0] == 3, "after the first update, the current memory is per image"


def test_an_update_followed_only_by_static_readers_is_not_built() -> None:
    network = network_of(AS_RUN)
    assert network.attachment.updates == ("layer1.0",)
    assert network.attachment.unread_updates == ("layer2.0",)
    assert network_of({**AS_RUN, "routing": "current"}).attachment.updates == ("layer1.0", "layer2.0")


def test_both_memory_sources_are_trained_and_saved() -> None:
    network = network_of(AS_RUN).train()
    network(images()).square().sum().backward()
    for name, parameter in network.named_parameters():
        if "source" in name:
            assert parameter.grad is not None, name
            assert bool(parameter.grad.abs().sum() > 0), name
    names = network.state_dict()
    assert {"source.conv.weight", "static_source.conv.weight"} <= set(names)


def test_nothing_is_kept_between_forward_passes() -> None:
    network = network_of(AS_RUN)
    network(images())
    assert network.static_memory is not None
    for memory in (network.memory, network.static_memory):
        with pytest.raises(RuntimeError, match="outside a forward pass"):
            memory.read()


@pytest.mark.parametrize(
    ("placement", "which"), [("stage_only", "no layer outside"), ("input_only", "no layer inside")]
)
def test_routing_without_an_effect_is_refused(placement: str, which: str) -> None:
    options = {**AS_RUN, "placement": placement, "update": None, "update_after": None}
    with pytest.raises(UsageError, match=rf"routing 'as_run' has no effect: {which} the first block.*routing: current"):
        skeleton(model(**options), SHAPE)
