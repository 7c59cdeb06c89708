"""Claims: while a process computes a run, no other does.

They spare work; which row counts is decided by the commit alone. A claim can be lost without its holder's doing: its
token is what tells, and who lost it is kept from writing (fenced).
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

from ablations.store.file_locks import POLL, FileLock
from aimlib.errors import StoreError

_ATTEMPTS = 50


class Fenced(StoreError):  # noqa: N818 -- the field's word
    """A claim was lost: another process may hold it now, and what this one has must not be written."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(
            f"run {run_id}: this process lost its claim, because it hung or did not reach the storage for too long; "
            f"nothing was written, and whoever holds the run now goes on from its last checkpoint"
        )

    def __reduce__(self) -> tuple[type[Exception], tuple[str, ...]]:
        return (Fenced, (self.run_id,))


class Claim(Protocol):
    """The right to compute a run, until it is released, lost, or the process dies. A context manager.

    Attributes
    ----------
    run_id : the run that is claimed.
    token : random text that no other claim has.
    """

    run_id: str
    token: str

    @property
    def lost(self) -> bool:
        """Whether it is no longer held: released, or taken over; cheap."""

    def confirm(self) -> None:
        """Make sure that it is held at this moment; Fenced where it is not."""

    def release(self) -> None:
        """Let others claim the run; nothing where that was done, or in a child forked after the claim."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class FileClaim:
    """A claim by a lock on a file, which the operating system frees when its holder dies. See `Claim`."""

    def __init__(self, run_id: str, lock: FileLock, token: str) -> None:
        self.run_id, self.token = run_id, token
        self._lock = lock

    @property
    def lost(self) -> bool:
        """Whether the lock file is closed, was replaced or removed, or was signed by another process since.

        A lock excludes only those who open the same file, so its name must still lead to this one. And an NFS server
        that restarts, or a client that is cut off for longer than the server's patience, can drop a lock without a word
        to its holder; whoever locks next signs the file. Both are seen as late as the client's cache allows
        (`acregmax`, 60 s unless mounted otherwise), and a dropped lock that nobody took is not seen at all.
        """
        return not self._lock.holds(self.token)

    def confirm(self) -> None:
        """Raise Fenced where it was lost."""
        if self.lost:
            raise Fenced(self.run_id)

    def release(self) -> None:
        """Let others claim the run."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


def claim(run_id: str, path: Path) -> FileClaim | None:
    """Claim a run by its lock file; None while another claim on it is alive.

    Raises
    ------
    StoreError: the lock file cannot be written, or its file system has no locks.
    """
    lock = FileLock(path)
    try:
        if _acquire(lock):
            token = uuid.uuid4().hex
            lock.sign(f"{signature()}\n{token}")
            return FileClaim(run_id, lock, token)
    except BaseException:
        lock.close()
        raise
    lock.close()
    return None


def signature() -> str:
    """Return host, process and time, for people who wonder who holds a claim."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{socket.gethostname()} process {os.getpid()} since {now}"


def _acquire(lock: FileLock) -> bool:
    """Lock exclusively, past those who only look: `holder` and failing claims lock shared for a moment."""
    for _ in range(_ATTEMPTS):
        if lock.acquire():
            return True
        if not lock.acquire(shared=True):
            return False
        lock.unlock()
        time.sleep(random.uniform(0, POLL))  # noqa: S311 -- two that look at each other must fall out of step
    return False


def holder(path: Path) -> str | None:
    """Return host, process and start of the claim on a lock file; None where nobody alive holds it."""
    if not path.exists():
        return None
    with closing(FileLock(path)) as lock:
        if lock.acquire(shared=True):
            return None
        return lock.text().partition("\n")[0] or "a process that has not signed yet"
