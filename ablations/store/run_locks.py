"""Locks on runs: while a process is computing a run, no other process computes it.

Locks only avoid duplicate work; the commit decides which row counts. A process can lose its lock without noticing. The
lock's token reveals the loss, and a process that has lost its lock cannot write (it is fenced).
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
    """The lock on a run was lost: another process may hold it now, and this process must not write its result."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(
            f"run {run_id}: this process lost its lock, because it hung or could not reach the storage for too long; "
            "nothing was written, and the run's current holder continues from its last checkpoint"
        )

    def __reduce__(self) -> tuple[type[Exception], tuple[str, ...]]:
        return (Fenced, (self.run_id,))


class RunLock(Protocol):
    """The right to compute a run until it is released or lost, or the process dies; a context manager.

    Attributes
    ----------
    run_id : id of the locked run.
    token : random text that is unique to this lock.
    """

    run_id: str
    token: str

    @property
    def lost(self) -> bool:
        """Whether the lock may be lost: released, taken over, or impossible to confirm. This is cheap to check."""

    @property
    def taken(self) -> bool:
        """Whether the lock was released or is known to have been taken over. This is cheap to check."""

    def confirm(self) -> None:
        """Verify that the lock is held now; reacquire it if the storage dropped it and no other process took it.

        Raises
        ------
        Fenced: the lock is not held.
        StoreError: the storage does not answer.
        """

    def release(self) -> None:
        """Release the run. Further calls, and calls in a child that was forked later, do nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class FileRunLock:
    """A lock on a file, which the operating system releases when its holder dies. See `RunLock`."""

    def __init__(self, run_id: str, lock: FileLock, token: str) -> None:
        self.run_id, self.token = run_id, token
        self._lock = lock

    @property
    def lost(self) -> bool:
        """Whether the lock file is closed, was replaced or removed, or now contains another process's token.

        A lock excludes only processes that open the same file, so the file's name must still refer to this file. In
        addition, a lock can be dropped without notice to its holder when an NFS server restarts, or when a client is
        cut off for longer than the server waits; the next holder writes its own token. Either loss is noticed only
        after a delay that the client's cache determines (`acregmax`, 60 s by default). A dropped lock that no other
        process takes is never noticed.
        """
        return not self._lock.holds(self.token)

    @property
    def taken(self) -> bool:
        """Whether `lost` is true for a reason other than a file system error."""
        try:
            return not self._lock.is_signed(self.token)
        except OSError:
            return False

    def confirm(self) -> None:
        """Raise Fenced if the lock was lost. After an error, such as a stale handle, reopen and lock the file."""
        try:
            held = self._lock.is_signed(self.token)
        except OSError:
            held = self._lock.reacquire(self.token)
        if not held:
            raise Fenced(self.run_id)

    def release(self) -> None:
        """Release the run."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


def lock_run(run_id: str, path: Path) -> FileRunLock | None:
    """Lock a run with its lock file; return None while another process, or another part of this process, holds it.

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
    """Return the host, process and time as text, to show which process holds a lock."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{socket.gethostname()} process {os.getpid()} since {now}"


def _acquire(lock: FileLock) -> bool:
    """Acquire the lock exclusively, even while other processes briefly check it.

    `holder` and failed attempts take a shared lock for a moment.
    """
    for _ in range(_ATTEMPTS):
        if lock.acquire():
            return True
        if not lock.acquire(shared=True):
            return False
        lock.unlock()
        time.sleep(random.uniform(0, POLL_INTERVAL_S))  # noqa: S311 -- two processes that check each other must not stay in step
    return False


def holder(path: Path) -> str | None:
    """Return the host, process and start time of a lock file's holder; None if no running process holds the lock."""
    if not path.exists():
        return None
    with closing(FileLock(path)) as lock:
        if lock.acquire(shared=True):
            return None
        return lock.text().partition("\n")[0] or "a process that has not written its name yet"
