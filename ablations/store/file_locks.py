"""Locks that the operating system releases when their holder dies, for whatever reason.

They are `flock` locks on files that are never removed: a lock on a removed file would exclude nobody.
"""

from __future__ import annotations

import fcntl
import os
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ablations.store.files import explained
from aimlib.paths import share_opened

POLL_INTERVAL_S = 0.002
"""Seconds between two attempts to get a lock."""

_open: weakref.WeakSet[FileLock] = weakref.WeakSet()


class FileLock:
    """An open lock file. Two of them exclude each other, within a process and between processes.

    Parameters
    ----------
    path : the lock file; created if missing, never removed, and refused if it is a link, because its holder writes into
        it.

    Raises
    ------
    StoreError: the file cannot be opened, or its file system has no locks.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None
        with explained(path, "locked"):
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            share_opened(self._handle, path)
        _open.add(self)

    def acquire(self, *, shared: bool = False, timeout_s: float = 0.0) -> bool:
        """Lock, trying for `timeout_s` seconds; return whether it succeeded."""
        deadline = time.monotonic() + timeout_s
        while not self._try(fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_INTERVAL_S)
        return True

    def _try(self, mode: int) -> bool:
        with explained(self.path, "locked"):
            try:
                fcntl.flock(self._descriptor(), mode | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def unlock(self) -> None:
        """Release the lock, even if a forked child still has the file open."""
        fcntl.flock(self._descriptor(), fcntl.LOCK_UN)

    def text(self) -> str:
        """Return the text that the last holder wrote."""
        with explained(self.path, "read"):
            return os.pread(self._descriptor(), 1000, 0).decode(errors="replace").strip()

    def sign(self, text: str) -> None:
        """Replace the text, which tells people who holds the lock."""
        with explained(self.path):
            os.ftruncate(self._descriptor(), 0)
            os.pwrite(self._descriptor(), text.encode(), 0)

    def holds(self, token: str) -> bool:
        """Return whether the file is open, still has its name, and ends with the written token."""
        if self._handle is None:
            return False
        try:
            mine, named = os.fstat(self._handle), self.path.stat()
            signed = os.pread(self._handle, 1000, 0)
        except OSError:  # removed, or unknown to the server of an NFS mount
            return False
        return (mine.st_dev, mine.st_ino) == (named.st_dev, named.st_ino) and signed.endswith(token.encode())

    def close(self) -> None:
        """Unlock and close; nothing if it is closed already."""
        if self._handle is not None:
            self.unlock()
            self.abandon()

    def abandon(self) -> None:
        """Close without unlocking: the lock stays with the process that this one was forked from."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _descriptor(self) -> int:
        assert self._handle is not None, f"{self.path} is closed"
        return self._handle


@contextmanager
def locked(path: Path, *, shared: bool = False, timeout_s: float = 0.0) -> Iterator[bool]:
    """Hold the lock `path` for a block; yield whether it was acquired within `timeout_s` seconds."""
    lock = FileLock(path)
    try:
        yield lock.acquire(shared=shared, timeout_s=timeout_s)
    finally:
        lock.close()


def _leave_to_parent() -> None:
    """In a forked child: close the parent's lock files, which would otherwise stay locked when the parent is killed."""
    for lock in list(_open):
        lock.abandon()


os.register_at_fork(after_in_child=_leave_to_parent)
