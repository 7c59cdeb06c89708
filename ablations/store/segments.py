"""Settled runs: at first one file per run, later compacted into segments.

A row moves in three steps. First, the segment is written to disk. Then, every commit that may not have seen the segment
must either end or check again (see `Folder.settle`). Finally, the run file is removed. If a compaction is killed at any
time, each row is in one place or in both, and the next compaction continues. Only one compaction runs at a time: it
locks the name ``compaction``, and does not write a segment if it has lost that lock. If a segment is nevertheless
written late, its rows are identical to rows in another segment.

An NFS client may see a new segment late, by up to its directory cache time (`acdirmax`, 60 s by default). If that
client commits the same run within this time, the commit may report a second row as kept. Readers ignore this second
row, because the row in the segment counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from ablations.store import parquet_files
from ablations.store.files import Write
from ablations.store.folder import Folder
from ablations.store.run_locks import RunLock
from aimlib.errors import StoreError
from aimlib.paths import Place
from aimlib.records import FILE_NAMES, RUNS, SEGMENTS

_RUN_FILE = FILE_NAMES[RUNS]


class SettledRuns:
    """The files of settled runs in a study's folder.

    Parameters
    ----------
    folder : folder of the study.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._ids: dict[str, frozenset[str]] = {}

    def ids(self) -> set[str]:
        """Return the ids of all settled runs."""
        # Run files are listed first, because a compacted row is in a segment before its file is removed.
        return self._in_files() | self._in_segments()

    def __contains__(self, run_id: str) -> bool:
        return self._folder.exists(_name(run_id)) or self._segment_of(run_id) is not None

    def add(self, run_id: str, row: pa.Table, write: Write, *, again: bool = False) -> bool:
        """Settle a run with the row that `write` writes; return whether this row counts.

        Parameters
        ----------
        again : whether this call repeats a failed call, which may nevertheless have written the row.
        """
        if run_id in self:
            return again and self._counts(run_id, row)

        def kept() -> bool | None:
            segment = self._segment_of(run_id)
            return None if segment is None else parquet_files.holds(self._place(segment), row)

        return self._folder.settle(_name(run_id), write, kept)

    def _counts(self, run_id: str, row: pa.Table) -> bool:
        """Return whether this row is the stored row of a settled run."""
        segment = self._segment_of(run_id)
        return parquet_files.holds(self._folder.root / _name(run_id) if segment is None else self._place(segment), row)

    def _segment_of(self, run_id: str) -> str | None:
        """Return the name of a segment that contains the run, or None."""
        return next((name for name, ids in self._each_segment() if run_id in ids), None)

    def check(self) -> None:
        """Raise StoreError if segments or run files have a version that this package does not know.

        Only one run file is opened, because different versions do not write a study at the same time.
        """
        for folder, limit in ((SEGMENTS, None), (RUNS, 1)):
            for name in self._folder.names(folder, _RUN_FILE)[:limit]:
                try:
                    parquet_files.check_file(self._folder.root / folder / name)
                except StoreError:
                    if self._folder.exists(f"{folder}/{name}"):  # and was not compacted in the meantime
                        raise

    def compact(self, at_least: int) -> int:
        """Move run files to a segment; return the number of removed run files.

        Parameters
        ----------
        at_least : minimum number of run files; with fewer files, no new segment is written.

        Raises
        ------
        StoreError: a run file or segment is broken, or the storage reports an error.
        """
        lock = self._folder.lock("compaction")
        if lock is None:
            return 0
        with lock:
            fresh = sorted(self._in_files() - self._in_segments())
            if len(fresh) >= max(at_least, 1):
                try:
                    self._write_segment(fresh, lock)
                except StoreError:
                    if (
                        lock.lost
                    ):  # another compaction is running, and has removed files that this compaction would read
                        return 0
                    raise
            moved = self._in_files() & self._in_segments()
            self._verify_segments_of(moved)
            return self._remove(moved) if moved else 0

    def _write_segment(self, run_ids: list[str], lock: RunLock) -> None:
        digest = hashlib.sha256("\n".join(run_ids).encode()).hexdigest()[:20]
        places = [self._folder.root / _name(run_id) for run_id in run_ids]

        def write(path: Path) -> None:
            parquet_files.write_segment(places, path)
            parquet_files.verify(path)
            lock.confirm()  # after all run files were read: the segment contains exactly their rows

        self._folder.create_first([f"{SEGMENTS}/{digest}.parquet"], write)

    def _verify_segments_of(self, moved: set[str]) -> None:
        """Read every segment with any of these runs completely, because the run files may be the only intact copies."""
        for name, ids in self._each_segment():
            if not moved.isdisjoint(ids):
                parquet_files.verify(self._place(name))

    def _remove(self, moved: set[str]) -> int:
        """Remove run files whose rows are in a segment, once every commit that may not have seen the segment has ended.

        If a commit does not end in time, rows stay in both places and the next compaction removes them.
        """
        if not self._folder.settling_ended():
            return 0
        for run_id in moved:
            self._folder.remove(_name(run_id))
            self._folder.forget_lock(run_id)
        return len(moved)

    def _in_files(self) -> set[str]:
        return {name.removesuffix(".parquet") for name in self._folder.names(RUNS, _RUN_FILE)}

    def _in_segments(self) -> set[str]:
        return set().union(*(ids for _, ids in self._each_segment()))

    def _each_segment(self) -> Iterator[tuple[str, frozenset[str]]]:
        for name in self._folder.names(SEGMENTS, _RUN_FILE):
            if name not in self._ids:  # a segment never changes
                self._ids[name] = parquet_files.run_ids(self._place(name))
            yield name, self._ids[name]

    def _place(self, segment: str) -> Place:
        return self._folder.root / SEGMENTS / segment


def _name(run_id: str) -> str:
    """Return the path of a run's file."""
    return f"{RUNS}/{run_id}.parquet"
