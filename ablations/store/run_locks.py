"""Locks of runs: while a process computes a run, no other does.

They save work; the commit alone decides which row counts. A process can lose its lock without noticing: the token
tells, and whoever lost the lock is kept from writing (fenced).
"""

from __future__ import annotations

import os
import random
import socket
import time
import uuid
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from ablations.store.file_locks import POLL_INTERVAL_S, FileLock
from aimlib.errors import StoreError

_ATTEMPTS = 50


class Fenced(StoreError):  # noqa: N818 -- the field's word
    """The lock of a run was lost: another process may hold it now, and this one must not write what it has."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(
            f"run {run_id}: this process lost its lock, because it hung or did not reach the storage for too long; "
            f"nothing was written, and whoever holds the run now goes on from its last checkpoint"
        )

    def __reduce__(self) -> tuple[type[Exception], tuple[str, ...]]:
        return (Fenced, (self.run_id,))


class RunLock(Protocol):
    """The right to compute a run, until it is released, lost, or the process dies. A context manager.

    Attributes
    ----------
    run_id : the run that is locked.
    token : random text that no other lock has.
    """

    run_id: str
    token: str

    @property
    def lost(self) -> bool:
        """Whether it is no longer held: released, or taken over; cheap."""

    def confirm(self) -> None:
        """Make sure that it is held at this moment; Fenced where it is not."""

    def release(self) -> None:
        """Let others lock the run. Does nothing after the first time, or in a child that was forked later."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class FileRunLock:
    """A lock on a file, which the operating system frees when its holder dies. See `RunLock`."""

    def __init__(self, run_id: str, lock: FileLock, token: str) -> None:
        self.run_id, self.token = run_id, token
        self._lock = lock

    @property
    def lost(self) -> bool:
        """Whether the lock file is closed, was replaced or removed, or was signed by another process since.

        A lock excludes only those who open the same file, so its name must still lead to this one. And an NFS server
        that restarts, or a client that is cut off for longer than the server waits, can drop a lock without a word
        to its holder; whoever locks next signs the file. Both are seen as late as the client's cache allows
        (`acregmax`, 60 s unless mounted otherwise), and a dropped lock that nobody took is not seen at all.
        """
        return not self._lock.holds(self.token)

    def confirm(self) -> None:
        """Raise Fenced where it was lost."""
        if self.lost:
            raise Fenced(self.run_id)

    def release(self) -> None:
        """Let others lock the run."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


def lock_run(run_id: str, path: Path) -> FileRunLock | None:
    """Lock a run by its lock file; None while another process, or another part of this one, holds it.

    Raises
    ------
    StoreError: the lock file cannot be written, or its file system has no locks.
    """
    lock = FileLock(path)
    try:
        if _acquire(lock):
            token = uuid.uuid4().hex
            lock.sign(f"{signature()}\n{token}")
            return FileRunLock(run_id, lock, token)
    except BaseException:
        lock.close()
        raise
    lock.close()
    return None


def signature() -> str:
    """Return host, process and time, for people who wonder who holds a lock."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{socket.gethostname()} process {os.getpid()} since {now}"


def _acquire(lock: FileLock) -> bool:
    """Lock exclusively, past those who only check: `holder`, and who fails to lock, lock shared for a moment."""
    for _ in range(_ATTEMPTS):
        if lock.acquire():
            return True
        if not lock.acquire(shared=True):
            return False
        lock.unlock()
        time.sleep(random.uniform(0, POLL_INTERVAL_S))  # noqa: S311 -- two that check each other must fall out of step
    return False


def holder(path: Path) -> str | None:
    """Return host, process and start of who holds a lock file; None where nobody alive does."""
    if not path.exists():
        return None
    with closing(FileLock(path)) as lock:
        if lock.acquire(shared=True):
            return None
        return lock.text().partition("\n")[0] or "a process that has not signed yet"
