"""Simultaneous commits and compactions on each kind of object storage, where no lock separates them."""

from __future__ import annotations

import gc
import os
import tempfile
from pathlib import Path

import pytest

from ablations.store import ResultStore, Terms, checkpoints, leases, parquet_files
from aimlib import object_store
from aimlib.errors import StoreError
from aimlib.paths import ObjectPath, place
from analysis.reading import files as reading

from .sample import files_in, identity, make_record, rows_in

RUN = identity(1)


@pytest.fixture
def remote(any_remote: str) -> str:
    """Return a folder in each kind of object storage."""
    return any_remote


def between(monkeypatch, request: str, act: object, *, before: bool) -> None:
    """Call a function once, just before or after this process puts a run file."""
    put = object_store.put

    def disturbed(address: object_store.Address, content: bytes, **condition: object) -> str | None:
        if f"/{request}/" not in str(address):
            return put(address, content, **condition)
        monkeypatch.setattr(object_store, "put", put)
        if before:
            act()
        tag = put(address, content, **condition)
        if not before:
            act()
        return tag

    monkeypatch.setattr(object_store, "put", disturbed)


def test_a_late_commit_loses_to_a_row_that_was_compacted_meanwhile(remote: str, monkeypatch) -> None:
    store, late = ResultStore(remote), ResultStore(remote)

    def first_and_compacted() -> None:
        assert store.commit(make_record(RUN, host="first"))
        assert store.compact(at_least=1) == 1

    between(monkeypatch, "runs", first_and_compacted, before=True)
    assert not late.commit(make_record(RUN, host="late"))
    assert store.settled() == {RUN}
    assert not store.commit(make_record(RUN, host="third"))
    assert store.compact(at_least=1) == 1, "the late row, which does not count, is removed"
    assert files_in(remote, "runs") == []
    assert rows_in(remote) == {RUN: "first"}


def test_a_row_that_is_compacted_immediately_is_kept(remote: str, monkeypatch) -> None:
    store, other = ResultStore(remote), ResultStore(remote)
    between(monkeypatch, "runs", lambda: other.compact(at_least=1), before=False)
    assert store.commit(make_record(RUN, host="first"))
    assert files_in(remote, "runs") == []
    assert rows_in(remote) == {RUN: "first"}


def test_a_reader_during_a_late_commit_reads_the_row_that_counts(remote: str, monkeypatch, tmp_path: Path) -> None:
    """After the reader has listed the run file, a compaction removes it and a late commit recreates it."""
    elsewhere = ResultStore(tmp_path / "elsewhere")
    elsewhere.commit(make_record(RUN, host="late"))
    late = (tmp_path / "elsewhere" / "runs" / f"{RUN}.parquet").read_bytes()
    store = ResultStore(remote)
    store.commit(make_record(RUN, host="first"))
    listed = reading.listed

    def listed_early(directory: ObjectPath) -> list[ObjectPath]:
        found = listed(directory)
        if directory.name == "segments":
            monkeypatch.setattr(reading, "listed", listed)
            assert store.compact(at_least=1) == 1
            assert object_store.put(place(remote) / "runs" / f"{RUN}.parquet", late, create=True)
        return found

    monkeypatch.setattr(reading, "listed", listed_early)
    assert reading.read_settled(place(remote), ["run_id", "host"]).to_pylist() == [{"run_id": RUN, "host": "first"}]


def test_two_compactions_exclude_each_other(remote: str) -> None:
    store = ResultStore(remote)
    store.commit(make_record(RUN))
    with store._folder.lock("compaction"):
        assert ResultStore(remote).compact(at_least=1) == 0
    assert store.compact(at_least=1) == 1


def test_a_compaction_that_hung_does_not_write_a_segment(remote: str, monkeypatch) -> None:
    """A compaction is suspended after reading the run files, and another process compacts them.

    The first compaction must not write a segment when it continues.
    """
    monkeypatch.setattr(leases.Lease, "_keep", lambda lease: None)
    now = [0.0]
    terms = Terms(60.0, lambda: now[0], lambda seconds: now.__setitem__(0, now[0] + seconds))
    head = object_store.head
    monkeypatch.setattr(
        object_store, "head", lambda a: (found := head(a)) and object_store.Version(found.tag, 1e6, found.writer)
    )
    hung, other = ResultStore(remote, terms), ResultStore(remote, terms)
    hung.commit(make_record(RUN, host="first"))
    hung.commit(make_record(identity(2), host="first"))
    write = parquet_files.write_segment

    def stopped(paths: object, segment: Path) -> None:
        write(paths, segment)
        monkeypatch.setattr(parquet_files, "write_segment", write)
        other.commit(make_record(identity(3), host="first"))
        assert other.compact(at_least=1) == 3

    monkeypatch.setattr(parquet_files, "write_segment", stopped)
    assert hung.compact(at_least=1) == 0
    assert len(files_in(remote, "segments")) == 1
    assert set(rows_in(remote)) == {identity(number) for number in (1, 2, 3)}


def test_a_server_without_conditional_writes_is_refused(remote: str, monkeypatch) -> None:
    call = object_store._call

    def deaf(address: object_store.Address, request: str, **options: object) -> object:
        for condition in ("IfNoneMatch", "IfMatch"):
            options.pop(condition, None)
        return call(address, request, **options)

    monkeypatch.setattr(object_store, "_call", deaf)
    with pytest.raises(StoreError, match=r"does not honor conditional writes \(If-None-Match, If-Match\)"):
        ResultStore(remote)
    assert list(place(remote).iterdir()) == [], "the trial object is removed"


def test_opening_a_study_does_not_leave_files_behind(remote: str) -> None:
    ResultStore(remote)
    assert list(place(remote).iterdir()) == []
    with pytest.raises(StoreError, match="is not a directory on this machine"):
        _ = ResultStore(remote).directory


def test_copies_of_checkpoints_are_private_and_removed_with_their_process(
    remote: str, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = ResultStore(remote)
    folder = store.checkpoint_directory(RUN)
    assert tmp_path in folder.parents
    for path in (folder, folder.parent, folder.parent.parent):
        assert path.stat().st_mode & 0o077 == 0
    dead = folder.with_name(folder.name.replace(f".{folder.name.split('.')[2]}.", f".{2**22 + 1}."))
    dead.mkdir()
    foreign = folder.with_name(f"{RUN}.another-machine.1.{'0' * 12}")
    foreign.mkdir()
    store.clean()
    assert not dead.exists()
    assert foreign.exists()
    assert folder.exists()
    (folder / "checkpoint.pt").write_bytes(b"")
    (folder / "best.pt").write_bytes(b"")
    with pytest.raises(StoreError, match="contains 2 files, but a checkpoint is a single file"):
        store.keep_checkpoint(RUN)
    folder.parent.parent.chmod(0o755)
    with pytest.raises(StoreError, match="is not a directory that only you can access; remove it, or set TMPDIR"):
        ResultStore(remote).checkpoint_directory(RUN)


def test_copies_of_checkpoints_are_removed_with_their_store(remote_of_processes: str) -> None:
    store = ResultStore(remote_of_processes)
    folder = store.checkpoint_directory(RUN)
    other = ResultStore(remote_of_processes).checkpoint_directory(identity(2))
    gc.collect()
    assert not other.exists()
    child = os.fork()
    if child == 0:
        del store
        gc.collect()
        os._exit(0 if folder.exists() else 1)
    assert os.waitpid(child, 0)[1] == 0
    store.discard_checkpoint(RUN)
    assert not folder.parent.exists()
    del store


def test_unexpected_names_next_to_a_checkpoint_are_not_fetched(remote: str, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names = ("checkpoint.pt", ".hidden", "..", "../../escaped", "a b", "/etc/x")
    monkeypatch.setattr(
        checkpoints.object_store,
        "listing",
        lambda address: [object_store.Entry(name, 0.0, folder=False) for name in names],
    )
    monkeypatch.setattr(checkpoints.object_store, "get", lambda address: (b"state", "tag"))
    store = ResultStore(remote)
    folder = store.checkpoint_directory(RUN)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["checkpoint.pt"]
    assert (folder / "checkpoint.pt").read_bytes() == b"state"
