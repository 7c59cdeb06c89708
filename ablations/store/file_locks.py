"""Locks that the operating system releases when their holder dies for any reason.

These are `flock` locks on files that are not removed while a process needs them, because a lock on a removed file does
not exclude other processes.
"""

from __future__ import annotations

import fcntl
import os
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ablations.store.files import explained
from aimlib.paths import share_opened

POLL_INTERVAL_S = 0.002
"""Seconds between two attempts to acquire a lock."""

_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_LONGEST_TEXT = 1000
_open: weakref.WeakSet[FileLock] = weakref.WeakSet()


class FileLock:
    """An open lock file. Two locks on the same file exclude each other, within a process and between processes.

    Parameters
    ----------
    path : the lock file, which is created if missing and never removed. It must not be a link, because the lock's
        holder writes to it.

    Raises
    ------
    StoreError: the file cannot be opened, or its file system has no locks.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None
        with explained(path, "locked"):
            self._handle = os.open(path, _FLAGS | os.O_CREAT, 0o666)
            share_opened(self._handle, path)
        _open.add(self)

    def acquire(self, *, shared: bool = False, timeout_s: float = 0.0) -> bool:
        """Acquire the lock, trying for up to `timeout_s` seconds; return whether the lock was acquired."""
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
            return _content(self._descriptor()).decode(errors="replace").strip()

    def sign(self, text: str) -> None:
        """Replace the text that identifies the process that holds the lock."""
        with explained(self.path):
            os.ftruncate(self._descriptor(), 0)
            _write(self._descriptor(), text.encode())

    def holds(self, token: str) -> bool:
        """Return whether the file is open, still exists under its name, and ends with the written token."""
        try:
            return self.is_signed(token)
        except OSError:  # the file system fails, or the handle is stale after an NFS server's restart
            return False

    def is_signed(self, token: str) -> bool:
        """Return the same as `holds`. OSError: the file system does not answer, or the lock's folder is missing."""
        if self._handle is None:
            return False
        try:
            mine, named = os.fstat(self._handle), self.path.stat()
        except FileNotFoundError:
            if self.path.parent.is_dir():
                return False
            raise  # the file system is not mounted
        if (mine.st_dev, mine.st_ino) != (named.st_dev, named.st_ino):
            return False
        return _content(self._handle).endswith(token.encode())

    def reacquire(self, token: str) -> bool:
        """Reopen the file, and lock it if it still ends with the written token; return whether it is locked.

        Use this method if the file's handle may be stale, for example because an NFS server restarted. The token shows
        that no other process has held the lock in the meantime.

        Raises
        ------
        StoreError: the file system does not answer.
        """
        if self._handle is None:
            return False
        with explained(self.path, "locked"):
            try:
                handle = os.open(self.path, _FLAGS)
            except FileNotFoundError:
                if self.path.parent.is_dir():
                    return False
                raise
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not _content(handle).endswith(token.encode()):
                    return False
                handle, self._handle = self._handle, handle
            except BlockingIOError:  # locked by this lock, whose handle may work again, or by another process
                return self.is_signed(token)
            finally:
                with suppress(OSError):
                    os.close(handle)
        return True

    def close(self) -> None:
        """Unlock and close the file; do nothing if it is already closed."""
        if self._handle is not None:
            with suppress(OSError):  # a stale handle; closing the file unlocks it as well
                self.unlock()
            self.abandon()

    def abandon(self) -> None:
        """Close the file without unlocking it; the parent process of this forked process keeps the lock."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            with suppress(OSError):
                os.close(handle)

    def _descriptor(self) -> int:
        assert self._handle is not None, f"{self.path} is closed"
        return self._handle


def _content(handle: int) -> bytes:
    """Return the whole content of a lock file; POSIX allows a single call to return less."""
    content = b""
    while len(content) < _LONGEST_TEXT and (part := os.pread(handle, _LONGEST_TEXT - len(content), len(content))):
        content += part
    return content


def _write(handle: int, content: bytes) -> None:
    """Write the whole content of a lock file; a single call may write less."""
    written = 0
    while written < len(content):
        written += os.pwrite(handle, content[written:], written)


@contextmanager
def locked(path: Path, *, shared: bool = False, timeout_s: float = 0.0) -> Iterator[bool]:
    """Hold the lock `path` within the block; yield whether it was acquired within `timeout_s` seconds."""
    lock = FileLock(path)
    try:
        yield lock.acquire(shared=shared, timeout_s=timeout_s)
    finally:
        lock.close()


def _leave_to_parent() -> None:
    """In a forked child, close the parent's lock files; otherwise they would stay locked if the parent is killed."""
    for lock in list(_open):
        lock.abandon()


os.register_at_fork(after_in_child=_leave_to_parent)
