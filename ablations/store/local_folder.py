"""A study's folder on a POSIX file system: a local disk, or NFS. See `ablations.store.folder.Folder`."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ablations.store import files, run_locks
from ablations.store.file_locks import locked
from ablations.store.files import Write
from ablations.store.run_locks import RunLock
from aimlib.errors import StoreError
from aimlib.paths import Place, make_folder, read_file, resolved
from aimlib.records import (
    CHECKPOINTS,
    CODE,
    FAILURES,
    IMAGES,
    LIVE,
    LOCKS,
    LOGS,
    NETWORKS,
    PLANS,
    REFERENCES,
    RUNS,
    SEGMENTS,
    STUDY_FILE,
)
from aimlib.records.ledger import LEDGER

_WRITTEN = (RUNS, FAILURES, SEGMENTS, IMAGES, PLANS, LIVE, LOGS, LEDGER, REFERENCES, NETWORKS, CODE)
_SAVES = f"{LOCKS}/saves"
_COMMIT_TIMEOUT_S = 10.0  # seconds


class LocalFolder:
    """A directory.

    Parameters
    ----------
    root : path of the directory.
    """

    def __init__(self, root: Path) -> None:
        self.root = resolved(root)
        self._committing = self.root / LOCKS / "commits.lock"
        self._witness: Path | None = None

    def attach(self) -> None:
        """Remember the path of the plan, which may be replaced but is never removed, for `refuse_absence`."""
        self._witness = next((path for path in (self.root / STUDY_FILE, self.root) if path.exists()), None)

    def prepare(self) -> None:
        """Create the directory; raise an error for a file, or for a file system without hard links or locks."""
        if self.root.exists() and not self.root.is_dir():
            raise StoreError(f"{self.root}: is a file; choose a directory for the study's results")
        for name in (*_WRITTEN, LOCKS, _SAVES, CHECKPOINTS):
            self._make(self.root / name)
        files.check_usable(self.root)
        with self.committing():
            pass
        self._witness = self.root / LOCKS

    def _make(self, path: Path) -> None:
        """Create one of the study's folders; raise an error if something else is in its place."""
        if path.is_symlink():
            raise StoreError(
                f"{path}: is a link to another folder, so files would be written and removed there; replace the link "
                "with a folder (the study directory itself may be a link)"
            )
        if path.exists() and not path.is_dir():
            raise StoreError(f"{path}: is a file where the study needs a folder; move it elsewhere")
        with files.explained(path, "created"):
            make_folder(path)

    def refuse_absence(self) -> None:
        """Check that the lock folder still exists; for a reader, check that the plan still exists."""
        if self._witness is not None:
            with files.explained(self._witness, "found"):
                os.stat(self._witness)  # noqa: PTH116 -- as cheap as possible, because it follows every operation

    def create_first(self, names: Iterable[str], write: Write) -> str | None:
        """Create a file exclusively: it is written under a temporary name, then linked."""
        names = iter(names)
        name = next(names)
        with files.staged(self.root / name, write) as temporary:
            while not files.publish(temporary, self.root / name):
                if (following := next(names, None)) is None:
                    return None
                name = following
        return name

    def settle(self, name: str, write: Write, kept: Callable[[], bool | None]) -> bool:
        """Create the file at a time when no compaction is removing moved files."""
        path = self.root / name
        with files.staged(path, write) as temporary, self.committing():
            return kept() is None and files.publish(temporary, path)

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Until this block ends, no run file is removed that a compaction moved to a segment after the block began."""
        with locked(self._committing, shared=True, timeout_s=_COMMIT_TIMEOUT_S) as entered:
            if not entered:
                raise StoreError(
                    f"{self._committing}: locked for {_COMMIT_TIMEOUT_S:.0f} s; end the hanging process, and run again"
                )
            yield

    def settling_ended(self) -> bool:
        """Wait until every commit that is now in `committing` has left it."""
        with locked(self._committing, timeout_s=_COMMIT_TIMEOUT_S) as ended:
            return ended

    def replace(self, name: str, write: Write) -> None:
        """Replace a file by renaming a temporary file."""
        files.replace(self.root / name, write)

    def read(self, name: str) -> bytes | None:
        """Return the content of a file."""
        path = self.root / name
        with files.explained(path, "read"):
            try:
                return read_file(path)
            except FileNotFoundError:
                return None

    def exists(self, name: str) -> bool:
        """Return whether a file exists; a dangling link counts as existing, and `read` refuses it."""
        return os.path.lexists(self.root / name)

    def names(self, folder: str, pattern: re.Pattern[str]) -> list[str]:
        """Return the matching names in a folder."""
        return files.names(self.root / folder, pattern)

    def ages(self, folder: str, pattern: re.Pattern[str]) -> dict[str, float]:
        """Return the seconds since each matching file was written, by the file system's clock if that can be read.

        This machine's clock may have jumped since the files were written.
        """
        names, found = self.names(folder, pattern), {}
        now = time.time()
        if names:
            with suppress(StoreError, OSError):  # an outage, or a read-only directory
                now = files.clock_of(self.root / folder)
        for name in names:
            with suppress(FileNotFoundError):  # removed in the meantime
                found[name] = now - (self.root / folder / name).lstat().st_mtime
        return found

    def remove(self, name: str) -> None:
        """Remove a file."""
        files.remove(self.root / name)

    def clean(self, settled: set[str]) -> list[Place]:
        """Remove temporary files whose writer is dead."""
        folders = [self.root, *(self.root / name for name in _WRITTEN)]
        leftover = [path for folder in folders for path in files.abandoned(folder)]
        for path in leftover:
            files.remove(path)
        return list(leftover)

    def room(self) -> int | None:
        """Return the number of free bytes on the disk."""
        with files.explained(self.root, "examined"):
            return shutil.disk_usage(self.root).free

    def lock(self, name: str) -> RunLock | None:
        """Lock a name with a file lock."""
        return run_locks.lock_run(name, self._lock(name))

    def holder(self, name: str) -> str | None:
        """Return the text that the holder wrote."""
        return run_locks.holder(self._lock(name))

    def forget_lock(self, name: str) -> None:
        """Remove the lock file while it is locked, so that no process is computing under that lock.

        A process that opened the file earlier locks a file that no longer has a name, and then finds that the run is
        settled.
        """
        if self._lock(name).exists():
            with locked(self._lock(name)) as entered:
                if entered:
                    files.remove(self._lock(name))

    def _lock(self, name: str) -> Path:
        return self.root / LOCKS / f"{name}.lock"

    def checkpoint_directory(self, run_id: str, *, create: bool = True) -> Path:
        """Return a directory inside the study directory; it outlives the process that writes to it."""
        path = self.root / CHECKPOINTS / run_id
        if create:
            with files.explained(path, "created"):
                make_folder(path)
        return path

    def keep_checkpoint(self, run_id: str, lock: RunLock | None) -> None:
        """Do nothing, because the file is already in place."""

    def save_slots(self) -> Path:
        """Return a folder in the study directory, so that all machines that compute the study share the slots."""
        return self.root / _SAVES

    def discard_checkpoint(self, run_id: str) -> None:
        """Remove the run's checkpoint directory."""
        path = self.root / CHECKPOINTS / run_id
        with suppress(OSError):  # a short run may not have saved anything
            path.rmdir()
            return
        with files.explained(path, "removed"), suppress(FileNotFoundError):
            shutil.rmtree(path)
