"""The lock for a packed store: one of the processes that share the cache packs; the others wait and report this.

The lock is an operating system lock (`flock`), so it is released when the process that holds it dies. A file next to
the lock identifies that process, but only to inform the processes that wait.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aimlib.paths import make_folder, read_file, share

if TYPE_CHECKING:
    from filelock import BaseFileLock

log = logging.getLogger(__name__)

FIRST_NOTICE_S = 2.0
"""Waiting time, in seconds, after which a process first reports that it is waiting."""
NOTICE_INTERVAL_S = 60.0


@dataclass(frozen=True)
class Holder:
    """The process that holds the lock of a store, or that held the lock when it was killed.

    Attributes
    ----------
    host : name of the process's machine.
    pid : process id on that machine.
    since : when the process acquired the lock, in seconds since 1970.
    """

    host: str
    pid: int
    since: float

    def __str__(self) -> str:
        """Describe the process: its process id, its machine, and since when it has held the lock."""
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host} since {when}"

    def is_gone(self) -> bool:
        """Return whether the process is known to have ended; always False for a process on another machine."""
        if self.host != socket.gethostname() or sys.platform == "win32":  # on Windows, signal 0 would interrupt it
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:  # the process belongs to another user
            return False
        return False


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Wait for the lock of the store `folder` and hold it; other machines that share the parent folder also wait.

    Raises
    ------
    OSError: the store's parent folder is not writable, or its file system does not support locks.
    """
    from filelock import FileLock  # noqa: PLC0415 -- needed only for building

    make_folder(folder.parent)
    path = folder.with_name(f"{folder.name}.lock")
    path.touch()
    share(path)
    lock = FileLock(path)
    _acquire(lock, folder)
    try:
        _sign(folder)
        yield
    finally:
        with suppress(OSError):
            _holder_file(folder).unlink()
        lock.release()


def holder_of(folder: Path) -> Holder | None:
    """Return the process that is packing the store `folder`, or was killed while packing it; None if none is known."""
    try:
        found = json.loads(read_file(_holder_file(folder)))
        return Holder(str(found["host"]), int(found["pid"]), float(found["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _acquire(lock: BaseFileLock, folder: Path) -> None:
    from filelock import Timeout  # noqa: PLC0415

    wait = FIRST_NOTICE_S
    while True:
        try:
            lock.acquire(timeout=wait, poll_interval=0.2)
        except Timeout:
            log.warning("%s: waiting until it has been packed by %s", folder, holder_of(folder) or "another process")
            wait = NOTICE_INTERVAL_S
        else:
            return


def _sign(folder: Path) -> None:
    """Record that this process holds the lock; the lock also works without this record."""
    path = _holder_file(folder)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(asdict(Holder(socket.gethostname(), os.getpid(), time.time()))))
        share(temporary)
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()


def _holder_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.holder")
