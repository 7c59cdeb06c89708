"""Locks of runs: while a process computes a run, no other process does.

They only save work; the commit decides which row counts. A process can lose its lock without noticing. The token
reveals this, and a process that lost its lock cannot write (it is fenced).
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
    """The lock of a run was lost: another process may hold it now, and this one must not write its result."""

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
    run_id : the run that is locked.
    token : random text that is unique to this lock.
    """

    run_id: str
    token: str

    @property
    def lost(self) -> bool:
        """Whether it may be lost: it was released or taken over, or the storage is unavailable. This costs little."""

    @property
    def taken(self) -> bool:
        """Whether it was released or is known to have been taken over. This costs little."""

    def confirm(self) -> None:
        """Verify that it is held at this moment; acquire it again if the storage dropped it and no process took it.

        Raises
        ------
        Fenced: the lock is not held.
        StoreError: the storage does not answer.
        """

    def release(self) -> None:
        """Release the run. This does nothing after the first time, or in a child that was forked later."""

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
        """Whether the lock file is closed, was replaced or removed, or now contains the token of another process.

        A lock excludes only processes that open the same file, so its name must still lead to this one. In addition, an
        NFS server that restarts, or a client that is cut off for longer than the server waits, can drop a lock without
        notifying its holder; the next holder writes its token. Both are noticed only as fast as the client's cache
        allows (`acregmax`, 60 s unless mounted otherwise), and a dropped lock that no other process took is never
        noticed.
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
        """Raise Fenced if it was lost. After an error, such as a stale handle, open and lock the file again."""
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
    """Lock a run by its lock file; return None while another process or another part of this one holds it.

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
    """Lock exclusively, despite processes that only check.

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
    """Return the host, process and start time of the holder of a lock file; None if no running process holds it."""
    if not path.exists():
        return None
    with closing(FileLock(path)) as lock:
        if lock.acquire(shared=True):
            return None
        return lock.text().partition("\n")[0] or "a process that has not written its name yet"
