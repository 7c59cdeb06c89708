"""Squeeze-and-excitation follows the formula in the paper, and its controls share its initial values."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from aimlib.config import ModelConfig
from aimlib.datasets.base import ImageShape
from aimlib.models import build

SHAPE = ImageShape(channels=1, height=16, width=16, classes=10)
SMALL: dict[str, Any] = {"widths": [4, 8], "blocks": [1, 1]}


def network(**options: Any) -> torch.nn.Module:
    return build(ModelConfig.parse({"backbone": {"name": "small_se_resnet", **SMALL, **options}}), SHAPE, 7)


def images() -> torch.Tensor:
    return torch.rand(5, 1, 16, 16, generator=torch.Generator().manual_seed(1))


def test_without_a_gate_the_network_is_bitwise_identical_to_small_resnet() -> None:
    plain = build(ModelConfig.parse({"backbone": {"name": "small_resnet", **SMALL}}), SHAPE, 7)
    assert network(gate="none").state_dict().keys() == plain.state_dict().keys()
    assert torch.equal(network(gate="none")(images()), plain(images()))


@pytest.mark.parametrize("gate", ["learned", "frozen", "constant"])
def test_layers_shared_by_arms_start_with_the_same_values(gate: str) -> None:
    own, plain = network(gate=gate).state_dict(), network(gate="none").state_dict()
    assert all(torch.equal(own[name], value) for name, value in plain.items())
    assert own.keys() - plain.keys()


def test_the_gate_follows_the_formula_in_the_paper() -> None:
    gate = network().get_submodule("layer2.0.gate")
    x = torch.randn(3, 32, 4, 4, generator=torch.Generator().manual_seed(2))
    squeezed = x.mean(dim=(2, 3))
    hidden = (squeezed @ gate.squeeze.weight.T + gate.squeeze.bias).clamp(min=0)
    weights = 1 / (1 + (-(hidden @ gate.excite.weight.T + gate.excite.bias)).exp())
    torch.testing.assert_close(gate(x), x * weights[:, :, None, None])
    assert gate.squeeze.out_features == 32 // 4


def test_a_frozen_gate_starts_like_the_learned_gate_and_is_never_trained() -> None:
    learned, frozen = network(), network(gate="frozen")
    assert torch.equal(learned(images()), frozen(images()))
    frozen(images()).square().sum().backward()
    gates = {name: value for name, value in frozen.named_parameters() if ".gate." in name}
    assert gates
    assert all(value.grad is None and not value.requires_grad for value in gates.values())
    assert frozen.get_parameter("layer1.0.conv1.weight").grad is not None


def test_a_constant_gate_weights_all_images_equally() -> None:
    gate = network(gate="constant").get_submodule("layer1.0.gate")
    torch.nn.init.normal_(gate.gate, generator=torch.Generator().manual_seed(3))
    x = torch.rand(2, 16, 3, 3, generator=torch.Generator().manual_seed(4)) + 0.1
    ratio = (gate(x) / x)[:, :, 0, 0]
    torch.testing.assert_close(ratio[0], ratio[1])
    torch.testing.assert_close(ratio[0], torch.sigmoid(gate.gate))
