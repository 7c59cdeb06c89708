"""A search's own ranges, conditional parameters, constraints, and parameter importances."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fake_launcher import FakeLauncher, share
from hypothesis import given, settings
from hypothesis import strategies as st

import ablations.planning.arms
import analysis
from ablations.commands.check import check
from ablations.planning import networks
from ablations.search import checks
from ablations.search.candidates import measures
from ablations.search.corners import corners
from ablations.search.importances import importances
from ablations.search.sampling import Proposals
from ablations.search.trials import Outcome, Trial
from ablations.sessions import screening
from ablations.spec.search_conditions import Condition, constraints
from ablations.spec.study import read_study
from aimlib.config import RunConfig
from aimlib.errors import ConfigError
from analysis.reading.importances import IMPORTANCE_COLUMNS

StudyMaker = Callable[..., Path]
RATE = "training.optimizer.learning_rate"
PLACES = ["every_layer", "block_entry", "stage_only"]
RANGES: dict[str, Any] = {
    "training.batch_size": [8, 16],
    "model.placement": PLACES,
    "model.memory.channels": {"low": 2, "high": 64, "log": True},
}
SEARCH: dict[str, Any] = {
    "vary": "aim",
    "over": [RATE, "training.batch_size", "model.placement", "model.memory.channels"],
    "ranges": RANGES,
    "when": {"model.memory.channels": {"model.placement": ["every_layer", "stage_only"], RATE: {"min": 1e-4}}},
    "trials": 10,
    "batch": 5,
    "seeds": [90],
    "top": 0,
    "training": {"epochs": 2},
}


@pytest.fixture
def _without_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "refuse_unbuildable", lambda *_: None)


def problem(study: StudyMaker, **changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        screening.check(read_study(study({"search": {**SEARCH, **changes}})))
    return str(caught.value)


# Conditions and ranges


@pytest.mark.usefixtures("_without_networks")
@pytest.mark.parametrize("sampler", ["random", "gp"])
def test_a_parameter_is_drawn_if_and_only_if_its_conditions_are_met(
    study: StudyMaker, tmp_path: Path, sampler: str
) -> None:
    path = study({"search": {**SEARCH, "sampler": sampler}})
    found = screening.screen(read_study(path), tmp_path / "out", FakeLauncher()).trials
    for trial in found:
        drawn = trial.drawn
        holds = drawn["model.placement"] in ("every_layer", "stage_only") and drawn[RATE] >= 1e-4
        assert ("model.memory.channels" in drawn) is holds
        channels = trial.document["model"]["memory"]["channels"]
        assert channels == drawn.get("model.memory.channels", 4), "the arm keeps its own value otherwise"
        assert drawn["training.batch_size"] in (8, 16)
        assert trial.document["training"]["batch_size"] == drawn["training.batch_size"]
    assert {"model.memory.channels" in trial.drawn for trial in found} == {True, False}


def test_every_corner_of_a_conditional_space_is_built(study: StudyMaker) -> None:
    (space,) = screening.spaces_of(read_study(study({"search": SEARCH}))).values()
    documents = [document for _, document in corners(list(space.parameters))]
    channels = {document["model"].get("memory", {}).get("channels") for document in documents}
    assert channels == {None, 2, 64}
    places = {document["model"]["placement"]["name"] for document in documents}
    assert places == set(PLACES)
    notes = list(check(study({"search": SEARCH}), timing=False).notes)
    assert any(
        note.endswith("where model.placement is every_layer or stage_only and " + RATE + " is at least 0.0001")
        for note in notes
    )


def test_a_grid_counts_a_conditional_parameter_only_if_it_applies(study: StudyMaker) -> None:
    when = {"model.memory.channels": {"model.placement": "every_layer"}}
    over = ["model.placement", "model.memory.channels"]
    levels = {"model.memory.channels": 3}
    ranges = {name: SEARCH["ranges"][name] for name in over}
    search = {**SEARCH, "when": when, "over": over, "levels": levels, "ranges": ranges, "sampler": "grid"}
    file = read_study(study({"search": search}))
    (space,) = screening.spaces_of(file).values()
    assert file.spec.search is not None
    assert Proposals(space, file.spec.search).points == 3 + 1 + 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"when": {"model.memory.channel": {RATE: {"min": 1}}}}, "search.when.model.memory.channel: unknown parameter"),
        (
            {"when": {RATE: {"model.placements": "x"}}},
            "learning_rate.model.placements: unknown parameter",
        ),
        ({"when": {RATE: {"model.placement": "everywhere"}}}, "'everywhere' is not one of every_layer, block_entry"),
        ({"when": {RATE: {"model.placement": {"min": 3}}}}, "model.placement is a choice; list some of its values"),
        (
            {"when": {"model.placement": {RATE: {"min": 3.0}}}},
            "never true, because training.optimizer.learning_rate",
        ),
        ({"when": {RATE: {RATE: 3}}}, "depends on itself"),
        ({"when": {RATE: "model.placement"}}, "name the parameter that it depends on, with values, e.g. {"),
        ({"when": {RATE: {"model.placement": {"not": 3}}}}, "write values, or bounds as {min: 0.001, max: 0.1}"),
        (
            {"when": {RATE: {"training.batch_size": 8}, "training.batch_size": {RATE: {"min": 1e-4}}}},
            "search.when: parameters depend on each other: ",
        ),
        (
            {"ranges": {**RANGES, "training.batch_sizes": [1, 2]}},
            "training.batch_sizes: unknown parameter",
        ),
        ({"ranges": {}}, "'training.batch_size' has no range of its own; add a range: ranges"),
        (
            {"ranges": {"model.placement": ["every_layer", "somewhere"]}},
            "model.placement: unknown choice",
        ),
        (
            {"ranges": {"model.placement": {"low": 1, "high": 2}}},
            ("search.ranges.model.placement: must be a list with values from"),
        ),
        ({"over": ["training.epochs"], "ranges": {"training.epochs": [1, 2]}, "when": {}}, "cannot be compared"),
        ({"over": ["training.batch"], "ranges": {"training.batch": [1, 2]}, "when": {}}, "batch: unknown key"),
    ],
)
def test_an_impossible_space_is_refused(study: StudyMaker, changes: dict[str, Any], message: str) -> None:
    assert message in problem(study, **changes)


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_bounds_of_a_condition_are_inclusive(low: float, high: float, value: float) -> None:
    assert Condition("x", (), low, high).holds(value) is (low <= value <= high)
    assert Condition("x", (), low, None).holds(low)
    assert Condition("x", (1, 2)).holds(1)
    assert not Condition("x", (1, 2)).holds(True)


# Constraints

OTHERS = ("random", "gp", "cmaes", "nsgaii", "brute_force")  # slow: each test builds about 15 networks


@pytest.mark.parametrize("sampler", ["tpe", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_a_configuration_that_violates_a_constraint_is_reported_and_never_trained(
    study: StudyMaker, tmp_path: Path, sampler: str
) -> None:
    ranges = {**SEARCH["ranges"], "model.memory.channels": {"low": 2, "high": 4}, RATE: [0.001, 0.002]}
    search = {**SEARCH, "ranges": ranges, "when": {}, "sampler": sampler, "constraints": "parameters <= 22.45k"}
    path, launcher = study({"search": {**search, "trials": 6, "batch": 3}}), FakeLauncher()
    found = screening.screen(read_study(path), tmp_path / "out", launcher).trials
    outside = [trial for trial in found if trial.outcome.state == "infeasible"]
    inside = [trial for trial in found if trial.buildable]
    assert len(inside) == 6, "infeasible configurations do not count as trials"
    assert outside
    trained = {run_id for run_id, _ in launcher.computed}
    for trial in outside:
        assert not trial.run_ids
        assert "violates parameters <= 22_450" in trial.reason
        assert trial.violations["parameters <= 22_450"] > 0
    assert all(set(trial.run_ids) <= trained for trial in inside if not trial.repeats)
    models = analysis.load(tmp_path / "out" / "screening")
    assert len(models.plan.arms) == len([trial for trial in inside if not trial.repeats])
    cost = json.loads((tmp_path / "out" / "screening" / "cost.json").read_text())["aim"]
    assert (cost["infeasible"], cost["trials"]) == (len(outside), 6)
    ranking = pd.read_csv(tmp_path / "out" / "screening" / "ranking.csv")
    assert int((ranking["state"] == "infeasible").sum()) == len(outside)
    again = FakeLauncher()
    assert screening.screen(read_study(path), tmp_path / "out", again).trials == found
    assert not again.computed


def test_the_violation_is_computed_from_the_built_network(study: StudyMaker, tmp_path: Path) -> None:
    from ablations.search.candidates import Candidates
    from aimlib.models import build

    file = read_study(study({"search": {**SEARCH, "constraints": ["parameters <= 2000", "multiply_adds >= 1k"]}}))
    document = ablations.planning.arms.arm_document(file, "aim")
    run = RunConfig.parse({**document, "seed": 0})
    network = build(run.model, ablations.planning.arms.shape_of(run), 0)
    counted = sum(parameter.numel() for parameter in network.parameters())
    assert measures(run)["parameters"] == counted
    assert file.spec.search is not None
    candidate = Candidates(file, file.spec.search).examine("aim", document)
    assert candidate.violations["parameters <= 2_000"] == pytest.approx(counted / 2000 - 1)
    assert candidate.violations["multiply_adds >= 1_000"] < 0


def test_constraints_that_cannot_be_met_are_reported_before_the_search_with_the_closest_value(
    study: StudyMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "_SAMPLED", 15)  # needs the number of parameters of one network per sample
    few = {RATE: [0.001, 0.002], "training.batch_size": [8, 16], "model.placement": PLACES[:2]}
    finite = {"over": list(few), "ranges": few, "when": {}, "sampler": "grid", "trials": 8, "batch": 4}
    said = problem(study, **finite, constraints=["parameters <= 10"])
    assert re.search(
        r"search: no configuration of arm 'aim' meets the constraints; the closest: parameters [\d,]+ violates "
        r"parameters <= 10; relax search\.constraints, or widen search\.ranges$",
        said,
    )
    file = read_study(study({"search": {**SEARCH, "constraints": ["parameters <= 10"], "when": {}}}))
    (note,) = [each for each in screening.check(file) if "sampled" in each]
    assert note.startswith("search: arm 'aim': none of 15 sampled configurations meets the constraints; the closest: ")


def test_constraints_that_are_met_only_inside_the_space_are_accepted(study: StudyMaker) -> None:
    ranges = {"model.memory.channels": {"low": 2, "high": 64}}
    search = {**SEARCH, "over": [*ranges], "ranges": ranges, "when": {}}
    file = read_study(study({"search": search}))
    sizes = []
    for channels in (2, 32, 64):
        document = ablations.planning.arms.arm_document(file, "aim")
        document["model"]["memory"]["channels"] = channels
        sizes.append(measures(RunConfig.parse({**document, "seed": 0}))["parameters"])
    assert sizes[0] < sizes[1] < sizes[2]
    bounds = [f"parameters >= {sizes[0] + 1:.0f}", f"parameters <= {sizes[1]:.0f}"]
    notes = screening.check(read_study(study({"search": {**search, "constraints": bounds}})))
    assert any("2 of the 2 corners" in note for note in notes)
    assert not any("sampled" in note for note in notes)


def test_optuna_receives_the_violation_if_the_sampler_can_use_it(study: StudyMaker) -> None:
    states = {"tpe": "PRUNED", "gp": "COMPLETE", "nsgaii": "COMPLETE", "random": "FAIL"}
    for sampler, state in states.items():
        file = read_study(study({"search": {**SEARCH, "sampler": sampler, "constraints": "parameters <= 1"}}))
        (space,) = screening.spaces_of(file).values()
        assert file.spec.search is not None
        proposals = Proposals(space, file.spec.search)
        question = proposals.ask()
        assert question is not None
        proposals.constrain(question.number, {"parameters <= 1": 2.5})
        proposals.tell(question.number, Outcome("infeasible"))
        (told,) = proposals.trials
        assert (told.state.name, told.constraints) == (state, {"parameters <= 1": 2.5})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("parameter <= 3", "'parameter' is not a measure of a network; did you mean 'parameters'"),
        ("parameters < 3", "write parameters <= 3"),
        ("parameters <= many", "write a measure, <= or >=, and a number, e.g. [parameters <= 2M"),
        ("parameters <= 0", "the bound must be a finite number greater than 0"),
        ({"parameters": {"max": "2e6"}}, "must be a list of comparisons: [parameters <= 2e+06]"),
        (["parameters <= 3", "parameters <= 4"], "two bounds on the same side"),
        (3, "must be a list of comparisons"),
    ],
)
def test_an_impossible_constraint_is_refused(study: StudyMaker, value: Any, message: str) -> None:
    assert message in problem(study, constraints=value)


@given(st.floats(1e-3, 1e12), st.floats(0, 1e12), st.sampled_from(["<=", ">="]))
def test_a_violation_is_positive_if_and_only_if_the_value_is_outside_the_bound(
    bound: float, value: float, sign: str
) -> None:
    (constraint,) = constraints([f"parameters {sign} {bound!r}"])
    outside = value > bound if sign == "<=" else value < bound
    assert (constraint.violation(value) > 0) is (outside and value / bound != 1)


# Importances


def trial(number: int, value: float | None, **drawn: Any) -> Trial:
    outcome = Outcome("complete", value) if value is not None else Outcome("failed", None, "x")
    return Trial("aim", number, drawn, {}, str(number), (str(number),), "", outcome)


def test_every_method_finds_that_the_decisive_parameter_is_the_most_important(study: StudyMaker) -> None:
    file = read_study(study({"search": {**SEARCH, "when": {}}}))
    (space,) = screening.spaces_of(file).values()
    assert file.spec.search is not None
    trials = [
        trial(
            number,
            share(number, "rate") + 0.01 * share(number, "noise"),
            **{
                RATE: 1e-5 + share(number, "rate") * 0.009,
                "training.batch_size": 8 * (1 + int(share(number, "size") > 0.5)),
                "model.placement": PLACES[int(3 * share(number, "place"))],
                "model.memory.channels": 2 + int(60 * share(number, "channels")),
            },
        )
        for number in range(60)
    ]
    rows = pd.DataFrame(importances(file.spec.search, "aim", space.parameters, trials))
    rows["importance"] = rows["importance"].astype(float)
    for _, own in rows.groupby("method"):
        assert own["importance"].sum() == pytest.approx(1)
        assert own.sort_values("importance")["parameter"].iloc[-1] == RATE
        assert own["importance"].max() > 0.6
    assert set(rows["trials"]) == {60}
    few = [*trials[:9], trial(99, None, **trials[0].drawn)]
    assert importances(file.spec.search, "aim", space.parameters, few) == []
    flat = [trial(number, 0.5, **each.drawn) for number, each in enumerate(trials)]
    assert importances(file.spec.search, "aim", space.parameters, flat) == []


@pytest.mark.usefixtures("_without_networks")
def test_importances_are_stored_once_and_can_be_read_from_both_studies(study: StudyMaker, tmp_path: Path) -> None:
    path = study({"search": {**SEARCH, "trials": 14, "sampler": "random"}})
    found = screening.screen(read_study(path), tmp_path / "out", FakeLauncher()).trials
    complete = [trial for trial in found if trial.value is not None and not trial.repeats]
    stored = (tmp_path / "out" / "screening" / "importances.csv").read_bytes()
    for part in ("screening", "confirmation"):
        frame = analysis.load(tmp_path / "out" / part).importances
        assert list(frame) == list(IMPORTANCE_COLUMNS)
        assert set(frame["parameter"]) == {RATE, "training.batch_size", "model.placement", "model.memory.channels"}
        assert set(frame["trials"]) == {len(complete)}
        conditional = frame[frame["parameter"] == "model.memory.channels"].set_index("method")
        assert conditional.loc["ped_anova", "importance"] >= 0
        assert conditional.loc["fanova", "importance"] != conditional.loc["fanova", "importance"], (
            "not part of every trial"
        )
        assert conditional["drawn"].iloc[0] == sum("model.memory.channels" in each.drawn for each in complete)
    screening.screen(read_study(path), tmp_path / "out", FakeLauncher())
    assert (tmp_path / "out" / "screening" / "importances.csv").read_bytes() == stored
    (tmp_path / "out" / "screening" / "importances.csv").unlink()
    old = analysis.load(tmp_path / "out" / "confirmation").importances
    assert old.empty
    assert old.dtypes.astype(str).to_dict() == IMPORTANCE_COLUMNS
