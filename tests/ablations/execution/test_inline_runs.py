"""A study computed in this process: rows are complete, runs are not repeated, failures are reported, and runs
resume."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq
import pytest
import torch
from tiny_study import changed, failures, litter, numbers, planned, rows, write
from torch import Tensor

import ablations.execution.run_task
import ablations.sessions.coordinator
import ablations.sessions.session
from ablations.execution.events import AttemptEnded
from ablations.execution.inline import InlineExecutor
from ablations.execution.run_task import execute
from ablations.planning import plan as planning
from ablations.sessions.launch import run
from ablations.sessions.result import SessionResult
from ablations.sessions.tasks import tasks
from ablations.spec.study import read_study
from ablations.store import ResultStore
from aimlib.config import RunConfig
from aimlib.errors import StoreError, UsageError
from aimlib.records import MODELS, RUN_COLUMNS, TEST_IMAGES
from aimlib.registry import updates
from aimlib.updates.base import MemoryUpdate

StudyMaker = Callable[..., Path]


def compute(path: Path, directory: Path, *overrides: str) -> SessionResult:
    return run(path, directory, overrides, executor="inline")


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of the tiny study, computed without interruption."""
    folder = tmp_path_factory.mktemp("calm")
    compute(write(folder, changed({})), folder / "out")
    return folder / "out"


def copy_of(calm: Path, directory: Path) -> Path:
    import shutil

    return Path(shutil.copytree(calm, directory))


# Stored rows


def test_rows_are_complete(calm: Path) -> None:
    found = rows(calm)
    assert len(found) == 4
    for row in found:
        assert {column.name for column in RUN_COLUMNS} <= set(row)
        unknown = {column.name for column in RUN_COLUMNS if row[column.name] is None}
        others = {"device_uuid", "peak_device_bytes", "reused_from", "kept_epoch", "scores", "scalars"}
        elsewhere = others | {"network", "repeated", "weights"}
        assert unknown <= {"reason", "traceback", "git_commit", "git_dirty"} | elsewhere
        assert (row["step"], row["data_on"]) == ("eager", "host")
        assert (row["status"], row["epochs_run"], row["attempts"]) == ("finished", 2, 1)
        assert row["predictions.epochs"] == 2
        assert len(row["predictions"]) == 2 * 100
        assert row["epochs.epoch"] == [1, 2]
        assert row["test_accuracy"] == row["epochs.test_accuracy"][row["selected_epoch"] - 1]
        assert row["seconds"] >= sum(row["epochs.seconds"])
        assert row["started_at"] <= row["finished_at"]
    assert {(row["arm"], row["seed"]) for row in found} == {
        (arm, seed) for arm in ("baseline", "aim") for seed in (0, 1)
    }


def test_a_row_contains_the_configuration_that_its_run_id_hashes(calm: Path) -> None:
    for row in rows(calm):
        config = RunConfig.parse(json.loads(row["config"]))
        assert config.run_id(row["data_fingerprint"]) == row["run_id"]
        assert config.seed == row["seed"]
        assert json.loads(row["plugins"])["backbones/small_resnet"].startswith("aim-ablations")


def test_models_and_images_are_stored_with_the_rows(calm: Path) -> None:
    models = pq.read_table(calm / "models.parquet").to_pylist()
    assert [(row["arm"], row["role"]) for row in models] == [("baseline", "baseline"), ("aim", "aim")]
    assert list(models[0]) == [column.name for column in MODELS]
    assert models[0]["memory_values"] == 0
    assert models[1]["memory_values"] == 4 * 2 * 2
    by_arm = {row["arm"]: row for row in rows(calm)}
    for model in models:
        assert model["parameters"] == by_arm[model["arm"]]["parameters"]
    fingerprint = rows(calm)[0]["data_fingerprint"]
    images = pq.read_table(calm / "images" / f"{fingerprint}.parquet").to_pylist()
    assert list(images[0]) == [column.name for column in TEST_IMAGES]
    assert [row["image"] for row in images] == list(range(100))


def test_accuracies_follow_from_the_stored_predictions(calm: Path) -> None:
    import numpy as np

    fingerprint = rows(calm)[0]["data_fingerprint"]
    labels = np.array(pq.read_table(calm / "images" / f"{fingerprint}.parquet")["label"])
    for row in rows(calm):
        predicted = np.frombuffer(row["predictions"], dtype=np.uint8).reshape(2, 100)
        accuracy = (predicted[row["selected_epoch"] - 1] == labels).mean()
        assert accuracy == pytest.approx(row["test_accuracy"], abs=1e-12)


# Settled runs are not repeated


def test_a_second_session_does_not_compute_any_runs(
    calm: Path, tmp_path: Path, study: StudyMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = copy_of(calm, tmp_path / "out")
    before = numbers(directory)
    stamps = {path: path.stat().st_mtime_ns for path in (directory / "runs").iterdir()}

    def refuse(*_: object) -> None:
        raise AssertionError("no runs are left to compute")

    monkeypatch.setattr(InlineExecutor, "execute", refuse)
    session = compute(study(), directory)
    assert (session.planned, session.settled_before, session.computed) == (4, 4, 0)
    assert session.open == ()
    assert numbers(directory) == before
    assert {path: path.stat().st_mtime_ns for path in (directory / "runs").iterdir()} == stamps
    assert len(list((directory / "plans").iterdir())) == 1, "an unchanged plan is stored only once"


def test_only_an_added_seed_and_an_added_arm_are_computed(calm: Path, tmp_path: Path, study: StudyMaker) -> None:
    directory = copy_of(calm, tmp_path / "out")
    before = numbers(directory)
    session = compute(study({"seeds": 3}), directory)
    assert (session.planned, session.settled_before, session.computed) == (6, 4, 2)
    arm = {"of": "aim", "control": "frozen_memory"}
    session = compute(study({"seeds": 3, "arms.frozen": arm}), directory)
    assert (session.planned, session.settled_before, session.computed) == (9, 6, 3)
    after = numbers(directory)
    assert {run_id: after[run_id] for run_id in before} == before
    assert set(after) == set(planned(directory))
    assert len(list((directory / "plans").iterdir())) == 3


def test_a_renamed_arm_keeps_its_runs(calm: Path, tmp_path: Path) -> None:
    document = changed({})
    document["arms"] = {"with memory": document["arms"]["aim"], "without": {}}
    session = compute(write(tmp_path, document), copy_of(calm, tmp_path / "out"))
    assert (session.settled_before, session.computed) == (4, 0)


def test_the_directory_of_a_different_study_is_refused(calm: Path, tmp_path: Path, study: StudyMaker) -> None:
    directory = copy_of(calm, tmp_path / "out")
    plan = (directory / "study.json").read_bytes()
    with pytest.raises(UsageError, match=r"contains the study 'tiny', not 'other'; set a different --out"):
        compute(study({"name": "other"}), directory)
    assert (directory / "study.json").read_bytes() == plan


def test_the_directory_of_a_different_study_with_the_same_name_is_refused(calm: Path, tmp_path: Path) -> None:
    directory = copy_of(calm, tmp_path / "out")
    plan = (directory / "study.json").read_bytes()
    document = changed({"base.training.label_smoothing": 0.2})
    document["arms"] = {"baseline": {}, "smooth": {"role": "treatment", "training": {"label_smoothing": 0.1}}}
    path = write(tmp_path, document)
    words = (
        r"contains a different study named 'tiny', with different arms \(aim\) and no runs of this study; "
        r"change the name"
    )
    with pytest.raises(UsageError, match=words):
        compute(path, directory)
    assert (directory / "study.json").read_bytes() == plan
    notes = ablations.check(path, out=directory, timing=False).notes
    assert any("`ablate run` does not accept it in this state" in note for note in notes)
    document["arms"]["aim"] = document["arms"].pop("smooth")
    assert compute(write(tmp_path, document), directory).computed == 4, "a changed study keeps the name of an arm"


def test_an_address_is_only_accepted_with_ray(study: StudyMaker, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--address names a Ray cluster"):
        run(study(), tmp_path / "out", executor="inline", address="auto")
    assert not (tmp_path / "out").exists()


def test_an_unknown_claim_is_refused_before_anything_runs(study: StudyMaker, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"claim: unknown claim 'stanford_dog'; did you mean 'stanford_dogs_aim'"):
        compute(study({"claim": "stanford_dog"}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_out_the_study_directory_is_created_in_results(study: StudyMaker, tmp_path: Path) -> None:
    session = run(study({"seeds": 1, "base.training.epochs": 1}), executor="inline")
    assert session.directory == tmp_path / "results" / "tiny"
    assert len(numbers(session.directory)) == 2


# Failures


class Brittle(MemoryUpdate):
    """An update that fails on request."""

    works: ClassVar[bool] = False

    def forward(self, features: Tensor, memory_NCHW: Tensor) -> Tensor:
        if not self.works and features.device.type != "meta":
            raise ZeroDivisionError("the plugin's own fault")
        return memory_NCHW


@pytest.fixture
def brittle() -> Iterator[type[Brittle]]:
    updates.register("brittle")(Brittle)
    Brittle.works = False
    yield Brittle
    updates._classes.pop("brittle")


def test_a_failing_plugin_fails_only_its_own_runs(
    study: StudyMaker, tmp_path: Path, brittle: type[Brittle], calm: Path
) -> None:
    path, directory = study({"arms.aim.model.update": "brittle"}), tmp_path / "out"
    session = compute(path, directory)
    assert (session.planned, session.computed, len(session.failed), session.open) == (4, 2, 2, ())
    settled = numbers(directory)
    assert settled.items() <= numbers(calm).items(), "the baselines ran, with the same results as always"
    assert set(settled) | set(session.failed) == set(planned(directory))
    for row in failures(directory):
        assert row["reason"] == "ZeroDivisionError: the plugin's own fault"
        assert row["traceback"].endswith("ZeroDivisionError: the plugin's own fault")
        assert "in forward" in row["traceback"]
        assert (row["status"], row["arm"], row["test_accuracy"]) == ("failed", "aim", None)
        assert row["run_id"] in session.failed

    again = compute(path, directory)
    assert (again.settled_before, again.computed, len(again.failed)) == (2, 0, 2)
    assert len(failures(directory)) == 4, "every attempt is recorded"
    brittle.works = True
    mended = compute(path, directory)
    assert (mended.settled_before, mended.computed, mended.failed) == (2, 2, {})
    assert set(numbers(directory)) == set(planned(directory))
    assert len(failures(directory)) == 4
    assert litter(directory) == []


def test_the_command_line_ends_with_code_1_when_runs_failed(
    study: StudyMaker, tmp_path: Path, brittle: type[Brittle], capsys: pytest.CaptureFixture[str]
) -> None:
    from in_process import ablate

    directory = tmp_path / "out"
    code, out, err = ablate(
        capsys,
        "run",
        study({"arms.aim.model.update": "brittle", "seeds": 1}),
        "--out",
        directory,
        "--executor",
        "inline",
    )
    assert (code, err) == (1, "")
    assert "1 failed" in out
    assert "Traceback" not in out
    assert "aim, seed 0" in out
    code, out, _ = ablate(
        capsys, "results", directory, "--where", "status=failed", "--columns", "arm,seed,reason", "--csv", "-"
    )
    assert (code, out.splitlines()[1:]) == (0, ["aim,0,ZeroDivisionError: the plugin's own fault"])


def test_a_diverged_run_is_settled(study: StudyMaker, tmp_path: Path) -> None:
    path = study({"base.training.optimizer": {"name": "sgd", "learning_rate": 1e30}, "seeds": 1})
    session = compute(path, tmp_path / "out")
    assert (session.computed, session.failed, session.open) == (2, {}, ())
    for row in rows(tmp_path / "out"):
        assert row["status"] == "diverged"
        assert row["reason"].startswith("loss not finite in epoch ")
        assert row["selected_epoch"] == row["epochs_run"] == 0
        assert row["predictions.epochs"] == 1
        assert 0 <= row["test_accuracy"] <= 1
    before = numbers(tmp_path / "out")
    session = compute(path, tmp_path / "out")
    assert (session.settled_before, session.computed) == (2, 0)
    assert numbers(tmp_path / "out") == before


def test_data_that_differs_from_the_planned_data_is_a_failure(study: StudyMaker, tmp_path: Path) -> None:
    plan = planning.plan(read_study(study()))
    store = ResultStore(tmp_path / "out")
    task = tasks(plan, store, list(plan.runs[:1]))[0]
    assert execute(replace(task, fingerprint="0" * 20)).end == "failed"
    (row,) = failures(tmp_path / "out")
    assert row["reason"].startswith("DataError: the data on this machine differs from the data with which the study")
    assert f"fingerprint {task.fingerprint} instead of {'0' * 20}" in row["reason"]
    assert "ablate data info digits" in row["reason"]
    assert rows(tmp_path / "out") == []


# Other processes and interruptions


def test_a_session_waits_for_runs_that_another_process_is_computing(
    study: StudyMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calm: Path
) -> None:
    monkeypatch.setattr(ablations.sessions.coordinator, "_POLL_INTERVAL_S", 0.05)
    directory = tmp_path / "out"
    plan = planning.plan(read_study(study()))
    store = ResultStore(directory)
    claim = store.lock_run(plan.runs[0].run_id)
    assert claim is not None
    began = time.monotonic()
    threading.Timer(3.0, claim.release).start()  # as if another process gave up without a result
    session = compute(study(), directory)
    assert time.monotonic() - began > 3.0
    assert (session.computed, session.failed, session.open) == (4, {}, ())
    assert numbers(directory) == numbers(calm)


def test_a_run_that_another_process_settles_is_not_repeated(
    study: StudyMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calm: Path
) -> None:
    monkeypatch.setattr(ablations.sessions.coordinator, "_POLL_INTERVAL_S", 0.05)
    directory = tmp_path / "out"
    plan = planning.plan(read_study(study()))
    run_id = plan.runs[0].run_id
    claim = ResultStore(directory).lock_run(run_id)
    assert claim is not None

    def settle() -> None:
        os.link(calm / "runs" / f"{run_id}.parquet", directory / "runs" / f"{run_id}.parquet")
        claim.release()

    threading.Timer(3.0, settle).start()
    session = compute(study(), directory)
    assert session.open == ()
    assert numbers(directory) == numbers(calm)
    assert next(row for row in rows(directory) if row["run_id"] == run_id) in rows(calm)


class Interrupting(InlineExecutor):
    """Interrupts after a number of epochs, as Ctrl-C would."""

    after = 3

    def execute(self, scheduler: Any, coordinator: Any, stop: Any) -> None:
        seen = 0

        def count(row: Any) -> None:
            nonlocal seen
            seen += 1
            if seen == self.after:
                raise KeyboardInterrupt

        while (task := scheduler.next()) is not None:
            coordinator.handle(AttemptEnded(task.run_id, execute(task, count)))


LONGER = {"base.training.epochs": 4, "seeds": 1, "base.training.schedule": {"name": "cosine", "warmup_epochs": 1}}


@pytest.mark.parametrize("after", [6, pytest.param(3, marks=pytest.mark.slow)])
def test_an_interrupted_study_continues_bit_for_bit(
    study: StudyMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    from aimlib.training import loop

    monkeypatch.setattr(loop.train, "__kwdefaults__", loop.train.__kwdefaults__ | {"checkpoint_share": float("inf")})
    augmentation = {"rotation": 0.1, "horizontal_flip": 0.5}
    path = study(LONGER | {"base.training.augmentation": augmentation})
    compute(path, tmp_path / "calm")
    with monkeypatch.context() as patch:
        patch.setattr(ablations.sessions.session, "InlineExecutor", type("Stop", (Interrupting,), {"after": after}))
        session = None
        with pytest.raises(KeyboardInterrupt):
            session = compute(path, tmp_path / "out")
        assert session is None
    settled = after // 4
    assert len(rows(tmp_path / "out")) == settled
    (begun,) = [path.parent.name for path in (tmp_path / "out").glob("checkpoints/*/checkpoint.pt")]
    assert ResultStore(tmp_path / "out").holder(begun) is None, "the lock is released"
    session = compute(path, tmp_path / "out")
    assert (session.settled_before, session.computed) == (settled, 2 - settled)
    assert numbers(tmp_path / "out") == numbers(tmp_path / "calm")
    attempts = {row["run_id"]: row["attempts"] for row in rows(tmp_path / "out")}
    assert attempts[begun] == 2, "it continued instead of starting again"
    assert litter(tmp_path / "out") == []


def test_the_checkpoint_of_a_run_that_another_process_just_finished_is_removed(
    study: StudyMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    path, directory = study({"seeds": 1}), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(ResultStore, "discard_checkpoint", die)  # killed between the commit and the cleanup
        with pytest.raises(KeyboardInterrupt):
            compute(path, directory)
    assert len(rows(directory)) == len(list((directory / "checkpoints").iterdir())) == 1
    compute(path, directory)
    assert len(numbers(directory)) == 2
    assert litter(directory) == []


def test_the_number_of_torch_threads_is_restored(study: StudyMaker, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    compute(study({"seeds": 1, "base.training.epochs": 1, "resources": {"cpus": 2}}), tmp_path / "out")
    assert {row["threads"] for row in rows(tmp_path / "out")} == {2}
    assert torch.get_num_threads() == before


def test_a_plugin_that_is_missing_on_the_worker_causes_a_failed_row_that_names_it(tmp_path: Path) -> None:
    plan = planning.plan(read_study(write(tmp_path, changed({}))))
    store = ResultStore(tmp_path / "out")
    task = tasks(plan, store, list(plan.runs[:1]))[0]
    model = {**task.config["model"], "backbone": {"name": "only_on_the_driver"}}
    assert execute(replace(task, config={**task.config, "model": model})).end == "failed"
    (path,) = (store.directory / "failures").iterdir()
    row = pq.read_table(path).to_pylist()[0]
    assert "unknown backbone 'only_on_the_driver'" in row["reason"]
    assert (row["status"], row["seed"], row["plugins"]) == ("failed", task.config["seed"], None)


# Pausing at an epoch, and settling paused runs


def test_a_run_pauses_at_its_epoch_no_matter_how_often_it_is_started(study: StudyMaker, tmp_path: Path) -> None:
    plan = planning.plan(read_study(study({"base.training.epochs": 4})))
    store = ResultStore(tmp_path / "out")
    run_id = plan.runs[0].run_id
    (task,) = tasks(plan, store, list(plan.runs[:1]), until={run_id: 2})
    endings = [execute(task) for _ in range(3)]
    assert [(ending.end, ending.epochs) for ending in endings] == [("paused", 2)] * 3
    assert len({ending.accuracy for ending in endings}) == 1
    assert execute(replace(task, until=None)).end == "finished"


def test_runs_are_paused_pruned_and_continued(study: StudyMaker, tmp_path: Path) -> None:
    path = study({"base.training.epochs": 4, "seeds": 1})
    run(path, tmp_path / "calm", executor="inline")
    ids = planned_ids(path)
    session = run(path, tmp_path / "out", executor="inline", until=dict.fromkeys(ids, 2))
    assert set(session.paused) == set(ids)
    assert (session.computed, session.open, session.cut_off) == (0, (), False)
    again = run(path, tmp_path / "out", executor="inline", until=dict.fromkeys(ids, 2))
    assert again.paused == session.paused, "not computed again"
    session = run(path, tmp_path / "out", executor="inline", prune=ids[:1])
    assert (session.computed, session.paused) == (len(ids), {})
    calm, found = numbers(tmp_path / "calm"), {row["run_id"]: row for row in rows(tmp_path / "out")}
    assert (found[ids[0]]["status"], found[ids[0]]["epochs_run"]) == ("pruned", 2)
    assert found[ids[0]]["reason"] == "stopped after 2 epochs by the search"
    assert {run_id: text for run_id, text in numbers(tmp_path / "out").items() if run_id != ids[0]} == {
        run_id: text for run_id, text in calm.items() if run_id != ids[0]
    }
    assert litter(tmp_path / "out") == []


def planned_ids(path: Path) -> list[str]:
    return [each.run_id for each in planning.plan(read_study(path)).runs]


def test_a_brief_storage_outage_has_no_effect(
    study: StudyMaker, tmp_path: Path, calm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bool:
        raise StoreError("no answer") from TimeoutError("timed out")

    monkeypatch.setattr(ablations.execution.run_task, "_POLL_INTERVAL_S", 0.0)
    monkeypatch.setattr(ResultStore, "stop_requested", refuse)
    session = compute(study(), tmp_path / "out")
    assert (session.failed, session.open) == ({}, ())
    assert numbers(tmp_path / "out") == numbers(calm)


def test_an_arm_that_needs_a_gpu_is_refused_on_a_machine_without_one(study: StudyMaker, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="this process sees none"):
        compute(study({"arms.aim.resources": {"gpus": 1}}), tmp_path / "out")
    assert rows(tmp_path / "out") == []
