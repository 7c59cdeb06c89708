"""Samplers and pruners from Optuna and from plugins are available by name, with their options; every search resumes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import optuna
import pytest
from fake_launcher import FakeLauncher, Killed, crossing_curve, ledger, share
from tiny_study import rows

from ablations.commands.check import check
from ablations.planning import networks
from ablations.search.pruners import Pruner
from ablations.search.samplers import Sampler
from ablations.sessions import screening
from ablations.spec.search_families import FAMILIES, pruners, samplers
from ablations.spec.study import read_study
from aimlib.errors import ConfigError, StoreError, UsageError

StudyMaker = Callable[..., Path]
RATE = "training.optimizer.learning_rate"
SEARCH: dict[str, Any] = {
    "vary": "aim",
    "over": [RATE, "model.placement", "model.update"],
    "ranges": {"model.placement": ["every_layer", "block_entry", "stage_only"], RATE: [0.001, 0.002, 0.004, 0.008]},
    "trials": 8,
    "batch": 4,
    "seeds": [90],
    "top": 0,
    "training": {"epochs": 4},
}
NUMBERS = {
    "ranges": {"model.placement": ["every_layer", "block_entry"], RATE: {"low": 1e-4, "high": 1e-2, "log": True}}
}
SAMPLERS: dict[str, Any] = {
    "tpe": {"name": "tpe", "n_startup_trials": 3},
    "random": "random",
    "grid": {"name": "grid"},
    "brute_force": "brute_force",
    "gp": {"name": "gp", "n_startup_trials": 3},
    "cmaes": {"name": "cmaes", "popsize": 3},
    "qmc": {"name": "qmc", "qmc_type": "halton", "scramble": True},
    "nsgaii": {"name": "nsgaii", "population_size": 4},
}
PRUNERS: dict[str, Any] = {
    "median": {"name": "median", "n_startup_trials": 2},
    "percentile": {"name": "percentile", "percentile": 50.0, "n_startup_trials": 1},
    "threshold": {"name": "threshold", "lower": 0.3},
    "patient": {"name": "patient", "patience": 0},
    "successive_halving": {"name": "successive_halving", "reduction_factor": 2},
    "hyperband": {"name": "hyperband", "reduction_factor": 2},
}


@pytest.fixture
def _without_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "refuse_unbuildable", lambda *_: None)


def searched(path: Path, out: Path, launcher: FakeLauncher) -> screening.Screening:
    return screening.screen(read_study(path), out, launcher)


def interrupted(path: Path, out: Path, epochs: tuple[int, ...], **options: Any) -> screening.Screening:
    """Kill the search repeatedly, each time after the given number of computed epochs, and then let it finish."""
    for life in epochs:
        with pytest.raises(Killed):
            searched(path, out, FakeLauncher(life=life, **options))
    return searched(path, out, FakeLauncher(**options))


def _quick(names: Iterable[str], *quick: str) -> list[Any]:
    """Return the names as parameters for a test; most are marked as slow, because each test case searches five
    times."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


def falling_curve(run_id: str, epoch: int, epochs: int) -> float:
    """Return curves that fall from epoch to epoch for about a third of the runs, and rise for the others."""
    slope = -0.05 if share(run_id, "falls") < 1 / 3 else 0.05
    return round(0.4 + 0.2 * share(run_id, "level") + slope * epoch, 3)


def same(one: screening.Screening, other: screening.Screening) -> None:
    assert [(t.name, t.drawn, t.run_ids, t.outcome.state) for t in one.trials] == [
        (t.name, t.drawn, t.run_ids, t.outcome.state) for t in other.trials
    ]


def test_all_suitable_optuna_samplers_and_pruners_are_available_by_name() -> None:
    known = {"TPE", "Random", "GP", "CmaEs", "QMC", "NSGAII", "BruteForce", "Grid"}
    assert {f"{name}Sampler" for name in known} <= set(optuna.samplers.__all__)
    assert set(samplers.names()) == set(SAMPLERS)
    assert {name.replace("_", "") for name in pruners.names()} == {
        name.removesuffix("Pruner").lower() for name in optuna.pruners.__all__ if name not in ("BasePruner",)
    }


@pytest.mark.parametrize("name", SAMPLERS)
def test_options_and_defaults_match_those_in_optuna(name: str) -> None:
    """If Optuna changed a default, this package's documentation would be wrong."""
    import inspect

    config = samplers.parse(name)
    kind = type(samplers.create(config).build(1))
    kind = kind.__mro__[1] if name == "brute_force" else kind
    defaults = {key: each.default for key, each in inspect.signature(kind.__init__).parameters.items()}
    for option, field in type(config).model_fields.items():
        own = None if defaults[option] is None and option in ("multivariate", "prior_weight") else field.default
        assert own == defaults[option], option


@pytest.mark.usefixtures("_without_networks")
@pytest.mark.parametrize("name", _quick(SAMPLERS, "gp", "cmaes", "brute_force"))
def test_a_killed_search_proposes_the_same_trials_with_every_sampler(
    study: StudyMaker, tmp_path: Path, name: str
) -> None:
    """The search is killed during the first round, at the end of the first round, and during the second round."""
    numbers = {} if name in ("grid", "brute_force") else NUMBERS
    trials = {"trials": 100, "over": [RATE, "model.placement"], "ranges": {**SEARCH["ranges"], RATE: [0.1, 0.2]}}
    changes = {**trials, "batch": 3} if name in ("grid", "brute_force") else numbers
    path = study({"search": {**SEARCH, **changes, "sampler": SAMPLERS[name]}})
    whole = searched(path, tmp_path / "whole", FakeLauncher())
    same(interrupted(path, tmp_path / "broken", (5, 9, 2)), whole)
    assert ledger_of(tmp_path / "broken") == ledger_of(tmp_path / "whole")
    assert searched(path, tmp_path / "whole", FakeLauncher()).trials == whole.trials, (
        "complete, and read from the journal"
    )
    if name in ("grid", "brute_force"):
        points = {json.dumps(dict(trial.drawn), sort_keys=True) for trial in whole.trials}
        assert len(points) == len(whole.trials) == 6, "every point occurs once"


def ledger_of(out: Path) -> dict[str, Any]:
    return {name: content for name, content in ledger(out).items() if "proposed" not in name}


@pytest.mark.usefixtures("_without_networks")
@pytest.mark.parametrize("name", _quick(PRUNERS, "median", "hyperband"))
def test_a_killed_search_stops_the_same_trials_with_every_pruner(study: StudyMaker, tmp_path: Path, name: str) -> None:
    search = {**SEARCH, **NUMBERS, "trials": 10, "batch": 5, "sampler": "random", "pruner": PRUNERS[name]}
    path = study({"search": search})
    curve = falling_curve if name == "patient" else crossing_curve
    whole = searched(path, tmp_path / "whole", FakeLauncher(curve=curve))
    assert {trial.outcome.state for trial in whole.trials} == {"complete", "pruned"}, (
        "the pruner stops some trials, but not all"
    )
    same(interrupted(path, tmp_path / "broken", (7, 9, 3), reverse=True, curve=curve), whole)
    assert ledger(tmp_path / "broken") == ledger(tmp_path / "whole")


@pytest.mark.usefixtures("_without_networks")
def test_a_pruner_that_stops_every_trial_is_reported(study: StudyMaker, tmp_path: Path) -> None:
    search = {**SEARCH, **NUMBERS, "sampler": "random", "pruner": {"name": "threshold", "lower": 0.99}}
    with pytest.raises(UsageError, match=r"'aim' has no trial with a result; the pruner stopped all .* search\.pruner"):
        searched(study({"search": search}), tmp_path / "out", FakeLauncher(curve=crossing_curve))


def test_a_patient_pruner_uses_the_rungs_of_the_wrapped_pruner() -> None:
    patient = pruners.create(pruners.parse({"name": "patient", "wrapped": {"name": "hyperband", "min_resource": 2}}))
    assert patient.rungs(20) == (2, 6, 18, 20)
    assert isinstance(patient.build(20)._wrapped_pruner, optuna.pruners.HyperbandPruner)
    assert pruners.create(pruners.parse("median")).rungs(20) == (5, 10, 15, 20)
    assert pruners.create(pruners.parse("median")).rungs(3) == (1, 2, 3)


@pytest.mark.usefixtures("_without_networks")
def test_the_median_pruner_stops_trials_that_are_below_the_median_of_complete_trials(
    study: StudyMaker, tmp_path: Path
) -> None:
    """The expected trials are computed from the curves: the trials in later batches that are below the median at a
    rung."""
    pruner = {"name": "median", "n_startup_trials": 4, "rungs": 2}
    search = {**SEARCH, **NUMBERS, "trials": 12, "sampler": "random", "pruner": pruner}
    found = searched(study({"search": search}), tmp_path / "out", FakeLauncher()).trials
    first, later = found[:4], found[4:8]
    assert {trial.outcome.state for trial in first} == {"complete"}
    half = sorted(dict(trial.outcome.rungs)[2] for trial in first)
    median = (half[1] + half[2]) / 2
    for trial in later:
        assert (trial.outcome.state == "pruned") is (dict(trial.outcome.rungs)[2] < median), trial.name


@pytest.mark.usefixtures("_without_networks")
def test_if_a_sampler_cannot_repeat_its_proposals_the_recorded_proposals_are_used(
    study: StudyMaker, tmp_path: Path
) -> None:
    """Batches that have started keep their proposals, even if a different machine would propose different trials."""

    class Erratic(Sampler):
        """Draws random numbers from the operating system."""

        replays: ClassVar[bool] = False

        def build(self, seed: int) -> optuna.samplers.BaseSampler:
            return optuna.samplers.RandomSampler()

    samplers.register("erratic")(Erratic)
    try:
        path = study({"search": {**SEARCH, **NUMBERS, "sampler": "erratic"}})
        fewer = study({"search": {**SEARCH, **NUMBERS, "sampler": "erratic", "trials": 3}}, "fewer.yaml")
        with pytest.raises(Killed):  # more trials are requested after the first batch has been proposed
            searched(fewer, tmp_path / "out", FakeLauncher(life=5))
        found = interrupted(path, tmp_path / "out", (2, 9))
        asked = [
            drawn
            for file in sorted((tmp_path / "out" / "screening" / "rounds").glob("*.proposed.json"))
            for drawn in json.loads(file.read_text())["drawn"]
        ]
        assert [dict(trial.drawn) for trial in found.trials] == asked
        assert len({run_id for trial in found.trials for run_id in trial.run_ids}) == len(found.trials)
        assert len(rows(tmp_path / "out" / "screening")) == len(found.trials), "no trial was abandoned"
        other = study({"search": {**SEARCH, **NUMBERS, "sampler": "gp"}}, "other.yaml")
        with pytest.raises(StoreError, match=r"proposed\.json: contains the proposals of a different search"):
            searched(other, tmp_path / "out", FakeLauncher())
    finally:
        del samplers._classes["erratic"]


@pytest.mark.usefixtures("_without_networks")
def test_a_different_sampler_in_the_same_directory_is_refused(study: StudyMaker, tmp_path: Path) -> None:
    searched(study({"search": {**SEARCH, **NUMBERS, "sampler": "random"}}), tmp_path / "out", FakeLauncher())
    for sampler in ("gp", "qmc"):
        path = study({"search": {**SEARCH, **NUMBERS, "sampler": sampler}}, f"{sampler}.yaml")
        with pytest.raises(StoreError, match="contains the outcomes of a different search"):
            searched(path, tmp_path / "out", FakeLauncher())


@pytest.mark.usefixtures("_without_networks")
def test_users_can_add_samplers_and_pruners_as_plugins(study: StudyMaker, tmp_path: Path) -> None:
    class Never(Pruner):
        """Stops every trial at the first rung."""

        def build(self, budget: int) -> optuna.pruners.BasePruner:
            return optuna.pruners.ThresholdPruner(lower=2.0)

    pruners.register("never")(Never)
    try:
        file = read_study(study({"search": {**SEARCH, **NUMBERS, "pruner": {"name": "never", "rungs": 2}}}))
        assert file.spec.search is not None
        assert file.spec.search.rungs(4) == (2, 4)
        launcher = FakeLauncher()
        with pytest.raises(ValueError, match="has no trial with a result"):
            screening.screen(file, tmp_path / "out", launcher)
        assert max(epoch for _, epoch in launcher.computed) == 2
    finally:
        del pruners._classes["never"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"sampler": {"name": "tpe", "n_startup": 5}},
            r"search\.sampler\.n_startup: unknown key; did you mean",
        ),
        ({"sampler": {"name": "tpe", "n_startup_trials": -1}}, r"search\.sampler\.n_startup_trials: .*greater than"),
        ({"sampler": {"name": "random", "seed": 3}}, r"search\.sampler\.seed: unknown key"),
        ({"sampler": "cma"}, r"search\.sampler\.name: unknown sampler 'cma'; did you mean 'cmaes'"),
        ({"sampler": {"n_startup_trials": 5}}, r"search\.sampler\.name: missing: set it to the name of the sampler"),
        ({"pruner": "wilcoxon"}, r"search\.pruner\.name: wilcoxon compares trials seed by seed.*use median"),
        ({"pruner": "asha"}, r"search\.pruner\.name: unknown pruner 'asha'"),
        ({"pruner": "threshold"}, r"search\.pruner\.lower: set this threshold .*, upper, or both"),
        ({"pruner": "median", "halving": {}}, r"search.*: pruner: cannot be combined with halving"),
        ({"pruner": {"name": "successive_halving", "min_resource": 9}}, "leave nothing for successive_halving to stop"),
        (
            {"sampler": "brute_force", **NUMBERS},
            "brute_force needs a finite space, but training.optimizer.learning_rate",
        ),
        (
            {"levels": {RATE: 3}, "sampler": "qmc", **NUMBERS},
            "levels: no effect, because sampler qmc draws from the whole",
        ),
    ],
)
def test_an_impossible_sampler_or_pruner_is_refused_with_the_reason(
    study: StudyMaker, changes: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        screening.check(read_study(study({"search": {**SEARCH, **changes}})))


def test_a_missing_package_is_reported_with_the_extra_that_installs_it(
    study: StudyMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None if name == "cmaes" else sys.modules.get(name))
    with pytest.raises(ConfigError, match=r"cmaes needs the package cmaes: pip install 'aim-ablations\[cmaes\]'"):
        screening.check(read_study(study({"search": {**SEARCH, "sampler": "cmaes"}})))


def test_check_reports_which_parameters_a_sampler_draws_at_random_and_how_a_search_resumes(study: StudyMaker) -> None:
    said = list(check(study({"search": {**SEARCH, **NUMBERS, "sampler": "cmaes"}}), timing=False).notes)
    (note,) = [line for line in said if "independently and at random" in line]
    assert "model.placement, model.update" in note
    assert RATE not in note
    said = list(check(study({"search": {**SEARCH, **NUMBERS, "sampler": "gp"}}), timing=False).notes)
    assert any("each batch is recorded before it is computed" in line for line in said)


def test_names_are_listed_without_importing_a_plugin_or_optuna() -> None:
    assert {info.distribution for family in FAMILIES for info in family.plugins()} == {"aim-ablations"}
