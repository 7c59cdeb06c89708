"""Settled runs: one file each at first, compacted into segments.

A row moves in this order: segment written and on disk; every commit that may not have seen it has ended;
run file removed. Killed at any point, a row is in one place or in both, and the next compaction carries on.

An NFS client sees a new segment late by up to its directory cache time (`acdirmax`, 60 s unless mounted
otherwise). A commit of the same run from there within that time may report a second row as kept; readers drop
it, because the segment's row counts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ablations.store import files, tables
from ablations.store.locks import locked
from aimlib.errors import StoreError
from aimlib.records import LOCKS, RUNS, SEGMENTS

_RUN_FILE = re.compile(r"[0-9a-f]{20}\.parquet")
_PATIENCE = 10.0  # seconds


class SettledRuns:
    """The files of settled runs in a study directory.

    Parameters
    ----------
    directory : the study directory; ``runs``, ``segments`` and ``locks`` exist in it.
    """

    def __init__(self, directory: Path) -> None:
        self._runs = directory / RUNS
        self._segments = directory / SEGMENTS
        self._compacting = directory / LOCKS / "compaction.lock"
        self._committing = directory / LOCKS / "commits.lock"
        self._ids: dict[str, frozenset[str]] = {}

    def path(self, run_id: str) -> Path:
        """Return where a run is committed to."""
        return self._runs / f"{run_id}.parquet"

    def ids(self) -> set[str]:
        """Return the ids of all settled runs."""
        # Run files first: a row that is compacted meanwhile is in a segment before its file goes.
        return self._in_files() | self._in_segments()

    def __contains__(self, run_id: str) -> bool:
        return self.path(run_id).exists() or self.compacted(run_id)

    def compacted(self, run_id: str) -> bool:
        """Tell whether a segment holds the run."""
        return any(run_id in ids for ids in self._each_segment())

    def check(self) -> None:
        """Raise StoreError where segments or run files are of a version that this package does not know.

        Of the run files, one is opened: a study is not written by two versions at a time.
        """
        for folder, limit in ((self._segments, None), (self._runs, 1)):
            for name in files.names(folder, _RUN_FILE)[:limit]:
                try:
                    tables.check_file(folder / name)
                except StoreError:
                    if (folder / name).exists():  # and was not compacted meanwhile
                        raise

    @contextmanager
    def commit_section(self) -> Iterator[None]:
        """While a commit is in here, no run file is removed that was compacted after it entered."""
        with locked(self._committing, shared=True, patience=_PATIENCE) as entered:
            if not entered:
                raise StoreError(
                    f"{self._committing}: locked for {_PATIENCE:.0f} s; end the process that hangs, run again"
                )
            yield

    def compact(self, at_least: int) -> int:
        """Move run files into a segment; return how many run files are gone.

        Parameters
        ----------
        at_least : with fewer run files, nothing new is written.

        Raises
        ------
        StoreError: a run file is broken, or the file system refuses.
        """
        with locked(self._compacting) as alone:
            if not alone:
                return 0
            fresh = sorted(self._in_files() - self._in_segments())
            if len(fresh) >= max(at_least, 1):
                self._write_segment(fresh)
            moved = self._in_files() & self._in_segments()
            return self._remove(moved) if moved else 0

    def _write_segment(self, run_ids: list[str]) -> None:
        digest = hashlib.sha256("\n".join(run_ids).encode()).hexdigest()[:20]
        paths = [self.path(run_id) for run_id in run_ids]
        files.create(self._segments / f"{digest}.parquet", lambda path: tables.write_segment(paths, path))

    def _remove(self, moved: set[str]) -> int:
        """Remove run files that a segment holds, after every commit that looked before the segment was there.

        Where a commit does not end in time, rows stay in both places and the next compaction removes them.
        """
        with locked(self._committing, patience=_PATIENCE) as ended:
            if not ended:
                return 0
        for run_id in moved:
            files.remove(self.path(run_id))
        return len(moved)

    def _in_files(self) -> set[str]:
        return {name.removesuffix(".parquet") for name in files.names(self._runs, _RUN_FILE)}

    def _in_segments(self) -> set[str]:
        return set().union(*self._each_segment())

    def _each_segment(self) -> Iterator[frozenset[str]]:
        for name in files.names(self._segments, _RUN_FILE):
            if name not in self._ids:  # a segment never changes
                self._ids[name] = tables.run_ids(self._segments / name)
            yield self._ids[name]
