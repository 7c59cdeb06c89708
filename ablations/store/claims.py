"""Claims: while a process computes a run, no other does.

They spare work; which row counts is decided by the commit alone.
"""

from __future__ import annotations

import os
import random
import socket
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from ablations.store.locks import POLL, FileLock

_ATTEMPTS = 50


class Claim:
    """The right to compute a run, until it is released or the process dies. A context manager.

    Attributes
    ----------
    run_id : the run that is claimed.
    """

    def __init__(self, run_id: str, lock: FileLock) -> None:
        self.run_id = run_id
        self._lock = lock

    def release(self) -> None:
        """Let others claim the run; nothing where that was done, or in a child forked after the claim."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


def claim(run_id: str, path: Path) -> Claim | None:
    """Claim a run by its lock file; None while another claim on it is alive.

    Raises
    ------
    StoreError: the lock file cannot be written, or its file system has no locks.
    """
    lock = FileLock(path)
    try:
        if _acquire(lock):
            now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            lock.sign(f"{socket.gethostname()} process {os.getpid()} since {now}")
            return Claim(run_id, lock)
    except BaseException:
        lock.close()
        raise
    lock.close()
    return None


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
        return lock.text() or "a process that has not signed yet"
