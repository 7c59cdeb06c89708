"""The search section of a study, for one or several arms: scopes, grids, and the output of `check`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ablations.commands.check import check
from ablations.search.grids import grid
from ablations.search.halving import epochs_of_bracket
from ablations.search.space import Parameter, applies, space, suggest
from ablations.spec.search import HalvingSpec
from ablations.spec.study import read_study
from aimlib.component import Categorical, Integer, Real
from aimlib.errors import ConfigError

StudyMaker = Callable[..., Path]
RATE = "training.optimizer.learning_rate"
SEARCH: dict[str, Any] = {
    "vary": ["baseline", "aim"],
    "over": ["model.placement", RATE],
    "trials": 4,
    "seeds": [90],
    "training": {"epochs": 3},
}


def notes(path: Path) -> list[str]:
    return list(check(path, timing=False).notes)


def problem(study: StudyMaker, **changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        check(study({"search": {**SEARCH, **changes}}), timing=False)
    return str(caught.value)


# Which options are searched in which arm


def test_check_shows_the_search_of_each_arm(study: StudyMaker) -> None:
    said = notes(study({"search": SEARCH}))
    budget = "4 trials x 1 seed = 4 runs of arm"
    confirmed = "3 epochs each; the best trial is confirmed in the arm's place, 3 further trials in addition"
    assert f"search: 1 parameter over {RATE}; {budget} 'baseline', not included in the runs above; {confirmed}" in said
    assert any(f"parameters over model.placement, {RATE}; {budget} 'aim'" in note for note in said)
    assert "search: arm 'baseline' has no model.placement, so its search omits this" in said
    assert f"search: baseline: {RATE}: 1e-05 to 0.01, logarithmic" in said
    assert not any("unequal" in note for note in said)


def test_a_mapping_assigns_each_arm_its_own_list(study: StudyMaker) -> None:
    over = {"baseline": [RATE], "aim": ["model.update"]}
    search = {key: value for key, value in SEARCH.items() if key != "vary"}
    assert read_study(study({"search": {**search, "over": over}})).spec.search.arms == ("baseline", "aim")  # type: ignore[union-attr]
    wrong = {"baseline": [RATE, "model.update"], "aim": ["model.update"]}
    assert (
        "search.over.baseline: 'model.update': the varied arm has no memory, and a search must not add a memory"
        in problem(study, over=wrong)
    )
    assert "the arms differ from those in over" in problem(study, over=over, vary=["aim"])


def test_a_path_that_does_not_apply_to_any_arm_is_refused(study: StudyMaker) -> None:
    assert "'model.memories' cannot be searched over; did you mean" in problem(study, over=["model.memories", RATE])
    assert "no entry applies to arm 'baseline'" in problem(study, over=["model.update"])
    assert "has no memory" in problem(study, vary="baseline", over=["model.memory"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vary": []}, "vary: missing; name the arms to search"),
        ({"vary": ["aim", "aim"]}, "an arm is listed twice"),
        ({"over": 3}, "or a mapping from arms to such lists; got 3"),
        ({"seeds": [90, 90]}, "seeds: [90, 90]: a seed is listed twice"),
        ({"seeds": [7]}, "search.seeds: 7 is a seed that the study may still use, because its looks extend to 12"),
        ({"confirm": "beside", "top": 0}, "top: 0 together with confirm: beside does not confirm anything"),
        ({"levels": {RATE: 3}}, "levels: no effect, because sampler tpe draws from the whole range"),
        ({"halving": {}, "batch": 2}, "2 trials are too few for halving, which keeps one in 3; set batch: 9"),
        ({"halving": {}}, "search.halving: 3 epochs of arm 'baseline' are too few for 3 rungs with a factor of 3"),
        (
            {"training": {"optimizer": {"learning_rate": 1e-3}}},
            (f"search.training: fixes {RATE}, which is also searched"),
        ),
        ({"training": {"select_on": "test"}}, "do not hold out any validation images, which a search needs"),
        ({"training": {"selection": "best_test"}}, "choose epochs on test images, which must not influence the choice"),
        ({"training": {"epochs": "three"}}, "search: trials of arm 'baseline': training.epochs"),
    ],
)
def test_an_impossible_search_is_refused(study: StudyMaker, changes: dict[str, Any], message: str) -> None:
    assert message in problem(study, **changes)


def test_names_reserved_for_trials_are_refused(study: StudyMaker) -> None:
    path = study({"search": SEARCH, "arms.aim_0001": {"of": "aim", "model": {"update": "residual"}}})
    with pytest.raises(ConfigError, match=r"arms\.aim_0001: this name is reserved for trials of arm 'aim'; rename it"):
        read_study(path)


# Unequal tuning


def test_a_baseline_that_is_not_searched_causes_a_warning(study: StudyMaker) -> None:
    said = notes(study({"search": {**SEARCH, "vary": "aim"}}))
    assert any(
        note.startswith("search: unequal tuning: 'aim' searched, but the baseline 'baseline' is not") for note in said
    )


def test_other_kinds_of_unequal_tuning_cause_warnings(study: StudyMaker) -> None:
    said = notes(study({"search": {**SEARCH, "vary": "baseline", "over": [RATE]}}))
    assert any("the baseline 'baseline' is searched, but no treatment is" in note for note in said)
    search = {key: value for key, value in SEARCH.items() if key != "training"}
    said = notes(study({"search": search, "arms.aim.training": {"epochs": 4}}))
    assert any("trials have different numbers of epochs (baseline 2, aim 4)" in note for note in said)
    levels = {RATE: 2, "model.placement": ["every_layer", "block_entry"]}
    said = notes(study({"search": {**SEARCH, "sampler": "grid", "levels": levels}}))
    assert any("the grids have different numbers of points (baseline 2, aim 4)" in note for note in said)


def test_a_corner_whose_control_cannot_be_built_is_skipped(study: StudyMaker) -> None:
    """Permuting a memory that does not depend on the image has no effect, so the trial could not be judged by its
    control."""
    permuted = {"arms.permuted": {"of": "aim", "control": "permuted_memory"}}
    said = notes(study({"search": {**SEARCH, "vary": "aim", "over": ["model.update"]}, **permuted}))
    assert any(note.startswith("search: corner model.update=none cannot be built") for note in said)


# Grids


def test_a_grid_contains_every_applicable_point_once() -> None:
    parameters = [
        Parameter("a", ("a",), Categorical(("none", "x", "y"))),
        Parameter("a.x.n", ("n",), Integer(1, 3), ("a", "x")),
        Parameter("b", ("b",), Real(0.001, 0.1, log=True), ("a", None)),
    ]
    points = grid(parameters, {"b": 3})
    assert len(points) == 1 + 3 * 3 + 3
    assert len({tuple(sorted(point.items())) for point in points}) == len(points)
    assert sorted({point["b"] for point in points if "b" in point}) == pytest.approx([0.001, 0.01, 0.1])
    assert {0.001, 0.1} <= {point.get("b") for point in points}, "the ends are exact"
    for point in points:
        assert set(point) == {p.name for p in parameters if applies(p, {k: point[k] for k in point if k != p.name})}


@pytest.mark.parametrize(
    ("dimension", "levels", "expected"),
    [
        (Real(0.0, 1.0), 1, (0.5,)),
        (Real(1e-4, 1e-2, log=True), 1, (pytest.approx(1e-3),)),
        (Real(0.0, 1.0), 5, (0.0, 0.25, 0.5, 0.75, 1.0)),
        (Integer(16, 1024, log=True), 4, (16, 64, 256, 1024)),
        (Integer(1, 3), 9, (1, 2, 3)),
        (Integer(1, 3), None, (1, 2, 3)),
        (Integer(1, 9), (2, 5), (2, 5)),
        (Categorical(("a", "b", "c")), ("c", "a"), ("c", "a")),
    ],
)
def test_the_levels_of_a_dimension_can_be_specified(dimension: Any, levels: Any, expected: tuple[Any, ...]) -> None:
    given = {} if levels is None else {"p": levels}
    assert tuple(point["p"] for point in grid([Parameter("p", ("p",), dimension)], given)) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, f"search: {RATE} is not finite, 1e-05 to 0.01: a grid needs search.levels.{RATE}, e.g. 3 or a list"),
        ({"levels": {RATE: [0.5]}}, f"search.levels.{RATE}: 0.5 is not in the dimension, 1e-05 to 0.01"),
        ({"levels": {RATE: [0.001, 0.001]}}, f"search.levels.{RATE}: a level is listed twice"),
        ({"levels": {RATE: 0}}, "must be a number of levels or a list of levels"),
        ({"levels": {RATE: 2, "model.placment": 3}}, "search.levels.model.placment: unknown parameter"),
        ({"levels": {RATE: 2, "model.placement": 3}}, "search.levels.model.placement: a choice has its own levels"),
        (
            {"levels": {RATE: 9}, "over": [RATE]},
            "search.trials: the grid of arm 'baseline' has 9 points, more than 4 trials; increase trials to 9",
        ),
    ],
)
def test_an_impossible_grid_is_refused(study: StudyMaker, changes: dict[str, Any], message: str) -> None:
    assert message in problem(study, sampler="grid", **changes)


def test_optuna_accepts_a_grid_of_the_whole_space_unchanged(study: StudyMaker) -> None:
    """Optuna's distributions accept every point and return it unchanged."""
    import optuna

    arm = {"model": {"memory": "conv_ones", "placement": "every_layer", "update": "none"}}
    parameters = space(("model.memory", "model.update"), arm)
    ranges = {p.name: 2 for p in parameters if not isinstance(p.dimension, Categorical)}
    study_of_optuna = optuna.create_study()
    for point in grid(parameters, ranges):
        study_of_optuna.enqueue_trial(point)
        trial = study_of_optuna.ask()
        suggest(trial, parameters)
        assert trial.params == point


# Halving


def test_rungs_are_fractions_of_the_budget_rounded_up() -> None:
    assert HalvingSpec().epochs(90) == (10, 30, 90)
    assert HalvingSpec(reduction_factor=2, rungs=4).epochs(30) == (4, 8, 15, 30)
    assert epochs_of_bracket(9, 3, (10, 30, 90)) == 9 * 10 + 3 * 20 + 1 * 60
    assert epochs_of_bracket(4, 3, (1, 3)) == 4 * 1 + 2 * 2


def test_check_shows_how_many_epochs_halving_saves(study: StudyMaker) -> None:
    search = {**SEARCH, "trials": 9, "batch": 9, "halving": {}, "training": {"epochs": 9}}
    said = notes(study({"search": search}))
    spared = "one in 3 of every 9 trials continues after 1, 3 of 9 epochs: 21 epochs instead of 81"
    assert sum(spared in note for note in said) == 2
