"""Searches over several arms, without training: proposals, reports to the sampler, pruning and confirmation."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_launcher import FakeLauncher, Killed, crossing_curve, ledger
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_study import changed, rows, write

import ablations.planning.arms
from ablations.planning import networks
from ablations.search.halving import epochs_of_bracket, kept
from ablations.sessions import screening
from ablations.spec.study import read_study
from aimlib.errors import StoreError, UsageError

StudyMaker = Callable[..., Path]
RATE = "training.optimizer.learning_rate"
BOTH: dict[str, Any] = {
    "vary": ["baseline", "aim"],
    "over": ["model.placement", "model.update", RATE],
    "trials": 6,
    "batch": 3,
    "seeds": [90, 91],
    "top": 1,
    "sampler": "random",
    "training": {"epochs": 9},
}
HALVED = {**BOTH, "trials": 12, "batch": 9, "halving": {"reduction_factor": 3, "rungs": 3}}


@pytest.fixture(autouse=True)
def _without_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat every configuration that can be parsed as buildable, because building takes longer than the rest of a
    test."""
    monkeypatch.setattr(networks, "refuse_unbuildable", lambda *_: None)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Return a function that creates a new folder for each example in a test."""
    count = iter(range(10_000))
    root = tmp_path_factory.mktemp("searches")

    def make() -> Path:
        folder = root / str(next(count))
        folder.mkdir()
        return folder

    return make


def searched(path: Path, out: Path, launcher: FakeLauncher) -> screening.Screening:
    return screening.screen(read_study(path), out, launcher)


def states(found: screening.Screening, arm: str) -> list[str]:
    return [trial.outcome.state for trial in found.trials if trial.arm == arm]


# Equal treatment of arms


def test_all_arms_have_equal_numbers_of_trials_seeds_and_epochs(study: StudyMaker, tmp_path: Path) -> None:
    launcher = FakeLauncher()
    found = searched(study({"search": BOTH}), tmp_path / "out", launcher)
    assert found.confirmed
    for arm in ("baseline", "aim"):
        assert states(found, arm) == ["complete"] * 6
    screened = rows(tmp_path / "out" / "screening")
    for arm in ("baseline", "aim"):
        own = [row for row in screened if row["arm"].startswith(f"{arm}_")]
        assert len(own) == 6 * 2
        assert {row["seed"] for row in own} == {90, 91}
        assert {row["epochs_planned"] for row in own} == {9}
    assert {name for trial in found.trials if trial.arm == "baseline" for name in trial.drawn} == {RATE}
    assert {"model.placement", "model.update", RATE} <= {n for t in found.trials if t.arm == "aim" for n in t.drawn}


def test_the_confirmation_keeps_the_words_questions_and_measure_of_the_study(study: StudyMaker, tmp_path: Path) -> None:
    own = {
        "what": "a gated update",
        "measure": "loss",
        "delta": 0.1,
        "arms.longer": {"training": {"epochs": 3}, "question": "More than longer training?"},
        "arms.wider": {"of": "aim", "model": {"memory": {"channels": 8}}, "question": "More than its size?"},
    }
    searched(study({"search": BOTH, **own}), tmp_path / "out", FakeLauncher())
    file = read_study(tmp_path / "out" / "confirmation" / "study.yaml")
    assert (file.spec.what, file.spec.measure, file.spec.delta) == ("a gated update", "loss", 0.1)
    plan = {arm.name: arm for arm in ablations.planning.arms.expand(file)}
    assert (plan["longer"].role, plan["longer"].question) == ("control", "More than longer training?")
    assert (plan["wider"].role, plan["wider"].question) == ("control", "More than its size?")


def test_the_best_trials_replace_their_arms_and_the_controls_are_derived_from_them(
    study: StudyMaker, tmp_path: Path
) -> None:
    arms = {"arms.frozen": {"of": "aim", "control": "frozen_memory"}}
    found = searched(study({"search": BOTH, **arms}), tmp_path / "out", FakeLauncher())
    file = read_study(tmp_path / "out" / "confirmation" / "study.yaml")
    plan = {arm.name: arm for arm in ablations.planning.arms.expand(file)}
    best = {
        arm: max((t for t in found.trials if t.arm == arm), key=lambda t: (t.value or 0, -t.number))
        for arm in ("baseline", "aim")
    }
    assert [plan[name].role for name in ("baseline", "aim", "frozen")] == ["baseline", "aim", "frozen"]
    for arm, trial in best.items():
        assert plan[arm].config.training.optimizer.learning_rate == trial.drawn[RATE]  # type: ignore[attr-defined]
        assert plan[arm].config.training.epochs == 2, "confirmed with the study's budget"
    frozen = plan["frozen"].config
    assert frozen.training == plan["aim"].config.training
    assert frozen.model.update == plan["aim"].config.model.update
    assert len(plan) == 5, "one further trial of each arm in addition"
    assert all(plan[name].role in ("other", "aim") for name in list(plan)[3:])


def test_the_confirmation_keeps_every_key_of_the_study(study: StudyMaker, tmp_path: Path) -> None:
    """The confirmation has the looks, the further block and every other key."""
    said = {
        "description": "what for",
        "claim": "stanford_dogs_aim",
        "delta_pp": 0.7,
        "seeds": [3, 4, 5],
        "looks": [6, 9],
        "further_block": 4,
        "protocol": "controlled",
        "resources": {"cpus": 2, "max_retries": 7},
    }
    path = study({"search": BOTH, **said})
    searched(path, tmp_path / "out", FakeLauncher())
    before = read_study(path).spec
    after = read_study(tmp_path / "out" / "confirmation" / "study.yaml").spec
    for name in set(type(before).model_fields) - {"arms", "search"}:
        assert getattr(after, name) == getattr(before, name), name
    for name, value in said.items():
        default = type(before).model_fields[name].default
        assert json.loads(after.model_dump_json())[name] != default, f"{name} is not tested: {value}"
    assert after.search is None


def test_confirm_beside_leaves_the_arms_unchanged(study: StudyMaker, tmp_path: Path) -> None:
    path = study({"search": {**BOTH, "vary": "aim", "confirm": "beside", "top": 2}})
    found = searched(path, tmp_path / "out", FakeLauncher())
    arms = read_study(tmp_path / "out" / "confirmation" / "study.yaml").spec.arms
    best = sorted(found.trials, key=lambda trial: (-(trial.value or 0), trial.number))
    assert list(arms) == ["baseline", "aim", best[0].name, best[1].name]
    assert arms["aim"] == read_study(path).spec.arms["aim"]


def test_the_best_trial_is_skipped_if_it_equals_another_arm(study: StudyMaker, tmp_path: Path) -> None:
    """Otherwise, the same runs would appear twice, which a study refuses."""
    grid = {"over": {"aim": ["model.placement"]}, "levels": {"model.placement": ["every_layer", "block_entry"]}}
    search = {**BOTH, **grid, "sampler": "grid", "trials": 2, "top": 0}
    del search["vary"]
    model = {
        "memory": {"name": "conv_ones", "channels": 4, "rows": 2, "columns": 2},
        "placement": "every_layer",
        "update": "conv_sigmoid",
    }
    better = {"every_layer": 0.9, "block_entry": 0.5}
    path = study({"search": search, "arms.everywhere": {"model": model, "role": "other"}})
    names: dict[str, str] = {}

    def curve(run_id: str, epoch: int, epochs: int) -> float:
        return better[names.get(run_id, "every_layer")]

    launcher = FakeLauncher(curve=curve)
    file = read_study(path)
    searching = screening._Search(file, tmp_path / "seen" / "screening", launcher, screening.Console(quiet=True))
    batch = searching._searches["aim"].ask()
    assert batch is not None
    names |= {run_id: trial.drawn["model.placement"] for trial in batch.trials for run_id in trial.run_ids}
    found = searched(path, tmp_path / "out", launcher)
    assert max(found.trials, key=lambda trial: trial.value or 0).drawn == {"model.placement": "every_layer"}
    aim = read_study(tmp_path / "out" / "confirmation" / "study.yaml").spec.arms["aim"]
    assert aim.model["placement"]["name"] == "block_entry"


def test_base_options_that_a_trial_does_not_have_are_not_restored(study: StudyMaker, tmp_path: Path) -> None:
    """If the base specifies where updates run, trials without an update must still be buildable."""
    changes = {"arms.aim.model.update_after": "block", "arms.aim.model.update": "residual"}
    search = {**BOTH, "vary": "aim", "over": ["model.update"], "sampler": "grid", "trials": 2}
    search |= {"levels": {"model.update": ["none", "conv_sigmoid"]}, "top": 0}
    found = searched(study({"search": search, **changes}), tmp_path / "out", FakeLauncher())
    assert [trial.reason for trial in found.trials] == ["", ""]


# The seeds of a configuration form one unit


def test_optuna_receives_each_configuration_once_with_the_mean_over_its_seeds(
    study: StudyMaker, tmp_path: Path
) -> None:
    found = searched(study({"search": BOTH}), tmp_path / "out", FakeLauncher())
    by_id = {row["run_id"]: row["validation_accuracy"] for row in rows(tmp_path / "out" / "screening")}
    for trial in found.trials:
        assert trial.value == math.fsum(by_id[run_id] for run_id in trial.run_ids) / 2


def test_a_configuration_with_a_missing_run_fails_and_a_divergence_counts_as_an_outcome(
    study: StudyMaker, tmp_path: Path
) -> None:
    launcher = FakeLauncher(
        failing=lambda arm, seed: (arm, seed) == ("aim_0001", 91),
        diverging=lambda arm, seed: {"aim_0002": 4, "baseline_0000": 0}.get(arm),
    )
    found = {trial.name: trial for trial in searched(study({"search": BOTH}), tmp_path / "out", launcher).trials}
    assert found["aim_0001"].outcome.state == "failed"
    assert found["aim_0001"].value is None
    assert found["aim_0001"].reason == "a run failed: RuntimeError: out of memory"
    diverged = [row for row in rows(tmp_path / "out" / "screening") if row["arm"] == "aim_0002"]
    assert {row["status"] for row in diverged} == {"diverged"}
    assert found["aim_0002"].value == sum(max(row["epochs.validation_accuracy"]) for row in diverged) / 2
    assert found["baseline_0000"].value == pytest.approx(0.1), (
        "the run diverged immediately: the accuracy is that of the initial network"
    )
    assert {trial.outcome.state for trial in found.values()} == {"complete", "failed"}


def test_a_reported_outcome_does_not_change_if_a_failed_run_is_repaired_later(
    study: StudyMaker, tmp_path: Path
) -> None:
    path = study({"search": {**BOTH, "sampler": "tpe", "trials": 12, "batch": 4, "seeds": [90]}})
    first = searched(path, tmp_path / "out", FakeLauncher(failing=lambda arm, seed: arm == "aim_0002"))
    told = ledger(tmp_path / "out")
    again = searched(path, tmp_path / "out", FakeLauncher())
    assert ledger(tmp_path / "out") == told
    assert again.trials == first.trials


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_optuna_receives_only_finite_accuracies(study: StudyMaker, tmp_path: Path, value: float) -> None:
    first = list[str]()

    def curve(run_id: str, epoch: int, epochs: int) -> float:
        first.append(run_id)
        return value if run_id == first[0] else crossing_curve(run_id, epoch, epochs)

    halved = {**HALVED, "trials": 9, "seeds": [90], "storage": "none"}
    for name, search in (("whole", {**BOTH, "trials": 3}), ("halved", halved)):
        first.clear()
        found = searched(study({"search": search}, f"{name}.yaml"), tmp_path / name, FakeLauncher(curve=curve))
        failed = [trial for trial in found.trials if trial.outcome.state == "failed"]
        assert [trial.reason for trial in failed] == ["a run has no finite validation accuracy"]


def test_a_search_in_which_every_trial_fails_stops_and_can_be_repeated(study: StudyMaker, tmp_path: Path) -> None:
    path = study({"search": BOTH})
    with pytest.raises(UsageError, match="every trial in a batch failed, baseline_0000: a run failed: RuntimeError"):
        searched(path, tmp_path / "out", FakeLauncher(failing=lambda arm, seed: True))
    assert ledger(tmp_path / "out") == {}
    assert searched(path, tmp_path / "out", FakeLauncher()).confirmed


def test_an_arm_without_any_results_is_reported(study: StudyMaker, tmp_path: Path) -> None:
    launcher = FakeLauncher(failing=lambda arm, seed: arm.startswith("aim"))
    with pytest.raises(UsageError, match="arm 'aim' has no trial with a result"):
        searched(study({"search": BOTH}), tmp_path / "out", launcher)


# Halving


@given(
    st.dictionaries(st.integers(0, 200), st.sampled_from([0.1, 0.25, 0.5, 0.75]) | st.floats(0, 1), min_size=1),
    st.integers(2, 5),
    st.randoms(),
)
def test_halving_keeps_the_best_fraction_in_any_order(values: dict[int, float], factor: int, rng: Any) -> None:
    going = kept(values, factor)
    assert len(going) == math.ceil(len(values) / factor)
    for number in going:
        for other in values.keys() - going:
            assert (values[number], -number) > (values[other], -other)
    items = list(values.items())
    rng.shuffle(items)
    assert kept(dict(items), factor) == going


def test_trials_are_stopped_at_fractions_of_their_own_budgets(study: StudyMaker, tmp_path: Path) -> None:
    launcher = FakeLauncher()
    found = searched(study({"search": HALVED}), tmp_path / "out", launcher)
    assert {budget for until, _ in launcher.calls for budget in until.values()} == {1, 3}
    screened = rows(tmp_path / "out" / "screening")
    curves = {row["run_id"]: row["epochs.validation_accuracy"] for row in screened}
    for arm in ("baseline", "aim"):
        own = [trial for trial in found.trials if trial.arm == arm]
        batches = (own[:9], own[9:])
        for batch in batches:
            alive = {trial.number: trial for trial in batch if trial.buildable and not trial.repeats}
            for epochs in (1, 3):
                values = {
                    number: math.fsum(crossing_curve(run_id, epochs, 9) for run_id in trial.run_ids) / 2
                    for number, trial in alive.items()
                }
                going = kept(values, 3)
                for number, trial in alive.items():
                    assert (epochs, values[number]) in trial.outcome.rungs
                    if number not in going:
                        assert trial.outcome.state == "pruned"
                        assert trial.value is None, "the trial is never compared as if it were complete"
                        assert trial.reason == f"stopped after {epochs} epochs at {100 * values[number]:.2f} %"
                        assert {len(curves[run_id]) for run_id in trial.run_ids} == {epochs}
                alive = {number: trial for number, trial in alive.items() if number in going}
            assert all(trial.outcome.state == "complete" for trial in alive.values())
    assert len(launcher.computed) == len(set(launcher.computed)), "no epoch is computed twice"
    distinct = [t for t in found.trials if t.arm == "baseline"]
    assert all(not trial.repeats for trial in distinct)
    spent = sum(trial.outcome.epochs for trial in distinct)
    assert spent == 2 * (epochs_of_bracket(9, 3, (1, 3, 9)) + epochs_of_bracket(3, 3, (1, 3, 9)))
    assert {row["status"] for row in screened} == {"finished", "pruned"}
    pruned = {row["run_id"] for row in screened if row["status"] == "pruned"}
    confirmed = json.loads((tmp_path / "out" / "confirmation" / "study.json").read_text())["runs"]
    assert not pruned & {run["run_id"] for run in confirmed}
    assert launcher.calls[-1] == ({}, []), "no run is stopped in the confirmation"


def test_runs_that_end_early_count_with_the_accuracy_they_reached(study: StudyMaker, tmp_path: Path) -> None:
    launcher = FakeLauncher(stopping=lambda arm: 2 if arm in ("aim_0001", "aim_0002", "baseline_0003") else None)
    found = {t.name: t for t in searched(study({"search": HALVED}), tmp_path / "out", launcher).trials}
    for name in ("aim_0001", "aim_0002", "baseline_0003"):
        trial = found[name]
        if trial.outcome.state == "complete":
            assert {row["epochs_run"] for row in rows(tmp_path / "out" / "screening") if row["arm"] == name} == {2}
    assert all(trial.outcome.state in ("complete", "pruned", "unbuildable") for trial in found.values())


def test_a_failed_trial_in_a_bracket_is_given_up_and_leaves_no_files_behind(study: StudyMaker, tmp_path: Path) -> None:
    launcher = FakeLauncher(failing=lambda arm, seed: (arm, seed) == ("aim_0000", 90))
    found = {t.name: t for t in searched(study({"search": HALVED}), tmp_path / "out", launcher).trials}
    assert found["aim_0000"].outcome.state == "failed"
    assert not list((tmp_path / "out" / "screening" / "checkpoints").iterdir())


def test_halving_is_refused_if_the_launcher_cannot_pause_runs(study: StudyMaker, tmp_path: Path) -> None:
    def deaf(path: Path, out: Path, /, **_: Any) -> Any:
        session = FakeLauncher(failing=lambda arm, seed: False)(path, out, until=_["until"])
        return screening.SessionResult(out, session.planned, 0, 0, {}, ())

    with pytest.raises(UsageError, match=r"the launcher cannot pause runs; omit search\.halving"):
        screening.screen(read_study(study({"search": HALVED})), tmp_path / "out", deaf)


# Interruptions at any point


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the study file and the results of an uninterrupted search: trials, ledger, ranking and epochs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "refuse_unbuildable", lambda *_: None)
        made = {}
        tpe = {**BOTH, "sampler": "tpe", "trials": 12, "batch": 4, "seeds": [90]}
        for name, search in (("tpe", tpe), ("halved", {**HALVED, "trials": 10, "seeds": [90]})):
            folder = tmp_path_factory.mktemp(name)
            path, launcher = write(folder, changed({"search": search})), FakeLauncher()
            found = searched(path, folder / "out", launcher)
            ranking = (folder / "out" / "screening" / "ranking.csv").read_bytes()
            made[name] = (path, found.trials, ledger(folder / "out"), ranking, launcher.computed)
    return made


_INTERRUPTIONS: dict[str, Any] = {
    "name": st.sampled_from(["tpe", "halved"]),
    "lives": st.lists(st.integers(0, 90), max_size=4),
    "harm": st.lists(st.sampled_from(["none", "deleted", "cut", "garbage"]), min_size=4, max_size=4),
    "reverse": st.booleans(),
    "dying": st.sets(st.integers(0, 8), max_size=2),
}


@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**_INTERRUPTIONS)
def test_a_search_that_is_killed_at_any_point_proposes_the_same_trials_and_computes_each_run_once(
    undisturbed: Any, folders: Callable[[], Path], **drawn: Any
) -> None:
    """The process is killed after any epoch, or between a result and its record. Runs end in either order."""
    _killed_and_resumed(undisturbed, folders, **drawn)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**_INTERRUPTIONS)
def test_a_search_that_is_killed_very_often_proposes_the_same_trials_and_computes_each_run_once(
    undisturbed: Any, folders: Callable[[], Path], **drawn: Any
) -> None:
    """The same property is tested with more examples."""
    _killed_and_resumed(undisturbed, folders, **drawn)


def _killed_and_resumed(
    undisturbed: Any,
    folders: Callable[[], Path],
    name: str,
    lives: list[int],
    harm: list[str],
    reverse: bool,
    dying: set[int],
) -> None:
    path, trials, told, ranking, computed = undisturbed[name]
    out = folders() / "out"
    journal = out / "screening" / "optuna.journal"
    epochs: list[tuple[str, int]] = []
    writes = iter(range(1000))
    for life, damage in zip([*lives, None], [*harm[: len(lives)], "none"], strict=True):
        launcher = FakeLauncher(life=life, computed=epochs, reverse=reverse)
        with pytest.MonkeyPatch.context() as patch:
            real = screening.Journal.write_round

            def write_round(*arguments: Any, real: Any = real) -> None:
                if next(writes) in dying:
                    raise Killed
                real(*arguments)

            patch.setattr(screening.Journal, "write_round", write_round)
            for _ in range(1 if life is not None else 1 + len(dying)):
                try:
                    found = searched(path, out, launcher)
                    break
                except Killed:
                    launcher.life = None if life is None else 0
        if journal.exists() and damage != "none":
            text = journal.read_bytes()
            {
                "deleted": journal.unlink,
                "cut": lambda text=text: journal.write_bytes(text[: len(text) // 2]),
                "garbage": lambda: journal.write_bytes(b"{not json\n{\n"),
            }[damage]()
    assert [(t.name, t.drawn, t.run_ids) for t in found.trials] == [(t.name, t.drawn, t.run_ids) for t in trials]
    assert ledger(out) == told
    assert (out / "screening" / "ranking.csv").read_bytes() == ranking
    assert sorted(epochs) == sorted(set(epochs)), "an epoch was computed twice"
    assert sorted(epochs) == sorted(computed)


def test_more_trials_continue_a_search_that_ended_with_fewer(study: StudyMaker, tmp_path: Path) -> None:
    fewer = searched(study({"search": {**BOTH, "trials": 4}}), tmp_path / "out", FakeLauncher())
    launcher = FakeLauncher()
    more = searched(study({"search": {**BOTH, "trials": 9}}), tmp_path / "out", launcher)
    for arm in ("baseline", "aim"):
        before = [trial for trial in fewer.trials if trial.arm == arm]
        assert [trial for trial in more.trials if trial.arm == arm][: len(before)] == before
        assert states(more, arm) == ["complete"] * 9
    repeated = {run_id for trial in fewer.trials for run_id in trial.run_ids} & {run for run, _ in launcher.computed}
    assert not repeated


def test_a_different_search_in_the_same_directory_is_refused(study: StudyMaker, tmp_path: Path) -> None:
    searched(study({"search": BOTH}), tmp_path / "out", FakeLauncher())
    for changes in ({"sampler_seed": 7}, {"seeds": [92, 93]}, {"training": {"epochs": 8}}):
        with pytest.raises(
            StoreError, match=r"contains the outcomes of a different search: \w+_0000 is a different configuration"
        ):
            searched(study({"search": {**BOTH, **changes}}), tmp_path / "out", FakeLauncher())


def test_a_broken_record_is_reported_by_name(study: StudyMaker, tmp_path: Path) -> None:
    path = study({"search": BOTH})
    searched(path, tmp_path / "out", FakeLauncher())
    (tmp_path / "out" / "screening" / "rounds" / "aim.001.json").write_text("{")
    with pytest.raises(StoreError, match=r"rounds/aim\.001\.json: not a record of a search .* remove it and all later"):
        searched(path, tmp_path / "out", FakeLauncher())
