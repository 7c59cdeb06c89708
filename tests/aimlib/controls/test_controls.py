"""In control arms, frozen memory does not change, and matched baselines have as many parameters as AiM."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import AIM, MEMORY, SHAPE, data_set, model, quick, restored_registries, run_config

import aimlib.training.run
from aimlib.backbones.base import Backbone
from aimlib.config import ModelConfig
from aimlib.controls._position_bias import as_position_biases
from aimlib.controls.matching import match_widths
from aimlib.datasets.base import ImageShape
from aimlib.errors import UsageError
from aimlib.memory import Layout
from aimlib.models import build, count_parameters, skeleton, summarize
from aimlib.registry import backbones, controls
from aimlib.training.loop import train

RGB = ImageShape(3, 32, 32, 10)


def transformed(control: Any, arm: ModelConfig, shape: ImageShape) -> ModelConfig:
    result: ModelConfig = controls.create(controls.parse(control)).transform(arm, shape)
    return result


def test_frozen_memory_leaves_the_source_and_the_updates_unchanged_and_trains_the_readers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frozen = transformed("frozen_memory", model(**AIM), SHAPE)
    assert frozen == model(**AIM, control="frozen_memory")
    built: list[torch.nn.Module] = []
    real = aimlib.training.run.build
    monkeypatch.setattr(aimlib.training.run, "build", lambda *given: (built.append(real(*given)), built[-1])[1])
    config = run_config(
        model=frozen.model_dump(mode="json"), training__optimizer={"name": "adamw", "weight_decay": 0.1}
    )
    assert train(config, data_set()).status == "finished"
    start, end = dict(build(frozen, SHAPE, 0).named_parameters()), dict(built[0].named_parameters())
    kept = {name for name in start if name.startswith(("source.", "updates."))}
    assert kept
    assert all(torch.equal(start[name], end[name]) for name in kept)
    readers = {name for name in start if name.endswith("read_weight")}
    assert readers
    assert all(not torch.equal(start[name], end[name]) for name in readers)
    assert count_parameters(built[0], trainable=True) == sum(p.numel() for n, p in start.items() if n not in kept)
    assert controls.get("frozen_memory").role == "frozen"


@pytest.mark.parametrize(
    ("backbone", "shape"),
    [
        ({"name": "small_resnet", "widths": [8, 16, 32], "blocks": [1, 1, 1]}, ImageShape(1, 16, 16, 10)),
        ({"name": "resnet50", "widths": [8, 16, 16, 32]}, RGB),
        ({"name": "vgg16_bn", "widths": [8, 8, 16, 16, 16], "dense": [64, 32]}, RGB),
        ({"name": "mlp", "widths": [64, 64]}, ImageShape(1, 16, 16, 10)),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_the_matched_baseline_has_as_many_parameters_as_the_aim_model(
    backbone: dict[str, Any], shape: ImageShape
) -> None:
    arm = model(backbone=backbone, memory=MEMORY, placement="every_layer", conv_init="glorot_uniform")
    matched = transformed("matched_parameters", arm, shape)
    target, reached = (count_parameters(skeleton(config, shape)) for config in (arm, matched))
    assert abs(reached / target - 1) <= 0.005
    assert matched.memory is matched.placement is matched.control is None
    assert matched.conv_init == "glorot_uniform"
    assert all(new >= old for new, old in zip(matched.backbone.widths, backbone["widths"], strict=True))
    assert tuple(matched.backbone.widths) != tuple(backbone["widths"])
    own = {k: v for k, v in matched.backbone.model_dump().items() if k != "widths"}
    assert own == {k: v for k, v in arm.backbone.model_dump().items() if k != "widths"}


def test_matching_is_refused_if_there_are_no_widths_within_the_tolerance() -> None:
    arm = model(**{**AIM, "backbone": {"name": "mlp", "widths": [1]}, "update": None})
    strict = {"name": "matched_parameters", "tolerance": 1e-6}
    with pytest.raises(
        UsageError, match=r"no widths of backbone 'mlp' come within .* of [\d,]+ parameters; the nearest, \["
    ):
        transformed(strict, arm, SHAPE)


def test_matching_is_refused_for_a_backbone_without_widths() -> None:
    with restored_registries():

        @backbones.register("fixed")
        class Fixed(Backbone):
            def build(self, shape: ImageShape) -> torch.nn.Module:
                return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))

            def layout(self, network: torch.nn.Module) -> Layout:
                return Layout()

        arm = model(backbone="fixed", memory=MEMORY, placement="every_layer")
        with pytest.raises(UsageError, match=r"backbone 'fixed' cannot be widened .* cannot match the cost"):
            transformed("matched_parameters", arm, SHAPE)


def test_a_control_that_belongs_to_the_arm_is_refused_in_the_model() -> None:
    with pytest.raises(UsageError, match=r"'matched_parameters'.*set it as the arm's control"):
        build(model(**AIM, control="matched_parameters"), SHAPE, 0)


@quick
@given(
    widths=st.lists(st.integers(1, 20), min_size=1, max_size=4).map(tuple),
    weights=st.lists(st.integers(1, 9), min_size=4, max_size=4),
    more=st.floats(1.0, 8.0),
)
def test_matched_widths_are_the_nearest_widths_that_are_at_least_as_large_as_the_given_widths(
    widths: tuple[int, ...], weights: list[int], more: float
) -> None:
    def count(at: tuple[int, ...]) -> int:
        chain = [3, *at, 5]
        return sum(a * b for a, b in pairwise(chain)) + sum(w * n for w, n in zip(weights, at, strict=False))

    target = int(count(widths) * more)
    found = match_widths(widths, target, count)
    gap = abs(count(found) - target)
    assert all(new >= old for new, old in zip(found, widths, strict=True))
    assert gap <= abs(count(widths) - target)
    for stage in range(len(found)):
        for step in (1, -1):
            near = tuple(width + step * (i == stage) for i, width in enumerate(found))
            if near[stage] >= widths[stage]:
                assert abs(count(near) - target) >= gap
    assert more > 1 or found == widths


@pytest.mark.parametrize(
    ("backbone", "shape"),
    [
        ({"name": "small_resnet", "widths": [8, 16, 32], "blocks": [1, 1, 1]}, ImageShape(1, 16, 16, 10)),
        ({"name": "resnet50_keras", "widths": [8, 16, 16, 32], "blocks": [1, 1, 2, 1]}, RGB),
        ({"name": "mlp", "widths": [64, 64]}, ImageShape(1, 16, 16, 10)),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_a_matched_baseline_has_as_many_multiply_adds_as_the_aim_model(
    backbone: dict[str, Any], shape: ImageShape
) -> None:
    update = None if backbone["name"] == "mlp" else "conv_sigmoid"
    arm = model(backbone=backbone, memory=MEMORY, placement="every_layer", update=update)
    matched = transformed({"name": "matched_multiply_adds", "tolerance": 0.02}, arm, shape)
    target, reached = (summarize(config, shape, 64).multiply_adds for config in (arm, matched))
    assert abs(reached / target - 1) <= 0.02
    assert tuple(matched.backbone.widths) != tuple(backbone["widths"])
    assert matched.memory is None


@pytest.mark.parametrize(
    "backbone",
    [
        "resnet50",
        "resnet50_keras",
        "vgg16",
        {"name": "mlp", "widths": [9]},
        {"name": "torchvision", "architecture": "mobilenet_v3_small"},
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else value,
)
def test_multiply_adds_computed_from_shapes_equal_the_counted_multiply_adds(backbone: Any) -> None:
    config, shape = model(backbone=backbone), ImageShape(3, 64, 64, 10)
    control: Any = controls.create(controls.parse("matched_multiply_adds"))
    assert control.cost(config, shape) == summarize(config, shape, 4).multiply_adds


def read_by(network: Any, x: torch.Tensor) -> list[torch.Tensor]:
    """Return the memory that each reader sees in one forward pass."""
    seen: list[torch.Tensor] = []
    handles = [
        reader.register_forward_pre_hook(lambda module, _arguments: seen.append(module.memory.read().detach().clone()))
        for reader in network.readers()
    ]
    network(x)
    for handle in handles:
        handle.remove()
    return seen


def images(batch: int = 4) -> torch.Tensor:
    return torch.randn(batch, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("training", [True, False])
def test_a_permuted_memory_is_the_memory_of_the_next_image(training: bool) -> None:
    arm = model(**{**AIM, "placement": "block_entry", "update_after": "first_block"})
    own, other = (
        build(config, SHAPE, 0).train(training) for config in (arm, transformed("permuted_memory", arm, SHAPE))
    )
    assert {name for name, _ in own.named_parameters()} == {name for name, _ in other.named_parameters()}
    first, second = read_by(own, images())
    permuted_first, permuted_second = read_by(other, images())
    assert torch.equal(permuted_first, first), "before an update, all images share one memory"
    assert first.shape[0] == 1
    torch.testing.assert_close(permuted_second, second.roll(-1, dims=0))
    assert not torch.equal(permuted_second, second)


def test_a_single_image_reads_its_own_memory() -> None:
    own, other = (
        build(config, SHAPE, 0).eval() for config in (model(**AIM), transformed("permuted_memory", model(**AIM), SHAPE))
    )
    assert torch.equal(own(images(1)), other(images(1)))
    assert not torch.allclose(own(images(3)), other(images(3)))


def test_permuting_a_memory_that_all_images_share_is_refused() -> None:
    with pytest.raises(UsageError, match="'permuted_memory' would have no effect: without an update"):
        transformed("permuted_memory", model(**{**AIM, "update": None}), SHAPE)


BIASED: dict[str, dict[str, Any]] = {
    "every_layer": {},
    "block_entry": {"placement": "block_entry"},
    "input_only": {"placement": "input_only"},
    "as_run": {"backbone": {**AIM["backbone"], "blocks": [2, 2]}, "placement": "block_entry", "routing": "as_run"},
    "parameter": {"memory": {**MEMORY, "name": "parameter"}},
    "full": {"memory": {**MEMORY, "kernel": "full"}},
    "larger than its maps": {"memory": {**MEMORY, "channels": 50}},
    "smaller than its maps": {"memory": {**MEMORY, "channels": 1, "rows": 2, "columns": 3}},
    "mlp": {"backbone": {"name": "mlp", "widths": [6]}, "memory": {"name": "dense_ones", "channels": 5, "inputs": 3}},
    "vgg16": {"backbone": {"name": "vgg16", "widths": [4] * 5, "dense": [5, 5]}},
    "resnet50_keras": {"backbone": {"name": "resnet50_keras", "widths": [4, 4], "blocks": [2, 1]}},
    "densenet121": {"backbone": {"name": "torchvision", "architecture": "densenet121"}},
}


@pytest.mark.parametrize("name", BIASED)
def test_memory_without_updates_is_equivalent_to_a_bias_for_every_position(name: str) -> None:
    """A network in which the memory is never rewritten has the same outputs as plain layers with bias maps."""
    options = {**AIM, "update": None, **BIASED[name]}
    shape = ImageShape(3, 32, 32, 4)
    network = build(model(**options), shape, 0)
    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    network.train()(x)  # changes the running statistics
    with torch.no_grad():
        expected = network.eval()(x)
        readers = len(network.attachment.readers)
        written = as_position_biases(copy.deepcopy(network)).eval()
        torch.testing.assert_close(written(x), expected, rtol=1e-4, atol=1e-5)
    names = [type(module).__name__ for module in written.modules()]
    assert names.count("AddedBias") == readers
    assert not {"ConvReader", "LinearReader"} & set(names)


def test_memory_with_updates_cannot_be_represented_by_biases() -> None:
    with pytest.raises(UsageError, match="a memory with updates differs from image to image"):
        as_position_biases(build(model(**AIM), SHAPE, 0))


def test_the_position_bias_control_starts_like_the_baseline_and_its_biases_are_trained() -> None:
    control = transformed("position_bias", model(**{**AIM, "carry": {}, "update_after": "block"}), SHAPE)
    assert (control.update, control.carry, control.update_after) == (None, None, None)
    biased, baseline = build(control, SHAPE, 0), build(model(), SHAPE, 0)
    x = images()
    assert torch.equal(biased.eval()(x), baseline.eval()(x)), "biases of zero have no effect"
    biased.train()(x).square().sum().backward()
    biases = {name: p for name, p in biased.named_parameters() if "position_bias" in name}
    assert all(bool(p.grad.abs().sum() > 0) for p in biases.values())
    assert biases["conv1.position_bias.bias"].shape == (1, 16, 8, 8)
    assert summarize(control, SHAPE, 2).memory_values == 0


def test_the_frozen_control_freezes_both_memory_sources_but_not_the_carried_memory() -> None:
    arm = {**AIM, "backbone": {**AIM["backbone"], "blocks": [2, 2]}, "placement": "block_entry", "routing": "as_run"}
    network = build(transformed("frozen_memory", model(**arm, carry={}), SHAPE), SHAPE, 0)
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    assert {"source.conv.weight", "static_source.conv.weight"} <= frozen
    assert all(name.startswith(("source.", "static_source.", "updates.")) for name in frozen)
    network.train()(images())
    assert int(network.carry.batches) == 1
