"""The lock of a packed store: one of the processes that share the cache packs it; the others wait and say for whom.

The lock is the system's (`flock`), so it is released when its holder dies. Next to it, a file names the holder; it only
informs whoever waits.
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
"""Seconds of waiting after which a line is printed."""
NOTICE_INTERVAL_S = 60.0


@dataclass(frozen=True)
class Holder:
    """The process that holds, or held until it was killed, the lock of a store.

    Attributes
    ----------
    host : name of its machine.
    pid : its number there.
    since : when it got the lock, in seconds since 1970.
    """

    host: str
    pid: int
    since: float

    def __str__(self) -> str:
        """The process, its machine, and since when."""
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} of {self.host} since {when}"

    def is_gone(self) -> bool:
        """Return whether it was a process of this machine that has ended."""
        if self.host != socket.gethostname() or sys.platform == "win32":  # where signal 0 interrupts
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:  # another user's
            return False
        return False


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the lock of the store `folder`, also against other machines that share its parent; wait for it first.

    Raises
    ------
    OSError: the parent of the store cannot be written, or its file system has no locks.
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
    """Return who packs the store `folder`, or was killed while it did; None if nobody does or it cannot be read."""
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
            log.warning("%s: waits until it is packed by %s", folder, holder_of(folder) or "another process")
            wait = NOTICE_INTERVAL_S
        else:
            return


def _sign(folder: Path) -> None:
    """Write down that this process holds the lock; the lock also works without it."""
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
