"""`ablate verify --rerun`: runs selected by the ledger are computed again and compared with the stored runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats
from synthetic_study import FakeArm, FakeStudy, write_study
from tiny_study import changed, write
from training_code_study import training_code_study
from typer.testing import CliRunner

import analysis
from ablations import verify
from ablations.commands.app import app
from ablations.execution.repetition import ACCURACY_TOLERANCE, allowed_accuracies, drawn
from ablations.sessions.launch import run
from ablations.store import ResultStore
from aimlib.errors import UsageError
from aimlib.records import write_table


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    run(write(folder, changed({"seeds": 2})), folder / "out", executor="inline")
    return folder / "out"


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "out"))


def forge(study: Path, change: Callable[[dict[str, Any]], object]) -> str:
    """Change the first row and write the ledger again; return the id of the row's run."""
    path = min((study / "runs").iterdir())
    table = pq.read_table(path)
    (row,) = table.to_pylist()
    change(row)
    path.unlink()
    write_table(pa.Table.from_pylist([row], schema=table.schema), path)
    shutil.rmtree(study / "ledger")
    ResultStore(study).ledger("f" * 12).end()
    return path.stem


def contents(study: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}


def test_runs_that_are_computed_again_are_bitwise_identical_and_the_study_is_unchanged(study: Path) -> None:
    before = contents(study)
    found = verify(study, rerun=2)
    assert found.is_intact
    assert contents(study) == before
    head = found.ledger.head
    assert head is not None
    runs = analysis.load(study).runs
    assert [each.run_id for each in found.reruns] == drawn(runs["run_id"], 2, head)
    for each in found.reruns:
        (row,) = runs[runs["run_id"] == each.run_id].to_dict("records")
        assert (each.arm, each.seed, each.same_kind, each.differences) == (row["arm"], row["seed"], True, ())
        assert "bitwise identical (100 predictions of 2 epochs and 9 columns of the curve)" in str(each)
    ended = CliRunner().invoke(app, ["verify", str(study), "--rerun", "1"])
    assert ended.exit_code == 0
    assert str(found.reruns[0]) in ended.output.replace("\n", "")
    assert str(found.reruns[1]) not in ended.output


def test_a_forgery_that_only_a_stored_head_reveals_is_detected(study: Path) -> None:
    (images,) = (study / "images").iterdir()
    labels = np.array(pq.read_table(images).column("label").to_pylist())

    def better(row: dict[str, Any]) -> None:
        predicted = np.frombuffer(row["predictions"], np.uint8).reshape(2, -1).copy()
        at = row["selected_epoch"] - 1
        wrong = np.flatnonzero(predicted[at] != labels)[:9]
        predicted[at, wrong] = labels[wrong]
        row["predictions"] = predicted.tobytes()
        row["test_accuracy"] = row["epochs.test_accuracy"][at] = float((predicted[at] == labels).mean())

    run_id = forge(study, better)
    assert verify(study).is_intact
    found = verify(study, rerun=99)
    assert not found.is_intact
    assert len(found.reruns) == 4, "all that there are"
    (wrong,) = [each for each in found.reruns if not each.is_reproduced]
    assert wrong.run_id == run_id
    assert "9 of 100 predictions differ in epoch" in wrong.differences[0]
    assert any(text.startswith("epochs.test_accuracy of epoch ") for text in wrong.differences)
    assert CliRunner().invoke(app, ["verify", str(study), "--rerun", "4"]).exit_code == 1


def test_results_on_a_different_device_may_differ_within_the_tolerance(study: Path) -> None:
    def elsewhere(row: dict[str, Any]) -> None:
        row["device_name"] = "another processor"
        row["epochs.train_loss"][1] += 1e-6

    run_id = forge(study, elsewhere)
    found = {each.run_id: each for each in verify(study, rerun=4).reruns}[run_id]
    assert (found.same_kind, found.is_reproduced) == (False, True)
    assert "(stored: cpu, another processor, " in found.where
    assert ("0 of 200 predictions differ; allowed on a different device or with different versions: 10% of") in str(
        found
    )

    def beyond(row: dict[str, Any]) -> None:
        row["test_accuracy"] += ACCURACY_TOLERANCE + 0.01
        row["epochs.test_accuracy"][row["selected_epoch"] - 1] = row["test_accuracy"]
        row["epochs.train_loss"][0] *= 1.5

    forge(study, beyond)
    found = {each.run_id: each for each in verify(study, rerun=4).reruns}[run_id]
    assert [text.split(" is ")[0] for text in found.differences] == [
        "the training loss of epoch 1",
        "the test accuracy",
    ]


def test_a_processor_with_the_same_name_that_rounds_differently_counts_as_a_different_device(study: Path) -> None:
    """Virtual machines report processors with different instructions under the same name."""

    def elsewhere(row: dict[str, Any]) -> None:
        assert row["reference"], "or the reference step was not computed"
        row["reference"] = "f" * 16
        row["epochs.train_loss"][1] += 1e-6

    run_id = forge(study, elsewhere)
    found = {each.run_id: each for each in verify(study, rerun=4).reruns}
    assert not found[run_id].same_kind
    assert found[run_id].is_reproduced
    assert all(each.same_kind for each in found.values() if each.run_id != run_id)


def test_on_a_different_device_a_run_may_differ_by_as_much_as_seeds_differ(tmp_path: Path) -> None:
    accuracies = [0.80, 0.84, 0.78, 0.86, 0.81, 0.83, 0.79, 0.85]
    arms = [FakeArm("baseline", "baseline", accuracies=accuracies), FakeArm("aim", "aim", accuracies=[0.9] * 8)]
    few = {("aim", seed): "failed" for seed in range(4)}
    directory = write_study(tmp_path / "study", FakeStudy(arms, list(range(8)), status=few), np.random.default_rng(0))
    runs = analysis.load(directory).runs
    named = {row.run_id: (row.arm, row.seed) for row in runs.itertuples()}
    spread = np.std(accuracies, ddof=1)
    assert allowed_accuracies(directory, named) == {
        "baseline": pytest.approx(stats.t.ppf(0.995, 7) * spread * 2**0.5),
        "aim": ACCURACY_TOLERANCE,
    }


def test_nobody_can_choose_which_runs_are_drawn() -> None:
    runs = [f"{number:020x}" for number in range(100)]
    heads = ["a" * 64, "b" * 64]
    assert drawn(runs, 5, heads[0]) == drawn(reversed(runs), 5, heads[0])
    assert drawn(runs, 5, heads[0]) == drawn(runs, 100, heads[0])[:5]
    assert drawn(runs, 5, heads[0]) != drawn(runs, 5, heads[1])
    first = [drawn(runs, 1, str(head))[0] for head in range(2000)]
    assert len(set(first)) == 100, "every run can be the first"


def test_a_run_that_cannot_be_computed_on_this_machine_is_reported(tmp_path: Path) -> None:
    path = training_code_study(tmp_path)
    run(path, tmp_path / "out", executor="inline", trust=True)
    from aimlib.registry import FAMILIES

    for family in FAMILIES:
        for name in list(family._origins):
            del family._origins[name]
            family._classes.pop(name, None)
    found = verify(tmp_path / "out", rerun=1)
    assert not found.is_intact
    assert "was not computed again: " in str(found.reruns[0])
    assert "unknown training code 'train'" in str(found.reruns[0])
    found = verify(tmp_path / "out", rerun=1, plugin=[f"{tmp_path / 'loop.py'}:train"], trust=True)
    assert (found.reruns[0].not_repeated, found.reruns[0].differences) == ("", ())
    assert found.is_intact


def test_a_negative_number_is_refused(study: Path) -> None:
    with pytest.raises(UsageError, match="rerun: give the number of runs"):
        verify(study, rerun=-1)
