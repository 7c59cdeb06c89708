"""Control arms: frozen memory stays what it was, matched baselines have as many parameters."""

from __future__ import annotations

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
from aimlib.controls._matched_parameters import match_widths
from aimlib.datasets.base import ImageShape
from aimlib.errors import UsageError
from aimlib.memory import Layout
from aimlib.models import build, count_parameters, skeleton
from aimlib.registry import backbones, controls
from aimlib.training.loop import train

RGB = ImageShape(3, 32, 32, 10)


def transformed(control: Any, arm: ModelConfig, shape: ImageShape) -> ModelConfig:
    result: ModelConfig = controls.create(controls.parse(control)).transform(arm, shape)
    return result


def test_frozen_memory_keeps_source_and_updates_and_trains_readers(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_matched_baseline_has_as_many_parameters(backbone: dict[str, Any], shape: ImageShape) -> None:
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


def test_matching_is_refused_where_no_widths_come_near() -> None:
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
        with pytest.raises(UsageError, match=r"backbone 'fixed' cannot be widened .* has nothing to match with"):
            transformed("matched_parameters", arm, SHAPE)


def test_a_control_that_belongs_to_the_arm_is_refused_in_the_model() -> None:
    with pytest.raises(UsageError, match=r"'matched_parameters'.*control.*of the arm"):
        build(model(**AIM, control="matched_parameters"), SHAPE, 0)


@quick
@given(
    widths=st.lists(st.integers(1, 20), min_size=1, max_size=4).map(tuple),
    weights=st.lists(st.integers(1, 9), min_size=4, max_size=4),
    more=st.floats(1.0, 8.0),
)
def test_matched_widths_are_never_below_the_given_and_no_neighbour_is_nearer(
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
