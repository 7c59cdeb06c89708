"""`ablate verify`: its input, its findings, the changes that it makes, and its exit codes."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from tiny_study import changed, write
from typer.testing import CliRunner

import analysis
from ablations import verify
from ablations.commands.app import app
from ablations.commands.verify import lines
from ablations.sessions.launch import run
from ablations.store import ResultStore
from aimlib.errors import StoreError
from aimlib.records import write_table
from aimlib.registry import datasets


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the file of a study and its directory, with all runs settled."""
    folder = tmp_path_factory.mktemp("study")
    path = write(folder, changed({"seeds": 2}))
    run(path, folder / "out", executor="inline")
    return path, folder / "out"


@pytest.fixture
def study(finished: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    return finished[0], Path(shutil.copytree(finished[1], tmp_path / "out"))


def rewritten(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite a row with matching checksums, so that only the row's content reveals the change."""
    table = pq.read_table(path)
    (row,) = table.to_pylist()
    change(row)
    path.unlink()
    write_table(pa.Table.from_pylist([row], schema=table.schema), path)


def enter_again(directory: Path) -> None:
    """Write the ledger for the rows as they are now, because the old ledger would reveal every change."""
    shutil.rmtree(directory / "ledger")
    ResultStore(directory).ledger("f" * 12).end()


def test_an_intact_study_is_verified(study: tuple[Path, Path]) -> None:
    _, directory = study
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    found = verify(directory)
    assert found.is_intact
    assert found.missing == ()
    assert found.inspection.read["runs"] == 4
    assert found.inspection.without_checksums == ""
    ended = CliRunner().invoke(app, ["verify", str(directory)])
    assert ended.exit_code == 0
    assert "runs: 4 read, none damaged" in ended.output
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == before


def test_rows_contain_the_text_from_which_their_run_id_is_computed(study: tuple[Path, Path]) -> None:
    for path in (study[1] / "runs").iterdir():
        (row,) = pq.read_table(path).to_pylist()
        assert hashlib.sha256(row["identity"].encode()).hexdigest()[:20] == row["run_id"] == path.stem
        assert json.loads(row["identity"])["run"]["seed"] == row["seed"]
        assert row["schema_version"] == 3


def test_a_damaged_row_is_computed_again_with_the_same_numbers(study: tuple[Path, Path]) -> None:
    file, directory = study
    whole = analysis.load(directory).runs
    path = min((directory / "runs").iterdir())
    path.write_bytes(path.read_bytes()[:-900])
    ended = CliRunner().invoke(app, ["verify", str(directory)])
    assert ended.exit_code == 1
    assert f"runs/{path.name} is damaged" in ended.output
    assert "1 planned run has no intact row." in ended.output
    assert path.exists()
    session = run(file, directory, executor="inline")
    assert (session.computed, session.settled_before, session.open) == (1, 3, ())
    assert (directory / "damaged" / f"runs-{path.name}").exists()
    again = analysis.load(directory).runs
    columns = ["run_id", "arm", "seed", "test_accuracy", "test_loss"]
    assert again[columns].equals(whole[columns])
    assert verify(directory).is_intact


def test_repair_sets_damaged_files_aside(study: tuple[Path, Path]) -> None:
    _, directory = study
    path = min((directory / "runs").iterdir())
    path.write_bytes(b"")
    ended = CliRunner().invoke(app, ["verify", str(directory), "--repair"])
    assert ended.exit_code == 1
    assert f"set aside as damaged/runs-{path.name}" in ended.output
    assert not path.exists()
    assert CliRunner().invoke(app, ["verify", str(directory)]).exit_code == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row.update(seed=77),
        lambda row: row.update(data_fingerprint="0" * 20),
        lambda row: row.update(
            identity=row["identity"].replace('"seed":0', '"seed":7').replace('"seed":1', '"seed":7')
        ),
    ],
)
def test_a_row_from_a_different_experiment_is_detected_without_its_plugins(
    study: tuple[Path, Path], change: Callable[[dict[str, Any]], None]
) -> None:
    _, directory = study
    path = min((directory / "runs").iterdir())
    rewritten(path, change)
    (damage,) = verify(directory).inspection.damages
    assert damage.name == f"runs/{path.name}"
    with pytest.raises(StoreError, match=r"a row is damaged: .*`ablate run` sets its file aside"):
        analysis.load(directory)


def test_a_directory_without_a_study_is_refused(tmp_path: Path) -> None:
    ended = CliRunner().invoke(app, ["verify", str(tmp_path / "nothing")])
    assert isinstance(ended.exception, StoreError)
    assert "contains no files of a study" in str(ended.exception)
    assert not (tmp_path / "nothing").exists()


def other_class(row: dict[str, Any]) -> None:
    """Change one prediction of the first epoch."""
    predictions = bytearray(row["predictions"])
    labels = datasets.create(datasets.parse(json.loads(row["config"])["data"])).load().test.labels
    right = next(image for image, label in enumerate(labels) if predictions[image] == label)
    predictions[right] = (predictions[right] + 1) % 10
    row["predictions"] = bytes(predictions)


def higher_accuracy(row: dict[str, Any]) -> None:
    """Increase the accuracy of the selected epoch everywhere except in the predictions."""
    row["epochs.test_accuracy"][row["selected_epoch"] - 1] = row["test_accuracy"] = 0.987


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (other_class, "but its predictions give"),
        (higher_accuracy, "but its predictions give"),
        (lambda row: row.update(test_accuracy=0.987), "in the selected epoch"),
        (lambda row: row.update(epochs_run=1), "epochs_run is 1"),
    ],
)
def test_an_accuracy_that_contradicts_the_predictions_is_refused_by_verify_and_the_report(
    study: tuple[Path, Path], change: Callable[[dict[str, Any]], None], problem: str
) -> None:
    _, directory = study
    path = min((directory / "runs").iterdir())
    rewritten(path, change)
    enter_again(directory)
    found = verify(directory)
    assert found.inspection.damages == []
    assert found.proven == 3
    assert any(text.startswith(f"run {path.stem} in runs/{path.name}: ") for text in found.contradictions)
    assert any(problem in text for text in found.contradictions)
    assert CliRunner().invoke(app, ["verify", str(directory)]).exit_code == 1
    named = f"run {path.stem}: .*; restore (it|the file of this run) from a copy, or delete it"
    with pytest.raises(StoreError, match=named):
        analysis.report(directory)


def test_accuracies_over_full_batches_in_the_order_of_tensorflow_datasets_follow_from_the_predictions(
    tmp_path: Path,
) -> None:
    options = {"evaluation_drop_last": True, "order": "tfds", "batch_size": 36, "validation_fraction": 0.0}
    document = changed({"seeds": 1, "base.training.selection": "last_epoch"})
    document["base"]["training"].update(options)
    run(write(tmp_path, document), tmp_path / "out", executor="inline")
    found = verify(tmp_path / "out")
    assert (tuple(found.contradictions), found.proven) == ((), 2)


def another_option(row: dict[str, Any]) -> None:
    row["config"] = row["config"].replace('"label_smoothing": 0.0', '"label_smoothing": 0.1')


def another_epoch(row: dict[str, Any]) -> None:
    """Report a different epoch consistently."""
    chosen = row["selected_epoch"] = 3 - row["selected_epoch"]
    for name in ("test_accuracy", "test_loss", "test_top5_accuracy", "validation_accuracy", "validation_loss"):
        row[name] = row[f"epochs.{name}"][chosen - 1]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (another_option, "its run id is not the hash of its configuration"),
        (another_epoch, "selected_epoch is "),
    ],
)
def test_verify_proves_rows_that_need_plugins(
    study: tuple[Path, Path], change: Callable[[dict[str, Any]], None], problem: str
) -> None:
    _, directory = study
    path = min((directory / "runs").iterdir())
    rewritten(path, change)
    (text,) = verify(directory).contradictions
    assert text.startswith(f"run {path.stem} in runs/{path.name}: {problem}")
    with pytest.raises(StoreError, match="differs from the one in the ledger"):
        analysis.report(directory)


def test_rows_that_cannot_be_proven_are_counted(study: tuple[Path, Path]) -> None:
    _, directory = study
    paths = sorted((directory / "runs").iterdir())
    other = {"small_resnet": "unknown_network"}, {'"label_smoothing": 0.0': '"label_smoothing": 0.1'}
    for path, ((old, new),) in zip(paths, map(dict.items, other), strict=False):
        rewritten(path, lambda row, o=old, n=new: row.update(identity=None, config=row["config"].replace(o, n)))
    for path in (directory / "images").iterdir():
        path.unlink()
    enter_again(directory)
    found = verify(directory)
    assert found.is_intact
    assert found.proven == 0
    text = "\n".join(lines(found))
    assert "Not proven for 4 rows: their test images are not stored." in text
    assert (
        "Not proven for 1 row: its plugins or options are unknown here (model.backbone.name: unknown backbone "
        "'unknown_network'); specify the file with its code: --plugin FILE." in text
    )
    assert (
        "Not proven for 1 row: its configuration results in a different run id: it was changed, or a component has "
        "a different version now"
    ) in text


def test_a_session_and_its_report_print_the_head_that_verify_confirms(study: tuple[Path, Path], undrawn: None) -> None:
    _, directory = study
    head = verify(directory).ledger.head
    assert head is not None
    page = (analysis.report(directory) / ".." / "report.html").resolve().read_text(encoding="utf-8")
    assert f"{head}, which covers 4 of 4 settled runs" in page
    assert json.loads((directory / "report" / "report.json").read_text(encoding="utf-8"))["ledger_head"] == head
    ended = CliRunner().invoke(app, ["verify", str(directory), "--head", head])
    assert ended.exit_code == 0
    assert "The study still contains everything that the given head covers, unchanged." in ended.output


def test_a_session_prints_the_head_when_the_plan_is_frozen_and_when_the_session_ends(tmp_path: Path) -> None:
    file = write(tmp_path, changed({"seeds": 1}))
    console = Console(record=True, width=200)
    session = run(file, tmp_path / "out", executor="inline", console=console)
    text = console.export_text()
    heads = dict(re.findall(r"Ledger head(.*): ([0-9a-f]{64})", text))
    assert list(heads) == [" at the freeze", ", which covers 2 settled runs"]
    assert heads[", which covers 2 settled runs"] == session.ledger_head
    for head in heads.values():
        assert verify(tmp_path / "out", head=head).confirmed == head
    (tmp_path / "out" / "runs").joinpath(
        f"{sorted(analysis.load(tmp_path / 'out').runs['run_id'])[0]}.parquet"
    ).unlink()
    again = run(file, tmp_path / "out", executor="inline")
    assert again.computed == 1
    assert verify(tmp_path / "out", head=again.ledger_head).confirmed
    assert not verify(tmp_path / "out", head=session.ledger_head).is_intact


def test_scores_that_contradict_the_predicted_classes_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, changed({"seeds": 1, "keep_scores": "float16"}))
    run(path, tmp_path / "out", executor="inline")
    assert verify(tmp_path / "out").is_intact

    def other_scores(row: dict[str, Any]) -> None:
        scores = np.frombuffer(row["scores"], dtype=np.float16).reshape(-1, 10)
        row["scores"] = scores[::-1].tobytes()

    changed_row = min((tmp_path / "out" / "runs").iterdir())
    rewritten(changed_row, other_scores)
    enter_again(tmp_path / "out")
    (said,) = verify(tmp_path / "out").contradictions
    assert said.startswith(
        f"run {changed_row.stem} in runs/{changed_row.name}: its scores and its predictions indicate "
    )


def test_keeping_class_scores_changes_neither_run_ids_nor_settled_runs(
    study: tuple[Path, Path], tmp_path: Path
) -> None:
    _, directory = study
    path = write(tmp_path, changed({"seeds": 3, "keep_scores": "float16"}))
    session = run(path, directory, executor="inline")
    assert (session.computed, session.settled_before) == (2, 4)
    found = analysis.load(directory).metrics()
    assert found.groupby("seed")["calibration_error"].count().to_dict() == {0: 0, 1: 0, 2: 2}
    assert found["macro_f1"].notna().all()
