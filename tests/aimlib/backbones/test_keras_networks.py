"""This package's versions of the author's models have the figures that Keras gives (120 classes, 224 px)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from aimlib.config import ModelConfig
from aimlib.datasets.base import ImageShape
from aimlib.memory.attach import AimNetwork
from aimlib.memory.structure import trace
from aimlib.models import build, count_parameters, skeleton, summarize

SHAPE = ImageShape(channels=3, height=224, width=224, classes=120)
KERAS = "resnet50_keras"
AS_RUN: dict[str, Any] = {
    "backbone": {"name": KERAS, "stem_stride": 1, "bn_epsilon": 1e-3},
    "memory": "conv_ones",
    "placement": "block_entry",
    "update": "conv_sigmoid",
    "update_after": "first_block",
    "routing": "as_run",
    "read_init": "whole",
}


def aim(**changes: Any) -> AimNetwork:
    network = skeleton(ModelConfig.parse({**AS_RUN, **changes}), SHAPE)
    assert isinstance(network, AimNetwork)
    return network


def counted_by_keras(network: nn.Module) -> int:
    """Return the number of parameters and running statistics together, because Keras counts both."""
    return count_parameters(network) + sum(b.numel() for n, b in network.named_buffers() if "running_" in n)


def reading_weights(network: AimNetwork) -> int:
    return sum(reader.read_weight.numel() for reader in network.readers())


def test_the_control_has_as_many_parameters_as_in_keras() -> None:
    summary = summarize(ModelConfig.parse({"backbone": KERAS}), SHAPE, 1)
    assert summary.parameters + summary.running_statistics == 23_833_592
    assert summary.running_statistics == 53_120


def test_the_control_has_its_stride_on_the_first_1x1_convolution_and_has_biases() -> None:
    network = skeleton(ModelConfig.parse({"backbone": KERAS}), SHAPE)
    convolutions = {name: part for name, part in network.named_modules() if isinstance(part, nn.Conv2d)}
    strided = {name for name, part in convolutions.items() if part.stride == (2, 2)}
    stages = (2, 3, 4)
    expected = {f"layer{stage}.0.{part}" for stage in stages for part in ("conv1", "downsample.0")}
    assert strided == {"conv1", *expected}
    assert all(part.bias is not None for part in convolutions.values())
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1.001e-5, 0.01)}


def test_aim_as_run_has_as_many_parameters_as_in_keras() -> None:
    network = aim()
    assert counted_by_keras(network) == 26_714_360
    assert [count_parameters(source) for source in network.sources()] == [1_049_600, 1_049_600]
    assert reading_weights(network) == 388_352
    assert [counted_by_keras(update) for update in network.updates.values()] == [78_464, 117_056, 197_696]
    assert (network.source.config.values, network.source.degrees_of_freedom) == (50_176, 1_024)


def test_aim_as_run_reads_at_the_same_places_and_widths_as_the_original_code() -> None:
    readings = aim().attachment.readers
    assert [reading.channels_added for reading in readings] == [4, 4, 4, 4, *[16] * 4, *[64] * 6, 256, 256]
    assert [reading.height for reading in readings] == [*[112] * 4, *[56] * 4, *[28] * 6, 14, 14]
    assert all(reading.layer.endswith(".conv1") for reading in readings)
    current = [reading.layer for reading in readings if reading.memory == "current"]
    assert current == [f"layer{stage}.0.conv1" for stage in (1, 2, 3, 4)]
    assert len(readings) - len(current) == 12


def test_aim_as_run_updates_after_the_first_blocks_of_three_stages() -> None:
    attachment = aim().attachment
    assert attachment.updates == ("layer1.0", "layer2.0", "layer3.0")
    assert attachment.unread_updates == ("layer4.0",), "the author built it, but nothing uses its output"
    assert attachment.skipped == {}


def test_stages_after_a_stem_with_stride_1_have_4_times_as_many_positions() -> None:
    for stride, sides in ((1, (112, 56, 28, 14)), (2, (56, 28, 14, 7))):
        network = skeleton(ModelConfig.parse({"backbone": {"name": KERAS, "stem_stride": stride}}), SHAPE)
        shapes = {call.name: call.output_shape[2:] for call in trace(network, (3, 224, 224)) if call.name}
        assert [shapes[f"layer{stage}"] for stage in (1, 2, 3, 4)] == [(side, side) for side in sides]


def test_reads_are_wider_with_stem_stride_2() -> None:
    network = aim(backbone={"name": KERAS, "stem_stride": 2, "bn_epsilon": 1e-3})
    assert counted_by_keras(network) == 27_915_704
    assert reading_weights(network) == 1_553_408


def test_aim_as_described_reads_the_current_memory_in_every_layer() -> None:
    described = {"backbone": KERAS, "placement": "every_layer", "update_after": "stage", "routing": "current"}
    network = aim(**described, read_init="concatenated")
    assert len(network.attachment.readers) == 54, "53 convolutions and the dense layer"
    assert {reading.memory for reading in network.attachment.readers} == {"current"}
    assert network.attachment.updates == ("layer1.2", "layer2.3", "layer3.5", "layer4.2")
    assert counted_by_keras(network) > 24_100_000, "the post's 24.1 million cannot be reached"


@pytest.mark.parametrize(("read_init", "own", "read"), [("whole", 0.1715, 0.1715), ("concatenated", 0.1768, 0.1715)])
def test_reads_in_the_second_stage_start_at_the_same_scale_as_in_the_original_code(
    read_init: str, own: float, read: float
) -> None:
    """He normal gives sqrt(2 / 68) over 64 + 4 channels, and sqrt(2 / 64) over the layer's own channels alone."""
    model = {**AS_RUN, "read_init": read_init, "backbone": {"name": KERAS, "stem_stride": 1, "blocks": [2, 1, 1, 1]}}
    model = {**model, "backbone": {**model["backbone"], "widths": [64, 4, 4, 4]}}
    network = build(ModelConfig.parse(model), SHAPE, 0).requires_grad_(requires_grad=False)
    assert isinstance(network, AimNetwork)
    reader = next(iter(network.readers()))
    assert reader.weight.shape[1] == 64
    assert reader.read_weight.shape[1] == 4
    assert float(reader.weight.std()) == pytest.approx(own, rel=0.03)
    assert float(reader.read_weight.std()) == pytest.approx(read, rel=0.12)
    assert float(reader.read_weight.abs().max()) <= 2 * 0.1715 / 0.8796


def test_glorot_and_he_initializations_share_their_underlying_draws() -> None:
    """Arms with different initializers differ only in the quantile function."""
    small = {"name": KERAS, "widths": [8, 8], "blocks": [1, 1]}
    shape = ImageShape(3, 32, 32, 5)
    he, glorot = (
        build(ModelConfig.parse({"backbone": small, "conv_init": rule}), shape, 3).state_dict()
        for rule in ("he_normal", "glorot_uniform")
    )
    weight = "layer2.0.conv2.weight"
    assert torch.equal(he[weight].flatten().argsort(), glorot[weight].flatten().argsort())
    assert torch.equal(he["fc.weight"], glorot["fc.weight"]), "the dense layer is Glorot uniform in both"
