"""A full disk is reported clearly and leaves no partial file, and the store works again when there is space."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ablations.store import ResultStore, result_store
from aimlib.errors import StoreError

from .sample import identity, make_record, rows_in, temporary_files

SmallDisk = Callable[[str], Path]


def test_a_full_disk_leaves_no_partial_file(small_disk: SmallDisk) -> None:
    disk = small_disk("1m")
    store = ResultStore(disk / "study")
    store.write_plan({"arms": ["one"]})
    store.commit(make_record(identity(0)))
    filler = disk / "filler"
    filler.write_bytes(b"0" * 200_000)
    committed = {identity(0)}

    def fill() -> None:
        for number in range(1, 1000):
            store.commit(make_record(identity(number), epochs=20, images=2000))
            committed.add(identity(number))

    with pytest.raises(StoreError, match="No space left on device; free space and run again"):
        fill()
    with pytest.raises(StoreError, match="free space"):
        store.write_plan({"arms": ["x" * 300_000]})
    with pytest.raises(StoreError, match="free space"):
        store.compact(at_least=1)
    assert temporary_files(store.directory) == []
    assert set(rows_in(store.directory)) == committed == store.settled()
    assert store.read_plan() == {"arms": ["one"]}
    filler.unlink()
    late = make_record(identity(2000))
    assert store.commit(late)
    assert set(rows_in(store.directory)) == committed | {identity(2000)}


def test_an_error_while_writing_is_reported_clearly(store: ResultStore, monkeypatch) -> None:
    def half(table: object, path: Path) -> None:
        path.write_bytes(b"PAR1 and no more")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(result_store, "write_table", half)
        with pytest.raises(StoreError, match=f"{identity(1)}.parquet: cannot be written: No space left"):
            store.commit(make_record(identity(1)))
        with pytest.raises(StoreError, match="free space"):
            store.record_failure(make_record(identity(1), status="failed"))
    assert temporary_files(store.directory) == []
    assert store.settled() == set()
    assert store.failures() == {}
    assert store.commit(make_record(identity(1)))


def test_a_read_only_file_system_is_refused_immediately(small_disk: SmallDisk) -> None:
    disk = small_disk("1m")
    ResultStore(disk / "study")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(StoreError, match="Read-only file system; choose a directory on a writable"):
        ResultStore(disk / "study")
    with pytest.raises(StoreError, match="Read-only file system"):
        ResultStore(disk / "new")
