"""`ResultStore`: one directory per study, written by any number of processes, readable at any moment.

Layout and columns are those of `aimlib.records`. Beside them the directory holds ``plans/<nnn>.json``, every
plan the study ever had; ``locks``; ``checkpoints/<run_id>``, where an unfinished run keeps its state; and ``live``,
what sessions tell each other.
"""

from __future__ import annotations

import re
import shutil
import uuid
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from ablations.store import claims, files, plans, sessions, tables
from ablations.store.local import LocalFolder
from ablations.store.segments import SettledRuns
from aimlib.errors import StoreError
from aimlib.records import (
    ANALYSIS_PLAN,
    CHECKPOINTS,
    FAILURES,
    IMAGES,
    LOCKS,
    MODELS,
    MODELS_FILE,
    PLANS,
    RUNS,
    SEGMENTS,
    SETTLED,
    TEST_IMAGES,
    RunRecord,
    to_table,
    write_table,
)

_WRITTEN = (RUNS, FAILURES, SEGMENTS, IMAGES, PLANS, sessions.LIVE)
MARK_FILE = "mark"
_IDENTITY = re.compile(r"[0-9a-f]{20}")
_FAILURE_FILE = re.compile(r"([0-9a-f]{20})\.([0-9]{3,})\.parquet")


class ResultStore:
    """The results of one study.

    Parameters
    ----------
    directory : the study directory; created where missing.

    Raises
    ------
    StoreError: it is a file or cannot be written, the file system has no hard links or locks, or a newer
        version wrote it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory).resolve()
        if self.directory.exists() and not self.directory.is_dir():
            raise StoreError(f"{self.directory}: is a file; give a directory for the study's results")
        with files.explained(self.directory, "created"):
            for name in (*_WRITTEN, LOCKS, CHECKPOINTS):
                (self.directory / name).mkdir(parents=True, exist_ok=True)
                if (self.directory / name).is_symlink():
                    raise StoreError(
                        f"{self.directory / name}: is a link to another folder, and files would be written and removed "
                        f"there; put a folder in its place (the study directory itself may be a link)"
                    )
        self._folder = LocalFolder(self.directory)
        self._settled = SettledRuns(self.directory)
        self._check()

    @property
    def location(self) -> str:
        """Where the study is kept, for messages and for workers: an absolute path."""
        return self._folder.location

    def room(self) -> int | None:
        """Return the bytes that are free where the study is kept; None where the storage knows no limit."""
        return self._folder.room()

    def mark(self) -> str:
        """Return the random text that marks this very directory, made when it is first asked for.

        A worker compares it, because on a machine that does not share the directory the same path is another one.
        """
        path = self.directory / MARK_FILE
        if not path.exists():
            files.create(path, lambda temporary: _write_text(temporary, uuid.uuid4().hex))
        return read_mark(self.directory)

    def commit(self, record: RunRecord) -> bool:
        """Write the row of a settled run; return True if this row is the one that is kept.

        The first writer wins: where the run has a row already, nothing changes. On return the row is on disk.

        Raises
        ------
        ValueError: the record is incomplete, or its run failed (see `record_failure`).
        StoreError: the file system refuses, for instance because it is full; nothing is visible then.
        """
        run_id, status = _checked(record.trial["run_id"]), record.trial["status"]
        if status not in SETTLED:
            raise ValueError(f"run {run_id}: status {status!r} is not settled; one of {', '.join(SETTLED)}")
        table = to_table(record)
        if run_id in self._settled:
            return False
        path = self._settled.path(run_id)
        with (
            files.staged(path, lambda temporary: write_table(table, temporary)) as temporary,
            self._settled.commit_section(),
        ):
            return not self._settled.compacted(run_id) and files.publish(temporary, path)

    def record_failure(self, record: RunRecord) -> Path:
        """Write one failed attempt under the next free number, from 000; return its file.

        Raises
        ------
        ValueError: the record is incomplete, or its run did not fail.
        StoreError: the file system refuses.
        """
        run_id, status = _checked(record.trial["run_id"]), record.trial["status"]
        if status != "failed":
            raise ValueError(f"run {run_id}: status {status!r} is no failure; commit it")
        table = to_table(record)
        taken = [int(match[2]) for match in self._failure_names() if match[1] == run_id]
        number = max(taken, default=-1) + 1
        folder = self.directory / FAILURES
        with files.staged(folder / run_id, lambda temporary: write_table(table, temporary)) as temporary:
            while not files.publish(temporary, path := folder / f"{run_id}.{number:03d}.parquet"):
                number += 1
        return path

    def settled(self) -> set[str]:
        """Return the ids of runs that are never repeated: finished, diverged and pruned ones."""
        return self._settled.ids()

    def is_settled(self, run_id: str) -> bool:
        """Tell whether a run is settled; ask again after claiming it, another process may have settled it."""
        return _checked(run_id) in self._settled

    def failures(self) -> dict[str, int]:
        """Return the number of failed attempts of every run that has any."""
        return dict(Counter(match[1] for match in self._failure_names()))

    def claim(self, run_id: str) -> claims.Claim | None:
        """Claim a run for this process; None while another claim on it is alive, here or in any process.

        The claim ends with `Claim.release`, a `with` block, or the death of this process.
        """
        return claims.claim(run_id, self._lock(run_id))

    def holder(self, run_id: str) -> str | None:
        """Return host, process and start of the claim on a run, for people; None where nobody holds it."""
        return claims.holder(self._lock(run_id))

    def checkpoint_directory(self, run_id: str) -> Path:
        """Return the directory for a run's checkpoints, created where missing; for the claim's holder."""
        path = self.directory / CHECKPOINTS / _checked(run_id)
        with files.explained(path, "created"):
            path.mkdir(parents=True, exist_ok=True)
        return path

    def discard_checkpoint(self, run_id: str) -> None:
        """Remove a run's checkpoints, if there are any."""
        path = self.directory / CHECKPOINTS / _checked(run_id)
        with files.explained(path, "removed"), suppress(FileNotFoundError):
            shutil.rmtree(path)

    def write_plan(self, plan: dict[str, Any]) -> None:
        """Write ``study.json``, and keep every different plan as ``plans/<nnn>.json``.

        Parameters
        ----------
        plan : plain JSON values; the store adds the key `schema_version` to the file.

        Raises
        ------
        ValueError: the plan holds NaN, or a `schema_version` of its own.
        """
        plans.write(self.directory, plan)

    def read_plan(self) -> dict[str, Any] | None:
        """Return the plan as it was given to `write_plan`; None where there is none.

        Raises
        ------
        StoreError: the file is broken, or of a version that this package does not know.
        """
        return plans.read(self.directory)

    def has_analysis_plan(self) -> bool:
        """Tell whether the analysis of this study is frozen."""
        return (self.directory / ANALYSIS_PLAN).exists()

    def freeze_analysis_plan(self, content: dict[str, Any]) -> str:
        """Write ``analysis_plan.json`` unless it is there; return the SHA-256 of the one that is there then.

        How many runs were settled by then is written with it: a plan that came after them is none.
        """
        return plans.freeze(self.directory, content, len(self.settled()))

    def write_models(self, rows: list[dict[str, Any]]) -> None:
        """Write or replace ``models.parquet``: one row per arm, with the columns `MODELS`."""
        files.replace(self.directory / MODELS_FILE, lambda path: tables.write_rows(rows, MODELS, path))

    def write_images(self, fingerprint: str, rows: list[dict[str, Any]]) -> None:
        """Write ``images/<fingerprint>.parquet``, with the columns `TEST_IMAGES`, unless it is there.

        Parameters
        ----------
        fingerprint : the data fingerprint, 20 hexadecimal digits.
        rows : one per test image.
        """
        path = self.directory / IMAGES / f"{_checked(fingerprint, 'data fingerprint')}.parquet"
        if not path.exists():
            files.create(path, lambda temporary: tables.write_rows(rows, TEST_IMAGES, temporary))

    def request_stop(self, session: str) -> None:
        """Ask a session to stop, from any machine.

        Parameters
        ----------
        session : its name, 12 hexadecimal digits; so for all methods about sessions.
        """
        sessions.request_stop(self._folder, session)

    def stop_requested(self, session: str) -> bool:
        """Tell whether somebody asked the session to stop; cheap enough to ask every few seconds."""
        return sessions.stop_requested(self._folder, session)

    def forget_stop(self, session: str) -> None:
        """Remove the request to stop, if there is one."""
        sessions.forget_stop(self._folder, session)

    def write_live(self, session: str, document: dict[str, Any]) -> None:
        """Say what the session is doing, in place of what it said before; once a day at least, or it counts as dead.

        Parameters
        ----------
        document : plain JSON values; the store adds the key `session`.

        Raises
        ------
        ValueError: the document holds NaN.
        """
        sessions.write_live(self._folder, session, document)

    def live(self) -> list[dict[str, Any]]:
        """Return what every session said last, each with its name as `session`, in the order of names."""
        return sessions.live(self._folder)

    def forget_live(self, session: str) -> None:
        """Remove what the session said, if it said anything."""
        sessions.forget_live(self._folder, session)

    def compact(self, at_least: int = 256) -> int:
        """Move run files into a segment where there are `at_least` that many; return how many files are gone.

        Safe at any time beside readers, writers and other compactions, and when killed: for a while a row may
        be in both places, and then the segment's counts.

        Raises
        ------
        StoreError: a run file is broken; its name and the remedy are in the message.
        """
        return self._settled.compact(at_least)

    def clean(self) -> list[Path]:
        """Remove what killed writers left: temporary files, which are returned, and checkpoints of settled runs.

        Files of living writers stay. What sessions left that have been silent for a day goes, too.
        """
        sessions.clean(self._folder)
        folders = [self.directory, *(self.directory / name for name in _WRITTEN)]
        leftover = [path for folder in folders for path in files.abandoned(folder)]
        for path in leftover:
            files.remove(path)
        kept = files.names(self.directory / CHECKPOINTS, _IDENTITY)
        for run_id in self.settled().intersection(kept) if kept else ():
            self.discard_checkpoint(run_id)
        return leftover

    def _check(self) -> None:
        """Refuse a directory that cannot be written or that holds what this package does not know."""
        files.check_usable(self.directory)
        with self._settled.commit_section():
            plans.read(self.directory)
        self._settled.check()

    def _lock(self, run_id: str) -> Path:
        return self.directory / LOCKS / f"{_checked(run_id)}.lock"

    def _failure_names(self) -> list[re.Match[str]]:
        listed = files.names(self.directory / FAILURES, _FAILURE_FILE)
        return [match for name in listed if (match := _FAILURE_FILE.fullmatch(name))]


def read_mark(directory: Path) -> str:
    """Return the mark of a study directory; empty where it has none, or does not exist. Creates nothing."""
    try:
        return (directory / MARK_FILE).read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return ""


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="ascii")


def _checked(identity: object, what: str = "run id") -> str:
    """Return the identity; raise StoreError where it is not what may become a file name."""
    if not isinstance(identity, str) or not _IDENTITY.fullmatch(identity):
        raise StoreError(f"{what} {identity!r}: must be 20 hexadecimal digits in lower case")
    return identity
