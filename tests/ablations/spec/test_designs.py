"""Ladders, leave-one-out designs, and levels that change several options."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_study import TINY

from ablations.planning import plan as planning
from ablations.planning.arms import Arm, expand
from ablations.spec.designs import full_factorial, ladder, leave_one_out
from ablations.spec.study import read_study
from aimlib.errors import ConfigError

StudyMaker = Callable[..., Path]

two_levels = st.dictionaries(st.sampled_from("abcdef"), st.just(("off", "on")), min_size=1)


@given(two_levels)
def test_a_ladder_switches_one_factor_at_a_time_in_both_orders(levels: dict[str, Any]) -> None:
    rungs = ladder(levels)
    names = list(levels)
    for order in (names, names[::-1]):
        for count in range(len(names) + 1):
            assert {name: "on" if name in order[:count] else "off" for name in names} in rungs
    assert len(rungs) == (2 * len(names) if len(names) > 1 else 2)
    assert all(rung in full_factorial(levels) for rung in rungs)


@given(two_levels)
def test_leave_one_out_omits_each_factor_once(levels: dict[str, Any]) -> None:
    combinations = leave_one_out(levels)
    assert combinations[0] == dict.fromkeys(levels, "on")
    assert [[name for name in levels if other[name] == "off"] for other in combinations[1:]] == [[n] for n in levels]


MEMORY = TINY["arms"]["aim"]["model"]
SWITCHES: dict[str, Any] = {
    "memory": {"without": {}, "with": {"model": MEMORY}},
    "stem": {"2": {"model": {"backbone": {"stem_stride": 2}}}, "1": {"model": {"backbone": {"stem_stride": 1}}}},
    "rate": {
        "low": {"training": {"optimizer": {"learning_rate": 1e-3}}},
        "high": {"training": {"optimizer": {"learning_rate": 1e-2}, "label_smoothing": 0.1}},
    },
}
CORNERS: dict[str, Any] = {
    "arms": {"control": {}, "aim": {"levels": {"memory": "with", "stem": 1, "rate": "high"}}},
    "vary": "control",
    "factors": SWITCHES,
    "base.model.backbone": {"name": "small_resnet", "widths": [4, 4, 8], "stem_stride": 2},
    "base.training.optimizer": {"name": "adam", "learning_rate": 1e-3},
}


def arms_of(path: Path, *overrides: str) -> dict[str, Arm]:
    return {arm.name: arm for arm in expand(read_study(path, overrides))}


def test_a_ladder_can_lead_from_one_named_arm_to_another(study: StudyMaker) -> None:
    arms = arms_of(study({**CORNERS, "design": "ladder"}))
    assert list(arms) == [
        "control",
        "aim",
        "control+memory",
        "control+memory+stem",
        "control+rate",
        "control+stem+rate",
    ]
    assert {name: list(arm.levels.values()) for name, arm in arms.items()} == {
        "control": ["without", "2", "low"],
        "aim": ["with", "1", "high"],
        "control+memory": ["with", "2", "low"],
        "control+memory+stem": ["with", "1", "low"],
        "control+rate": ["without", "2", "high"],
        "control+stem+rate": ["without", "1", "high"],
    }
    roles = [arm.role for arm in arms.values()]
    assert roles == ["baseline", "aim", "aim", "aim", "other", "other"]


def test_a_level_changes_only_the_options_that_it_lists(study: StudyMaker) -> None:
    arms = arms_of(study({**CORNERS, "design": "ladder"}))
    rate = arms["control+rate"].config
    assert rate.training.optimizer.learning_rate == 1e-2
    assert rate.training.label_smoothing == 0.1
    assert rate.model == arms["control"].config.model
    both = arms["control+memory+stem"].config
    assert both.training == arms["control"].config.training
    assert both.model.memory is not None
    assert both.model.backbone.stem_stride == 1


def test_one_override_selects_the_full_factorial(study: StudyMaker) -> None:
    path = study({**CORNERS, "design": "ladder"})
    ladders, cube = arms_of(path), arms_of(path, "design=full_factorial")
    assert len(cube) == 8
    assert set(ladders) <= set(cube)
    assert {tuple(arm.levels.values()) for arm in cube.values()} == set(
        itertools.product(("without", "with"), ("2", "1"), ("low", "high"))
    )
    assert all(cube[name].config == arm.config for name, arm in ladders.items())


def test_an_arm_outside_the_design_may_list_its_levels(study: StudyMaker) -> None:
    arms = arms_of(study({**CORNERS, "design": "ladder", "arms.stem": {"levels": {"stem": 1}}}))
    assert dict(arms["stem"].levels) == {"memory": "without", "stem": "1", "rate": "low"}
    assert arms["stem"].config.model.backbone.stem_stride == 1


def test_a_study_can_use_leave_one_out(study: StudyMaker) -> None:
    arms = arms_of(study({**CORNERS, "design": "leave_one_out"}))
    assert list(arms) == ["control", "aim", "control+stem+rate", "control+memory+rate", "control+memory+stem"]


def test_labels_and_key_paths_vary_together(study: StudyMaker) -> None:
    factors = {"memory": SWITCHES["memory"], "training.epochs": [1, 2]}
    arms = arms_of(study({"factors": factors, "vary": "baseline"}))
    assert list(arms) == [
        "baseline",
        "aim",
        "baseline[memory=without,epochs=1]",
        "baseline[memory=with,epochs=1]",
    ]
    assert dict(arms["aim"].levels) == {"memory": "with", "training.epochs": "2"}


def test_levels_are_part_of_the_plan(study: StudyMaker) -> None:
    content = planning.document(planning.plan(read_study(study({**CORNERS, "design": "ladder"}))))
    assert content["arms"][1]["levels"] == {"memory": "with", "stem": "1", "rate": "high"}


def test_an_override_applies_to_the_levels_that_have_the_component(study: StudyMaker) -> None:
    arms = arms_of(study({**CORNERS, "design": "ladder"}), "model.memory.channels=8")
    assert {arm.config.model.memory.channels for arm in arms.values() if arm.config.model.memory} == {8}
    assert arms["control"].config.model.memory is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factors/memory": {"with": {"modle": {}}}}, "factors.*memory.with.modle: unknown key; known keys: model"),
        ({"factors/memory": {"with": 3}}, "memory.with: write this level's changes as a mapping"),
        ({"factors/memory": {}}, "memory: write the levels as a list, .* or as a mapping from labels"),
        (
            {"factors/memory": {"on": {}}},
            "factors.memory: design ladder uses a first and a last level; set two levels, not 1",
        ),
        ({"factors/model.x": {"a": {}, "b": {}}}, "factors: model.x: a factor with labeled levels needs its own name"),
        ({"factors/memory": [1, 2]}, "factors.memory: not a key path below model, data, training"),
        ({"arms.odd": {"levels": {"stems": 1}}}, "arms.odd.levels.stems: unknown factor 'stems'; did you mean 'stem'"),
        ({"arms.odd": {"levels": {"stem": 3}}}, "arms.odd.levels.stem: unknown level '3'.*known: 1, 2|2, 1"),
        (
            {"arms.odd": {"levels": {"stem": 1}, "training": {"epochs": 1}}},
            "arms.odd.levels: an arm with levels cannot have other",
        ),
        ({"arms.odd": {"levels": "with"}}, "levels: must be a mapping from factors to labels"),
        ({"vary": "aim"}, "vary: arm 'aim' is itself a combination of levels"),
        ({"factors/memory": {"without": {}, "with": {"model": {"memory": "conv_once"}}}}, "'conv_once'"),
    ],
)
def test_a_bad_design_is_refused_with_the_reason(study: StudyMaker, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        arms_of(study({**CORNERS, "design": "ladder", **changes}))
