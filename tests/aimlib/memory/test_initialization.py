"""Parameters that two arms share start identically, with the scale that the rules specify."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tiny_runs import AIM, MEMORY, SHAPE, model
from torch import Tensor, nn

from aimlib.datasets.base import ImageShape
from aimlib.memory import ConvReader, CurrentMemory
from aimlib.memory.attach import attach_memory
from aimlib.memory.initialization import Rule, declare, draw, initialize
from aimlib.models import build, skeleton, summarize
from aimlib.registry import memories, placements

RGB = ImageShape(3, 32, 32, 5)


def state(options: dict[str, Any], shape: ImageShape = SHAPE, seed: int = 0) -> dict[str, Tensor]:
    network = build(model(**options), shape, seed)
    return {name.removeprefix("network."): value for name, value in network.state_dict().items()}


ARMS = {
    **{name: {**AIM, "update": None, "placement": name} for name in placements.names() if name != "layers"},
    "layers": {**AIM, "update": None, "placement": {"name": "layers", "names": ["layer1.*", "fc"]}},
    "update": AIM,
    "frozen": {**AIM, "control": "frozen_memory"},
    "own": {**AIM, "read_init": "own"},
    "carried": {**AIM, "carry": {}},
    "parameter": {**AIM, "memory": {**MEMORY, "name": "parameter"}},
    "after_block": {**AIM, "update_after": "block"},
}


@pytest.mark.parametrize("arm", ARMS)
def test_shared_layers_start_identically_in_every_arm(arm: str) -> None:
    baseline, other = state({}), state(ARMS[arm])
    assert len(other) > len(baseline)
    assert all(torch.equal(other[name], value) for name, value in baseline.items())
    assert not torch.equal(state({}, seed=1)["conv1.weight"], baseline["conv1.weight"])


def test_parts_that_memories_have_in_common_start_identically() -> None:
    every, entry = state(ARMS["update"]), state({**AIM, "placement": "block_entry"})
    common = set(every) & set(entry)
    assert {"source.conv.weight", "layer2.0.conv1.read_weight", "updates.layer1/0.see.weight"} <= common
    assert all(torch.equal(every[name], entry[name]) for name in common)


def test_construction_does_not_depend_on_earlier_networks_or_change_the_torch_generator() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = state(AIM)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    torch.rand(5)
    state({"backbone": "mlp"})
    second = state(AIM)
    assert all(torch.equal(first[name], second[name]) for name in first)
    before = torch.get_rng_state()
    skeleton(model(**AIM), SHAPE)
    summarize(model(backbone="vgg16_bn"), RGB, 2)
    assert torch.equal(torch.get_rng_state(), before)


class Nested(nn.Module):
    """A network with its own rule, and with a child that has the same name as a child of AimNetwork."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Conv2d(1, 8, 3)
        self.head = nn.Conv2d(8, 8, 1)
        declare(self.network, weight=Rule("normal", 3.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.network(x)).mean((2, 3))


def test_names_and_declared_rules_of_a_network_are_kept_when_memory_is_attached() -> None:
    baseline, inner = Nested(), Nested()
    source = memories.create(memories.parse({**MEMORY, "channels": 8}))
    network = attach_memory(inner, source, placements.create(placements.parse("every_layer")), input_shape=(1, 8, 8))
    initialize(baseline, 0)
    initialize(network, 0)
    assert isinstance(inner.network, ConvReader)
    for name, value in baseline.state_dict().items():
        assert torch.equal(network.state_dict()[f"network.{name}"], value), name
    assert abs(float(inner.network.weight.detach().std()) / 3 - 1) < 0.3


def relative(actual: float, expected: float) -> float:
    return abs(actual / expected - 1)


def test_he_normal_has_its_scale_and_is_truncated() -> None:
    values = draw(Rule("he_normal"), torch.Size((512, 64, 3, 3)), 0)
    sd = math.sqrt(2 / (64 * 9))
    assert relative(float(values.std()), sd) < 0.01
    assert abs(float(values.mean())) < 0.01 * sd
    limit = 2 * sd / 0.87962566103423978
    assert 0.98 * limit < float(values.abs().max()) <= limit * (1 + 1e-6)


def test_glorot_uniform_has_its_scale_and_bounds() -> None:
    values = draw(Rule("glorot_uniform"), torch.Size((256, 64, 3, 3)), 0)
    limit = math.sqrt(6 / (9 * (256 + 64)))
    assert relative(float(values.std()), limit / math.sqrt(3)) < 0.01
    assert 0.99 * limit < float(values.abs().max()) <= limit


def test_normal_and_constant_rules_use_their_values() -> None:
    assert relative(float(draw(Rule("normal", 0.5), torch.Size((100_000,)), 0).std()), 0.5) < 0.01
    assert draw(Rule("constant", 1.5), torch.Size((2, 2)), 0).tolist() == [[1.5, 1.5], [1.5, 1.5]]


def test_all_rules_use_the_same_underlying_draws() -> None:
    shape = torch.Size((40, 30))
    he, glorot, normal = (draw(Rule(kind), shape, 7) for kind in ("he_normal", "glorot_uniform", "normal"))
    assert torch.equal(he.flatten().argsort(), glorot.flatten().argsort())
    assert torch.equal(he.flatten().argsort(), normal.flatten().argsort())
    assert not torch.equal(draw(Rule("normal"), shape, 8), normal)


@pytest.mark.parametrize(("read_init", "sd"), [("concatenated", 0.1715), ("own", math.sqrt(2 / 4))])
def test_reading_weights_start_at_the_scale_of_the_concatenated_layer_or_at_their_own_scale(
    read_init: Any, sd: float
) -> None:
    # According to the claim, the standard deviation in stage 2's first block is .172: a 1 x 1 convolution over 64
    # channels and 4 memory channels.
    reader = ConvReader(nn.Conv2d(64, 8192, 1), 4, CurrentMemory())
    initialize(reader, 0, "he_normal", read_init)
    assert relative(float(reader.read_weight.detach().std()), sd) < 0.02
    assert relative(float(reader.weight.detach().std()), math.sqrt(2 / 64)) < 0.02  # as in the baseline
    assert reader.bias.abs().sum() == 0


def test_conv_init_applies_only_to_convolutions_and_reading_weights() -> None:
    he, glorot = state(AIM), state({**AIM, "conv_init": "glorot_uniform"})
    changed = {name for name in he if not torch.equal(he[name], glorot[name])}
    assert {"conv1.weight", "layer1.0.conv1.read_weight"} <= changed
    assert not changed & {
        "fc.weight",
        "fc.read_weight",
        "source.conv.weight",
        "updates.layer1/0.write.weight",
        "bn1.weight",
    }
    sign = (he["conv1.weight"] > 0) == (glorot["conv1.weight"] > 0)
    assert sign.all()


def test_the_memory_and_the_last_layer_of_updates_start_as_in_the_original_code() -> None:
    wide = model(**{**AIM, "memory": {"name": "conv_ones", "channels": 256, "rows": 2, "columns": 2}})
    network = build(wide, SHAPE, 0)
    assert relative(float(network.source.conv.weight.detach().std()), math.sqrt(2 / 512)) < 0.02
    assert network.source.conv.bias.abs().sum() == 0
    update = network.updates["layer1/0"]
    assert relative(float(update.write.weight.detach().std()), math.sqrt(2 / (256 + 3))) < 0.05
    fan_in = 9 * (update.see.in_channels + update.read.in_channels)
    both = torch.cat([update.see.weight.flatten(), update.read.weight.flatten()])
    assert relative(float(both.detach().std()), math.sqrt(2 / fan_in)) < 0.05
    norm = update.refine[0]
    assert (norm.eps, norm.momentum) == (1e-3, 0.01)


def test_batch_norms_start_as_the_identity() -> None:
    start = state({})
    assert (start["bn1.weight"] == 1).all()
    assert (start["bn1.bias"] == 0).all()


def test_parameters_that_no_rule_covers_are_reported_and_keep_their_values() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.PReLU(init=0.7))
    assert initialize(network, 0) == ["1.weight"]
    assert network[1].weight.item() == pytest.approx(0.7)


def test_a_rule_for_a_parameter_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="Conv2d has no parameter weihgt"):
        declare(nn.Conv2d(1, 1, 1), weihgt=Rule("constant"))


@pytest.mark.parametrize("rule", ["he_normal", "glorot_uniform"])
def test_read_init_whole_starts_like_the_concatenated_layer(rule: str) -> None:
    """A layer's own weights and its reading weights use the shared draws, scaled as parts of one tensor."""
    options = {**AIM, "placement": "block_entry", "conv_init": rule}
    shared, whole = state(options), state({**options, "read_init": "whole"})
    name = "layer2.0.conv1"
    own, read = whole[f"{name}.weight"], whole[f"{name}.read_weight"]
    fan_in, fan_out = own.shape[1] + read.shape[1], own.shape[0]
    variances = {
        "he_normal": (2 / fan_in, 2 / own.shape[1]),
        "glorot_uniform": (2 / (fan_in + fan_out), 2 / (own.shape[1] + fan_out)),
    }
    concatenated, alone = variances[rule]
    torch.testing.assert_close(own, shared[f"{name}.weight"] * math.sqrt(concatenated / alone))
    assert torch.equal(read, shared[f"{name}.read_weight"])
    assert all(torch.equal(value, shared[key]) for key, value in whole.items() if "conv1" not in key)
