"""Adaptive pooling without effect is skipped; layers keep their names, and results are bitwise identical."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aimlib.backbones.pooling import AdaptiveAveragePool, nondeterministic_poolings
from aimlib.config import ModelConfig
from aimlib.datasets.base import ImageShape
from aimlib.memory.structure import replace_module
from aimlib.models import build, skeleton, summarize

NARROW: dict[str, Any] = {"name": "vgg16_bn", "widths": [2, 2, 3, 3, 4], "dense": [7, 8], "dropout": 0.0}
ALEXNET: dict[str, Any] = {"name": "torchvision", "architecture": "alexnet"}
LARGE = [pytest.param(ALEXNET, size, marks=pytest.mark.slow) for size in (224, 96)]  # 60 million parameters
COMPUTED = pytest.mark.parametrize(("backbone", "size"), [(NARROW, 224), (NARROW, 64), *LARGE])
NETWORKS = pytest.mark.parametrize(("backbone", "size"), [(NARROW, 224), (NARROW, 64), (ALEXNET, 224), (ALEXNET, 96)])


def network_of(backbone: dict[str, Any], size: int) -> nn.Module:
    return build(ModelConfig.parse({"backbone": backbone}), ImageShape(3, size, size, 5), 0)


def as_torchvision_has_it(network: nn.Module) -> nn.Module:
    """Return the network with torch's own pooling."""
    for name, module in list(network.named_modules()):
        if isinstance(module, AdaptiveAveragePool):
            replace_module(network, name, nn.AdaptiveAvgPool2d(module.output_size))
    return network


def passed(network: nn.Module, x: Tensor) -> list[Tensor]:
    """Return the logits and the gradients of one forward and backward pass."""
    torch.manual_seed(0)
    logits = network.to(memory_format=torch.channels_last)(x)  # type: ignore[call-overload]
    nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    return [logits.detach(), *(parameter.grad for parameter in network.parameters() if parameter.grad is not None)]


@COMPUTED
def test_skipping_pooling_leaves_results_bitwise_identical(backbone: dict[str, Any], size: int) -> None:
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1)).to(memory_format=torch.channels_last)
    own, plain = network_of(backbone, size), as_torchvision_has_it(network_of(backbone, size))
    assert [name for name, _ in own.named_modules()] == [name for name, _ in plain.named_modules()]
    assert list(own.state_dict()) == list(plain.state_dict())
    assert any(isinstance(module, AdaptiveAveragePool) for module in own.modules())
    assert not any(isinstance(module, AdaptiveAveragePool) for module in plain.modules())
    found, expected = passed(own, x), passed(plain, x)
    assert len(found) == len(expected) > 10
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@COMPUTED
def test_pooling_that_has_no_effect_is_not_computed(
    backbone: dict[str, Any], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This matters because the pooling has no deterministic backward pass on CUDA."""
    pooled: list[int] = []
    exact = nn.functional.adaptive_avg_pool2d

    def pool(x: Tensor, wanted: Any) -> Tensor:
        pooled.append(x.shape[-1])
        return exact(x, wanted)

    monkeypatch.setattr(nn.functional, "adaptive_avg_pool2d", pool)
    network_of(backbone, size).eval()(torch.zeros(1, 3, size, size))
    assert pooled == ([] if size == 224 else [2])


@NETWORKS
def test_pooling_layers_that_are_not_deterministic_on_a_gpu_are_listed(backbone: dict[str, Any], size: int) -> None:
    model, shape = ModelConfig.parse({"backbone": backbone}), ImageShape(3, size, size, 5)
    expected = () if size == 224 else ("avgpool",)
    assert nondeterministic_poolings(skeleton(model, shape), (3, size, size)) == expected
    assert summarize(model, shape, 4).nondeterministic_on_gpu == expected


def test_pooling_to_one_value_is_a_mean() -> None:
    """This matters because a mean has a deterministic backward pass on CUDA."""
    model = ModelConfig.parse({"backbone": {"name": "torchvision", "architecture": "resnet18"}})
    assert summarize(model, ImageShape(3, 64, 64, 5), 4).nondeterministic_on_gpu == ()
