"""Rows from versions with fewer columns can be read, compacted together with newer rows, and compared with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ablations.store import ResultStore, parquet_files
from aimlib import records
from aimlib.errors import StoreError
from aimlib.records import ADDED, RUN_COLUMNS, RUNS, SEGMENTS, run_schema, to_table, write_table
from analysis.reading.files import read_failures, read_settled

from .sample import files_in, identity, make_record, rows_in

NAMES = [*(column.name for column in RUN_COLUMNS), "scores"]


def old(table: pa.Table) -> pa.Table:
    """Return a row as written by a version without the added columns."""
    return table.drop_columns(sorted(ADDED))


def put(directory: Path, number: int, *, as_old: bool) -> str:
    """Write a settled run directly to the study's folder, as a worker of that version did."""
    run_id = identity(number)
    table = to_table(make_record(run_id))
    folder = directory / RUNS
    folder.mkdir(parents=True, exist_ok=True)
    write_table(old(table) if as_old else table, folder / f"{run_id}.parquet")
    return run_id


def test_the_added_columns_are_exactly_the_listed_columns() -> None:
    assert {*NAMES, "scores"} >= ADDED
    assert (records.OLDEST_VERSION, records.SCHEMA_VERSION) == (2, 3)


def test_old_and_new_rows_are_read_together(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    before, since = put(tmp_path, 1, as_old=True), put(tmp_path, 2, as_old=False)
    for _ in ("as files", "in a segment"):
        found = {row["run_id"]: row for row in read_settled(tmp_path, NAMES).to_pylist()}
        assert set(found) == {before, since}
        assert {name: found[before][name] for name in ADDED} == dict.fromkeys(ADDED)
        assert all(found[since][name] is not None for name in ADDED - {"identity", "scores"})
        assert found[before]["host"] == found[since]["host"] == "somewhere"
        store.compact(1)
    assert rows_in(tmp_path) == {before: "somewhere", since: "somewhere"}
    assert not files_in(tmp_path, RUNS)


def test_segments_with_only_old_rows_have_null_in_new_columns(tmp_path: Path) -> None:
    """A segment written by an old version has none of the new columns."""
    run_id = identity(1)
    (tmp_path / SEGMENTS).mkdir(parents=True)
    write_table(old(to_table(make_record(run_id))), tmp_path / SEGMENTS / f"{identity(9)}.parquet")
    (row,) = read_settled(tmp_path, NAMES).to_pylist()
    assert row["run_id"] == run_id
    assert {name: row[name] for name in ADDED} == dict.fromkeys(ADDED)


def test_an_old_version_compacts_newer_rows_and_keeps_their_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Next to a session with this code, a session with the old code keeps columns that the old code does not know."""
    store = ResultStore(tmp_path)
    before, since = put(tmp_path, 1, as_old=True), put(tmp_path, 2, as_old=False)
    known = pa.schema([field for field in run_schema() if field.name not in ADDED], metadata=run_schema().metadata)
    with monkeypatch.context() as patch:
        patch.setattr(parquet_files, "run_schema", lambda: known)
        assert store.compact(1) == 2
    found = {row["run_id"]: row for row in read_settled(tmp_path, NAMES).to_pylist()}
    assert found[before]["step"] is None
    assert found[since]["step"] == "some text"


def test_a_row_is_compared_with_a_row_in_an_old_segment(tmp_path: Path) -> None:
    """A late commit of a run that an old session settled and compacted is a different row, not damage."""
    segment = tmp_path / f"{identity(9)}.parquet"
    new = to_table(make_record(identity(1)))
    write_table(old(new), segment)
    assert parquet_files.holds(segment, old(new))
    assert not parquet_files.holds(segment, new)
    nulls = {name: pa.nulls(1, new.schema.field(name).type) for name in ADDED}
    same: Any = new
    for name, column in nulls.items():
        same = same.set_column(same.column_names.index(name), new.schema.field(name), column)
    assert parquet_files.holds(segment, same)


def test_a_failure_written_by_an_old_version_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "failures").mkdir()
    run_id = identity(1)
    write_table(old(to_table(make_record(run_id, status="failed"))), tmp_path / "failures" / f"{run_id}.000.parquet")
    (row,) = read_failures(tmp_path, NAMES, set()).to_pylist()
    assert (row["status"], row["step"]) == ("failed", None)


def test_a_missing_original_column_is_an_error(tmp_path: Path) -> None:
    run_id = put(tmp_path, 1, as_old=False)
    path = tmp_path / RUNS / f"{run_id}.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["host"]), path)
    with pytest.raises(StoreError, match="lacks the columns host"):
        read_settled(tmp_path, NAMES)
