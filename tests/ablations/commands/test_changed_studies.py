"""Changed studies with matching checksums: `ablate verify` and all commands that state a verdict notice the change.

Changes that only a separately stored hash reveals are tested in `tests/ablations/store/test_ledger.py`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_study import changed, write

import analysis
from ablations import verify
from ablations.sessions.launch import run
from aimlib.errors import StoreError
from aimlib.records import write_table
from aimlib.records.checksums import with_checksum

Edit = Callable[[Path], None]


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two finished studies that differ in the learning rate."""
    folder = tmp_path_factory.mktemp("studies")
    frozen = {"of": "aim", "control": "frozen_memory"}
    for name, rate in (("out", 2e-3), ("other", 1e-3)):
        path = write(folder, changed({"arms.frozen": frozen, "base.training.optimizer.learning_rate": rate}))
        assert run(path, folder / name, executor="inline").code == 0
    return folder


@pytest.fixture
def study(studies: Path, tmp_path: Path) -> Path:
    """Return a copy of the first study; the second study is next to it."""
    return Path(shutil.copytree(studies, tmp_path / "studies")) / "out"


def row_file(study: Path, arm: str = "aim", seed: int = 0) -> Path:
    plan = json.loads((study / "study.json").read_text())
    (found,) = [each["run_id"] for each in plan["runs"] if (each["arm"], each["seed"]) == (arm, seed)]
    return study / "runs" / f"{found}.parquet"


def change_rows(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    table = pq.read_table(path)
    rows = table.to_pylist()
    for row in rows:
        change(row)
    path.unlink()
    write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


def change_plan(study: Path, change: Callable[[dict[str, Any]], object], *, copies: bool) -> None:
    """Change study.json and, with `copies`, the plan in plans/ as well."""
    document = json.loads((study / "study.json").read_text())
    change(document)
    text = json.dumps(with_checksum(document))
    for name in ("study.json", *(["plans/000.json"] if copies else [])):
        (study / name).write_text(text)


def exchange(document: dict[str, Any], key: str, one: Any, other: Any) -> None:
    """Exchange two arms, or two seeds of the treatment, in the list of runs."""
    for each in document["runs"]:
        if key == "arm" or each["arm"] == "aim":
            each[key] = {one: other, other: one}.get(each[key], each[key])


def accuracy(study: Path) -> None:
    def change(row: dict[str, Any]) -> None:
        row["test_accuracy"] = row["epochs.test_accuracy"][row["selected_epoch"] - 1] = 0.9

    change_rows(row_file(study), change)


def swapped_results(study: Path) -> None:
    """Swap the results of two runs, keeping the runs' own ids."""
    paths = row_file(study, "aim"), row_file(study, "baseline")
    rows, schema = [pq.read_table(path).to_pylist()[0] for path in paths], pq.read_table(paths[0]).schema
    own = ("run_id", "identity", "config", "arm", "seed", "data_fingerprint")
    for path, mine, other in zip(paths, rows, reversed(rows), strict=True):
        path.unlink()
        write_table(pa.Table.from_pylist([{**other, **{key: mine[key] for key in own}}], schema=schema), path)


def second_row_in_a_segment(study: Path) -> None:
    """Put a different row of a run into a segment; this row counts, and the row in the run's own file does not."""
    table = pq.read_table(row_file(study))
    row = {**table.to_pylist()[0], "seconds": 1.0}
    write_table(pa.Table.from_pylist([row], schema=table.schema), study / "segments" / f"{0:020x}.parquet")


def labels(study: Path) -> None:
    (path,) = (study / "images").iterdir()
    change_rows(path, lambda row: row.update(label={3: 5, 5: 3}.get(row["label"], row["label"])))


def levels(document: dict[str, Any]) -> None:
    for arm in document["arms"]:
        arm["levels"] = {"memory": "off" if arm["name"] == "aim" else "on"}


def treatment_of_half_the_epochs(document: dict[str, Any]) -> None:
    for arm in document["arms"]:
        arm["config"]["training"]["epochs"] = 1 if arm["name"] == "aim" else 2


def from_the_other(*names: str) -> Edit:
    def edit(study: Path) -> None:
        for name in names:
            target = study / name
            (shutil.rmtree if target.is_dir() else Path.unlink)(target)
            source = study.parent / "other" / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, target)

    return edit


def without(name: str, then: Edit = lambda _: None) -> Edit:
    def edit(study: Path) -> None:
        then(study)
        (shutil.rmtree if (study / name).is_dir() else Path.unlink)(study / name)

    return edit


EDITS: dict[str, tuple[Edit, str]] = {
    "an accuracy, also of its epoch": (accuracy, "its predictions give"),
    "the duration of a run": (
        lambda study: change_rows(row_file(study), lambda row: row.update(seconds=1.0)),
        "it was replaced or changed",
    ),
    "results of two runs exchanged": (swapped_results, "it was replaced or changed"),
    "a second row for a run, in a segment": (second_row_in_a_segment, "it was replaced or changed"),
    "a row removed": (lambda study: row_file(study).unlink(), "the ledger contains its row, but no file does"),
    "the ledger removed": (without("ledger"), "the sessions that computed these rows kept a ledger"),
    "an accuracy, and the ledger and the images removed": (
        without("ledger", without("images", accuracy)),
        "the sessions that computed these rows kept a ledger",
    ),
    "the ledger of another study": (
        from_the_other("ledger"),
        "analysis_plan.json: it is not the analysis plan in",
    ),
    "labels of the test images": (labels, "its predictions give"),
    "smallest effect of interest": (
        lambda study: change_plan(study, lambda plan: plan.update(delta_pp=9.0), copies=False),
        "study.json: it is not one of the plans in plans/",
    ),
    "levels of a factor": (
        lambda study: change_plan(study, levels, copies=False),
        "study.json: it is not one of the plans in plans/",
    ),
    "levels of a factor, and the copies of the plan removed": (
        without("plans", lambda study: change_plan(study, levels, copies=False)),
        "study.json: it is not one of the plans in plans/",
    ),
    "treatment and baseline exchanged in all copies of the plan": (
        lambda study: change_plan(study, lambda plan: exchange(plan, "arm", "aim", "baseline"), copies=True),
        "differs from that of arm",
    ),
    "treatment and its control exchanged in all copies of the plan": (
        lambda study: change_plan(study, lambda plan: exchange(plan, "arm", "aim", "frozen"), copies=True),
        "differs from that of arm",
    ),
    "seeds of the treatment exchanged in all copies of the plan": (
        lambda study: change_plan(study, lambda plan: exchange(plan, "seed", 0, 1), copies=True),
        "its seed is",
    ),
    "configuration of an arm in all copies of the plan": (
        lambda study: change_plan(study, treatment_of_half_the_epochs, copies=True),
        "its training.epochs differs from that of arm",
    ),
    "the plan of another study": (from_the_other("study.json"), "study.json: it is not one of the plans in plans/"),
    "the frozen plan of another study": (
        from_the_other("analysis_plan.json"),
        "analysis_plan.json: it is not the analysis plan in the ledger",
    ),
    "the frozen plan removed": (
        without("analysis_plan.json"),
        "analysis_plan.json: it is not the analysis plan in the ledger",
    ),
}


def test_an_unchanged_study_is_intact(study: Path) -> None:
    assert verify(study).is_intact
    assert verify(study).deviations == ()
    assert analysis.examine(analysis.load(study)).headline == analysis.examine(analysis.load(study)).headline


@pytest.mark.parametrize("name", EDITS)
def test_verify_finds_a_change_and_does_not_state_a_verdict(name: str, study: Path) -> None:
    edit, expected = EDITS[name]
    edit(study)
    found = verify(study)
    assert not found.is_intact
    assert expected in " ".join((*found.contradictions, *found.ledger.contradictions))
    for further in (True, False):
        with pytest.raises(StoreError, match=expected):
            analysis.examine(analysis.load(study), further=further)
    with pytest.raises(StoreError, match=expected):
        analysis.report(study)


def test_verify_reports_removed_images_and_does_not_state_a_verdict(study: Path) -> None:
    shutil.rmtree(study / "images")
    assert verify(study).unproven == {"its test images are not stored": 6}
    with pytest.raises(StoreError, match="its test images are not stored: restore images/ from a copy, or run"):
        analysis.examine(analysis.load(study))


def test_verify_finds_a_changed_model_size(study: Path) -> None:
    """No verdict depends on model sizes."""
    change_rows(study / "models.parquet", lambda row: row.update(parameters=2 * row["parameters"]))
    (text,) = verify(study).contradictions
    assert "parameters or trainable_parameters of arm baseline differ from those of its runs" in text


def test_a_different_smallest_effect_in_all_copies_of_the_plan_deviates_from_the_frozen_plan(study: Path) -> None:
    change_plan(study, lambda plan: plan.update(delta_pp=9.0), copies=True)
    assert verify(study).deviations == ("delta_pp is 9.0 but was frozen as 1.0",)
    assert "Exploratory: delta_pp is 9.0 but was frozen as 1.0" in analysis.examine(analysis.load(study)).headline


def test_rows_from_a_different_study_do_not_count(study: Path) -> None:
    before = analysis.examine(analysis.load(study)).headline
    for path in (study.parent / "other" / "runs").glob("*.parquet"):
        shutil.copy(path, study / "runs")
    results = analysis.load(study)
    assert (len(results.runs), len(results.stale)) == (6, 6)
    assert analysis.examine(results).headline == before


def test_status_is_quick_and_does_not_verify_rows(study: Path) -> None:
    accuracy(study)
    results = analysis.load(study)
    assert analysis.examine(results, further=False, unproven=True).headline
