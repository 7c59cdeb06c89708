from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ablations.store import ResultStore, files
from aimlib.errors import StoreError
from aimlib.records import MODELS, SCHEMA_VERSION, TEST_IMAGES, Column, predictions_from, to_table

from .sample import identity, make_record, rows_in

HOSTILE = [
    "../x",
    "",
    "0" * 19,
    "0" * 21,
    "A" * 20,
    "0" * 20 + "\n",
    "<b>00000000000000000",
    "/etc/passwd",
    None,
]


def row_of(columns: tuple[Column, ...]) -> dict[str, object]:
    values = {"text": "t", "integer": 1, "number": 0.5, "boolean": True}
    return {column.name: values[column.type] for column in columns}


def test_a_committed_row_equals_the_record(store: ResultStore) -> None:
    record = make_record(identity(1))
    assert store.commit(record)
    row = pq.read_table(store.directory / "runs" / f"{identity(1)}.parquet")
    assert row.equals(to_table(record))
    values = row.to_pylist()[0]
    predictions = predictions_from(values["predictions"], values["predictions.bits"], values["predictions.epochs"])
    np.testing.assert_array_equal(predictions, record.predictions)


@pytest.mark.parametrize("status", ["finished", "diverged", "pruned"])
def test_the_first_row_is_kept(store: ResultStore, status: str) -> None:
    assert store.commit(make_record(identity(1), status=status, host="first"))
    assert not store.commit(make_record(identity(1), host="second"))
    assert store.compact(at_least=1) == 1
    assert not store.commit(make_record(identity(1), host="third"))
    assert rows_in(store.directory) == {identity(1): "first"}
    assert store.settled() == {identity(1)}
    assert store.is_settled(identity(1))
    assert not store.is_settled(identity(2))


def test_rows_are_stored_according_to_their_status(store: ResultStore) -> None:
    with pytest.raises(ValueError, match="'failed' is not settled; must be one of finished, diverged, pruned"):
        store.commit(make_record(identity(1), status="failed"))
    with pytest.raises(ValueError, match="'finished' is not a failure"):
        store.record_failure(make_record(identity(1)))


def test_incomplete_records_are_refused(store: ResultStore) -> None:
    record = make_record(identity(1))
    del record.run["device"]
    with pytest.raises(ValueError, match="missing columns \\['device'\\]"):
        store.commit(record)
    assert store.settled() == set()


def test_failures_are_numbered_and_do_not_settle_a_run(store: ResultStore) -> None:
    failed = make_record(identity(1), status="failed")
    paths = [store.record_failure(failed) for _ in range(3)]
    assert [path.name for path in paths] == [f"{identity(1)}.{number:03d}.parquet" for number in range(3)]
    assert store.record_failure(make_record(identity(2), status="failed")).name.endswith(".000.parquet")
    assert store.failures() == {identity(1): 3, identity(2): 1}
    assert store.settled() == set()
    assert store.commit(make_record(identity(1)))
    paths[0].unlink()
    assert store.record_failure(failed).name.endswith(".003.parquet"), "no number is used twice"


def test_a_failure_number_that_was_taken_meanwhile_is_skipped(store: ResultStore, monkeypatch) -> None:
    failed = make_record(identity(1), status="failed")
    store.record_failure(failed)
    monkeypatch.setattr(ResultStore, "_failure_names", lambda self: [])
    assert store.record_failure(failed).name.endswith(".001.parquet")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_run_ids_never_become_paths(store: ResultStore, hostile: str) -> None:
    before = sorted(store.directory.parent.rglob("*"))
    record = make_record(identity(1))
    record.run["run_id"] = hostile
    for act in (
        store.lock_run,
        store.holder,
        store.checkpoint_directory,
        store.discard_checkpoint,
        store.is_settled,
    ):
        with pytest.raises(StoreError, match="must be 20 hexadecimal digits"):
            act(hostile)
    for write in (store.commit, store.record_failure):
        with pytest.raises(StoreError, match="must be 20 hexadecimal digits"):
            write(record)
    with pytest.raises(StoreError, match=r"data fingerprint .* must be 20 hexadecimal digits"):
        store.write_images(hostile, [])
    assert sorted(store.directory.parent.rglob("*")) == before


def test_other_files_are_not_mistaken_for_runs(store: ResultStore) -> None:
    for name in ("notes.txt", f"{identity(1)} (copy).parquet", f".{identity(1)}.parquet", "x.parquet"):
        (store.directory / "runs" / name).write_text("mine")
    assert store.settled() == set()
    assert store.compact(at_least=1) == 0
    assert store.clean() == []


def test_the_plan_and_its_history_are_stored(store: ResultStore) -> None:
    assert store.read_plan() is None
    first, second = {"arms": ["b", "a"], "name": "größe"}, {"arms": [], "name": "<b>"}
    for plan in (first, second, first, dict(reversed(first.items()))):
        store.write_plan(plan)
        assert store.read_plan() == plan
    kept = [json.loads(path.read_text()) for path in sorted((store.directory / "plans").iterdir())]
    assert [document.pop("checksum") != "" for document in kept] == [True, True]
    assert kept == [{"schema_version": SCHEMA_VERSION, **plan} for plan in (first, second)]
    with pytest.raises(ValueError, match="belongs to the store"):
        store.write_plan({"schema_version": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        store.write_plan({"budget": float("nan")})
    assert store.read_plan() == first


def test_a_changed_plan_is_found_and_a_plan_without_a_checksum_is_read(store: ResultStore) -> None:
    """A plan from an early version has no checksum, and is kept only once, even if this version writes it again."""
    store.write_plan({"arms": [], "delta_pp": 1.0})
    path = store.directory / "study.json"
    text = path.read_text()
    path.write_text(text.replace("1.0", "4.0"))
    with pytest.raises(StoreError, match=r"study\.json: is damaged: its checksum .* restore the newest of plans"):
        store.read_plan()
    earlier = {key: value for key, value in json.loads(text).items() if key != "checksum"}
    for file in (path, store.directory / "plans" / "000.json"):
        file.write_text(json.dumps(earlier))
    assert store.read_plan() == {"arms": [], "delta_pp": 1.0}
    store.write_plan({"arms": [], "delta_pp": 1.0})
    assert len(list((store.directory / "plans").iterdir())) == 1
    assert "checksum" in json.loads(path.read_text())


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00"])
def test_a_broken_plan_is_reported_with_its_cause(store: ResultStore, text: str) -> None:
    store.write_plan({"arms": []})
    (store.directory / "study.json").write_text(text)
    with pytest.raises(StoreError, match=r"study\.json: .*restore"):
        store.read_plan()


def test_models_are_replaced_but_images_are_not(store: ResultStore) -> None:
    store.write_models([row_of(MODELS)])
    store.write_models([row_of(MODELS) | {"arm": "second"}, row_of(MODELS)])
    assert pq.read_table(store.directory / "models.parquet").column("arm").to_pylist() == ["second", "t"]
    with pytest.raises(ValueError, match="row 0: missing columns \\['arm'\\], unknown columns \\['arms'\\]"):
        store.write_models([{("arms" if k == "arm" else k): v for k, v in row_of(MODELS).items()}])
    store.write_images(identity(1), [row_of(TEST_IMAGES)])
    path = store.directory / "images" / f"{identity(1)}.parquet"
    before = path.stat().st_mtime_ns
    store.write_images(identity(1), [row_of(TEST_IMAGES)] * 2)
    assert path.stat().st_mtime_ns == before
    assert pq.read_table(path).num_rows == 1


def test_checkpoints_are_stored_and_removed(store: ResultStore) -> None:
    folder = store.checkpoint_directory(identity(1))
    (folder / "last.pt").write_bytes(b"state")
    assert store.checkpoint_directory(identity(1)) == folder
    assert (folder / "last.pt").exists()
    store.discard_checkpoint(identity(1))
    assert not folder.exists()
    store.discard_checkpoint(identity(1))


def test_a_file_is_refused_as_a_directory(tmp_path: Path) -> None:
    (tmp_path / "study").write_text("")
    with pytest.raises(StoreError, match="is a file; choose a directory"):
        ResultStore(tmp_path / "study")
    with pytest.raises(StoreError, match="cannot be created"):
        ResultStore(tmp_path / "study" / "below")


def rewrite(path: Path, version: bytes | None) -> None:
    metadata = {} if version is None else {"schema_version": version}
    pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)


@pytest.mark.parametrize("where", ["runs", "segments", "study.json"])
@pytest.mark.parametrize(
    ("version", "message"),
    [
        (b"99", "schema version 99, newer than .*update aim-ablations"),
        (b"0", "schema version 0 is not"),
        (None, "schema version None is not"),
    ],
)
def test_other_schema_versions_are_refused(store: ResultStore, where: str, version: bytes | None, message: str) -> None:
    store.commit(make_record(identity(1)))
    if where == "study.json":
        plan = {} if version is None else {"schema_version": int(version)}
        (store.directory / where).write_text(json.dumps(plan))
    else:
        store.compact(at_least=1 if where == "segments" else 2)
        rewrite(next((store.directory / where).glob("*.parquet")), version)
    with pytest.raises(StoreError, match=message):
        ResultStore(store.directory)


@pytest.mark.parametrize("length", [0, 3, 500, -1])
def test_a_truncated_run_file_is_reported_by_name(store: ResultStore, length: int) -> None:
    for number in range(3):
        store.commit(make_record(identity(number)))
    path = store.directory / "runs" / f"{identity(1)}.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:length])
    with pytest.raises(StoreError, match=f"{path}: cannot be read as Parquet.*delete it to have that run"):
        store.compact(at_least=1)
    assert len(store.settled()) == 3
    assert list((store.directory / "segments").iterdir()) == []
    path.unlink()
    assert store.settled() == {identity(0), identity(2)}
    assert store.compact(at_least=1) == 2


def test_a_renamed_run_file_is_refused(store: ResultStore) -> None:
    store.commit(make_record(identity(1)))
    path = store.directory / "runs" / f"{identity(1)}.parquet"
    path.rename(path.with_name(f"{identity(2)}.parquet"))
    with pytest.raises(StoreError, match="contains a different run from the one in its name"):
        store.compact(at_least=1)


def test_a_broken_segment_is_reported_by_name(store: ResultStore) -> None:
    store.commit(make_record(identity(1)))
    store.compact(at_least=1)
    path = next((store.directory / "segments").iterdir())
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StoreError, match=r"segments.*cannot be read as Parquet"):
        ResultStore(store.directory)


def test_compaction_keeps_columns_of_other_versions(store: ResultStore) -> None:
    for number in range(3):
        store.commit(make_record(identity(number)))
    path = store.directory / "runs" / f"{identity(1)}.parquet"
    pq.write_table(pq.read_table(path).append_column("energy", pa.array([1.5])), path)
    older = store.directory / "runs" / f"{identity(2)}.parquet"
    pq.write_table(pq.read_table(older).drop_columns(["reason"]), older)
    assert store.compact(at_least=1) == 3
    rows = pq.read_table(store.directory / "segments").to_pylist()
    assert {row["run_id"]: row["energy"] for row in rows} == {
        identity(0): None,
        identity(1): 1.5,
        identity(2): None,
    }


def test_columns_of_a_different_type_are_refused(store: ResultStore) -> None:
    store.commit(make_record(identity(1)))
    path = store.directory / "runs" / f"{identity(1)}.parquet"
    table = pq.read_table(path)
    place = table.schema.get_field_index("seed")
    pq.write_table(table.set_column(place, "seed", pa.array(["seven"])), path)
    with pytest.raises(StoreError, match="columns have different types"):
        store.compact(at_least=1)


def test_compaction_does_not_change_a_small_number_of_files(store: ResultStore) -> None:
    for number in range(3):
        store.commit(make_record(identity(number)))
    assert store.compact(at_least=4) == 0
    assert store.compact() == 0
    assert store.compact(at_least=3) == 3
    assert store.compact(at_least=0) == 0
    assert store.settled() == {identity(number) for number in range(3)}


def test_row_groups_are_bounded(store: ResultStore, monkeypatch) -> None:
    from ablations.store import parquet_files

    monkeypatch.setattr(parquet_files, "_ROW_GROUP_BYTES", 5000)
    for number in range(6):
        store.commit(make_record(identity(number), images=1000))
    store.compact(at_least=1)
    file = pq.ParquetFile(next((store.directory / "segments").iterdir()))
    assert file.num_row_groups == 3
    assert len(rows_in(store.directory)) == 6


def test_reading_ten_thousand_ids_is_fast(store: ResultStore, monkeypatch) -> None:
    ids = {identity(number) for number in range(10_000)}
    template = make_record(identity(0), epochs=1, images=4)
    source = store.directory / "template"
    pq.write_table(to_table(template), source)
    for run_id in ids:
        (store.directory / "runs" / f"{run_id}.parquet").hardlink_to(source)
    begin = time.process_time()
    assert store.settled() == ids
    assert time.process_time() - begin < 1.0
    for path in (store.directory / "runs").iterdir():
        path.unlink()
    row = to_table(template)
    place = row.schema.get_field_index("run_id")
    listed = sorted(ids)
    for number in range(40):
        part = pa.array(listed[number::40])
        table = pa.concat_tables([row] * len(part)).set_column(place, "run_id", part)
        pq.write_table(
            table.replace_schema_metadata(row.schema.metadata),
            store.directory / "segments" / f"{identity(number)}.parquet",
        )
    fresh = ResultStore(store.directory)
    begin = time.process_time()
    assert fresh.settled() == ids
    assert time.process_time() - begin < 1.0
    begin = time.process_time()
    assert all(fresh.is_settled(run_id) for run_id in listed[:100])
    assert time.process_time() - begin < 1.0


def test_a_store_can_be_sent_to_a_worker(store: ResultStore) -> None:
    store.commit(make_record(identity(1)))
    store.compact(at_least=1)
    there = pickle.loads(pickle.dumps(store))
    assert there.settled() == {identity(1)}
    assert there.commit(make_record(identity(2)))
    assert store.settled() == {identity(1), identity(2)}


def test_relative_directories_survive_a_change_of_the_working_directory(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = ResultStore(Path("study"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert store.commit(make_record(identity(1)))
    assert (tmp_path / "study" / "runs" / f"{identity(1)}.parquet").exists()


def test_commits_are_on_disk_before_they_are_visible(store: ResultStore, monkeypatch) -> None:
    done: list[tuple[str, bool]] = []
    target = store.directory / "runs" / f"{identity(1)}.parquet"
    monkeypatch.setattr(files, "synchronise", lambda path: done.append((path.suffix or path.name, target.exists())))
    store.commit(make_record(identity(1)))
    assert done == [(".tmp", False), ("runs", True)]


def test_the_store_imports_neither_torch_nor_ray() -> None:
    code = "import sys, ablations.store, ablations.execution.provenance; print({'torch', 'ray'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_a_clock_that_jumps_does_not_make_a_writer_look_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / f".{'0' * 32}.{files.host_name()}.{os.getpid()}.tmp"
    fresh, old = (tmp_path / f".{digit * 32}.elsewhere-00000000.1.tmp" for digit in "12")
    for path in (mine, fresh, old):
        path.write_bytes(b"")
    two_days = 2 * 24 * 3600
    os.utime(old, (old.stat().st_atime - two_days,) * 2)
    os.utime(mine, (mine.stat().st_atime - two_days,) * 2)
    monkeypatch.setattr(time, "time", lambda: old.stat().st_mtime + 4 * two_days)
    assert files.abandoned(tmp_path) == [old]
    assert sorted(tmp_path.iterdir()) == sorted([mine, fresh, old]), "the check does not leave files behind"
