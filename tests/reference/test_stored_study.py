"""A study directory from the first version can be loaded, queried and continued, and keeps its verdict.

The study was left unfinished: its screening is complete, but its confirmation is not. Of the fifteen confirming runs,
seven are settled, one failed, one was paused in the middle of an epoch, and six have not started. The completed study
and its report's tables are stored next to the unfinished study.
"""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import tiny_study
from blank_figures import blank_figures
from environment import DATA, is_that_of, read
from test_studies import lost

import analysis
from ablations.sessions import screening
from analysis.reading.query import select, summarise

STUDY = read("study.json")
FOLDERS = ("screening", "confirmation")


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / "study", tmp_path / "study"))


def test_a_stored_study_is_loaded_unchanged(stored: Path) -> None:
    results = analysis.load(stored / "confirmation")
    assert set(results.runs.loc[results.runs["status"] == "finished", "run_id"]) == set(STUDY["settled"])
    failed = results.runs[results.runs["status"] == "failed"]
    assert failed["run_id"].tolist() == STUDY["failed"]
    assert failed["reason"].item() == "RuntimeError: an error that was recorded on purpose"
    assert "in __call__" in failed["traceback"].item()
    assert len(results.missing) == 7
    assert len(results.runs) == 8
    assert len(results.predictions) == 7 * 500
    first = summarise(select(results.runs, ["status=finished"]), by=["arm"], value="test_accuracy")
    assert first["arm"].tolist() == ["baseline", "aim", "aim_0004"]
    assert results.frozen is not None
    analysis.report(stored / "confirmation")


@pytest.mark.parametrize("folder", FOLDERS)
def test_settled_runs_are_read_with_identical_bits(folder: str, stored: Path) -> None:
    found = tiny_study.numbers(stored / folder)
    assert found == {run_id: text for run_id, text in STUDY[folder].items() if run_id in found}
    assert len(found) == {"screening": 4, "confirmation": 7}[folder]


def settle(stored: Path, count: int) -> None:
    """Settle some of the runs that had not started, with the results from the completed study."""
    (path,) = (DATA / "complete" / "confirmation" / "segments").iterdir()
    begun = {*STUDY["settled"], *STUDY["failed"], *(p.name for p in (stored / "confirmation/checkpoints").iterdir())}
    rows = pq.ParquetFile(path).read()
    rows = rows.filter(pc.invert(pc.is_in(rows["run_id"], pa.array(sorted(begun))))).slice(0, count)
    assert rows.num_rows == count
    (stored / "confirmation" / "segments").mkdir(exist_ok=True)
    pq.write_table(rows, stored / "confirmation" / "segments" / path.name)


@pytest.mark.parametrize("computed", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_a_stored_study_continues_and_keeps_its_verdict(stored: Path, computed: int) -> None:
    """One run failed earlier, and one is paused. The slow test also computes the six runs that had not started."""
    if computed < 8:
        settle(stored, 8 - computed)
    settled = {path: content_of(path) for folder in FOLDERS for path in (stored / folder / "runs").iterdir()}
    plan = content_of(stored / "confirmation" / "analysis_plan.json")
    found = screening.run(DATA / "study.yaml", stored, executor="inline")
    assert (found.session.failed, found.session.open) == ({}, ())
    assert (found.session.settled_before, found.session.computed) == (15 - computed, computed), (
        "no run was computed again"
    )
    assert {path: content_of(path) for path in settled} == settled
    assert content_of(stored / "confirmation" / "analysis_plan.json") == plan
    assert len(list((stored / "screening" / "runs").iterdir())) == 4, "the search did not propose new trials"
    numbers = tiny_study.numbers(stored / "confirmation")
    assert list(numbers) != []
    assert set(numbers) == set(STUDY["confirmation"])
    results = analysis.load(stored / "confirmation")
    findings = analysis.examine(results)
    assert [deviation.text for deviation in findings.deviations] == STUDY["deviations"] == []
    primary = findings.primary
    assert primary is not None
    if is_that_of(STUDY):
        for run_id, text in STUDY["confirmation"].items():
            assert_equal(numbers[run_id], text)
        interval = {key: getattr(primary.interval, key) for key in STUDY["interval"]}
        assert interval == pytest.approx(STUDY["interval"], rel=1e-12)
        assert (primary.verdict.kind, primary.verdict.decided) == (
            STUDY["verdict"]["kind"],
            STUDY["verdict"]["decided"],
        )
    else:
        for run_id, text in STUDY["confirmation"].items():
            assert_near(numbers[run_id], text)
    attempts = results.runs.set_index("run_id")["attempts"]
    assert sorted(attempts)[-1] == 2, "the paused run continued from its checkpoint"


TABLES = sorted(path.stem for path in (DATA / "tables").glob("*.csv"))


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tables from the report on the completed study."""
    folder = tmp_path_factory.mktemp("complete")
    shutil.copytree(DATA / "complete", folder / "study")
    with blank_figures():
        analysis.report(folder / "study" / "confirmation", folder / "report")
    return folder / "report" / "tables"


@pytest.mark.parametrize("name", TABLES)
def test_a_completed_study_has_the_same_tables(name: str, reported: Path) -> None:
    """No run is computed, so the tables are the same on every machine; columns may be added."""
    found, recorded = (pd.read_csv(folder / f"{name}.csv") for folder in (reported, DATA / "tables"))
    if "role" in recorded:  # the stored word for the role
        recorded["role"] = recorded["role"].replace("aim", "treatment")
    assert set(recorded.columns) <= set(found.columns)
    pd.testing.assert_frame_equal(found[recorded.columns], recorded, rtol=1e-9)


def test_a_completed_study_keeps_its_verdict(tmp_path: Path) -> None:
    shutil.copytree(DATA / "complete", tmp_path / "study")
    findings = analysis.examine(analysis.load(tmp_path / "study" / "confirmation"))
    primary = findings.primary
    assert primary is not None
    found = {key: getattr(primary.interval, key) for key in STUDY["interval"]}
    assert found == pytest.approx(STUDY["interval"], rel=1e-9)
    assert (primary.verdict.kind, primary.verdict.decided) == (STUDY["verdict"]["kind"], STUDY["verdict"]["decided"])
    assert findings.deviations == ()
    assert len(findings.tried) == 4, "the trials of the search"


def assert_equal(found: str, recorded: str) -> None:
    """Compare a run's numbers bit by bit; its configuration may contain options that were added later."""
    ours, theirs = (_values(text) for text in (found, recorded))
    assert lost(json.loads(theirs.pop("config")), json.loads(ours.pop("config"))) == []
    assert ours == theirs


def assert_near(found: str, recorded: str) -> None:
    """Compare the numbers of a run computed on a different machine: the exact values, and the first epoch's loss."""
    ours, theirs = (_values(text) for text in (found, recorded))
    assert lost(json.loads(theirs["config"]), json.loads(ours["config"])) == []
    for name in ("status", "data_fingerprint", "train_images"):
        assert ours[name] == theirs[name]
    np.testing.assert_allclose(ours["epochs.train_loss"][0], theirs["epochs.train_loss"][0], rtol=0.1)


def _values(text: str) -> Any:
    return ast.literal_eval(text)


def content_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
