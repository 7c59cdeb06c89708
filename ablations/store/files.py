"""The four file system operations that the store needs: exclusive creation, replacement, listing and removal.

Object storage needs different code for everything in this module. A file becomes visible under its name only when it is
complete and on disk: it is written under a temporary name in the same directory, synchronized, and then linked or
renamed.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import re
import socket
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aimlib.errors import StoreError
from aimlib.paths import advice_on, share

Write = Callable[[Path], object]
"""Function that writes a complete file to the given path."""

_STALE_AFTER = 24 * 3600.0  # seconds; writing a file takes less
_ADVICE = {
    errno.ENOSPC: "free space and run again: settled runs are kept, but this file was not written",
    errno.EDQUOT: "free space or raise the quota and run again: settled runs are kept, but this file was not written",
    errno.EROFS: "choose a directory on a writable file system",
    errno.EACCES: "get write permission or choose a different directory",
    errno.EPERM: "get write permission, or choose a file system with hard links",
    errno.ENOTSUP: "choose a file system with hard links and file locks",
    errno.EISDIR: "move the folder of that name elsewhere",
    errno.ELOOP: "remove the link: the store never writes through links",
    errno.ENOLCK: "choose a file system with file locks (NFS: start its lock service)",
}


@contextmanager
def explained(path: Path, doing: str = "written") -> Iterator[None]:
    """Turn an OSError about `path` into a StoreError with a remedy."""
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "check the file system, or choose a different directory")
        if doing == "read":
            advice = advice_on(error)
        raise StoreError(f"{path}: cannot be {doing}: {error.strerror or error}; {advice}") from error


def create(path: Path, write: Write) -> bool:
    """Create `path` exclusively; return False, without changing the file, if it already exists."""
    with staged(path, write) as temporary:
        return publish(temporary, path)


def replace(path: Path, write: Write) -> None:
    """Create `path` or replace it atomically: readers see the old file or the new one."""
    with staged(path, write) as temporary, explained(path):
        temporary.replace(path)
        synchronise(path.parent)


def private_folder(path: Path) -> Path:
    """Return a folder that only this user can access, created if missing.

    Raises
    ------
    StoreError: the path exists but is a link, belongs to another user, or is accessible to others.
    """
    with explained(path, "created"):
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise StoreError(
                f"{path}: is not a directory that only you can access; remove it, or set TMPDIR to a different folder"
            )
    return path


@contextmanager
def staged(path: Path, write: Write, named: Path | None = None) -> Iterator[Path]:
    """Yield a temporary file next to `path`, complete and on disk; the temporary file is always removed afterwards.

    Parameters
    ----------
    named : path to show in errors instead of `path`.

    Raises
    ------
    StoreError: the file system reports an error, for example because it is full.
    """
    temporary = path.parent / _temporary_name()
    try:
        with explained(named or path):
            write(temporary)
            share(temporary)
            synchronise(temporary)
        yield temporary
    except BaseException:
        with suppress(OSError):  # on a read-only file system, removing even a missing file fails
            temporary.unlink(missing_ok=True)
        raise
    with explained(temporary, "removed"):
        temporary.unlink(missing_ok=True)


def publish(temporary: Path, path: Path) -> bool:
    """Give a staged file its final name; return False if that name is taken."""
    with explained(path):
        try:
            os.link(temporary, path)
        except FileExistsError:
            if temporary.stat().st_nlink == 1:
                return False
            # NFS repeated a request because the answer was lost: the existing name refers to this file.
        synchronise(path.parent)
    return True


def names(directory: Path, pattern: re.Pattern[str]) -> list[str]:
    """Return the names in `directory` that match the whole pattern; empty if the directory does not exist."""
    with explained(directory, "listed"):
        try:
            return [name for name in os.listdir(directory) if pattern.fullmatch(name)]  # noqa: PTH208 -- 10,000 paths
        except FileNotFoundError:
            return []


def remove(path: Path) -> None:
    """Remove a file if it exists."""
    with explained(path, "removed"):
        path.unlink(missing_ok=True)


def synchronise(path: Path) -> None:
    """Wait until a file, or the names in a directory, are on disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise  # some network file systems synchronize directories themselves and refuse the call
    finally:
        os.close(handle)


def abandoned(directory: Path) -> list[Path]:
    """Return temporary files whose writer is dead.

    The writer was a process on this machine that has ended, or, if the file is a day old, a process on another machine.
    Age is measured by the clock of the file server, which sets the timestamps, because this machine's clock may have
    jumped.
    """
    found: list[Path] = []
    now: float | None = None
    for name in names(directory, re.compile(r"\.[0-9a-f]{32}\.[\w-]+\.\d+\.tmp")):
        path = directory / name
        _, _, host, process, _ = name.split(".")
        with suppress(FileNotFoundError):  # the writer has finished in the meantime
            if host == host_name():
                stale = not is_alive(int(process))
            else:
                now = clock_of(directory) if now is None else now
                stale = now - path.stat().st_mtime > _STALE_AFTER
            if stale:
                found.append(path)
    return found


def clock_of(directory: Path) -> float:
    """Return the timestamp of a file written now."""
    with staged(directory / "clock", lambda path: path.write_bytes(b"")) as probe:
        return probe.stat().st_mtime


def _temporary_name() -> str:
    return f".{uuid.uuid4().hex}.{host_name()}.{os.getpid()}.tmp"


def check_usable(directory: Path) -> None:
    """Raise StoreError if files cannot be created and linked, so that the problem is found before the first run."""
    with staged(directory / "probe", lambda path: path.write_bytes(b""), named=directory) as temporary:
        other = temporary.with_name(_temporary_name())
        publish(temporary, other)
        remove(other)


def is_alive(process: int) -> bool:
    """Return whether a process on this machine is running."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@functools.cache
def host_name() -> str:
    """Return a name within which process ids are unique: the host, and a digest of the boot and the process namespace.

    Two containers or machines that share a host name but not their processes get different names.
    """
    parts = [socket.gethostname()]
    with suppress(OSError):  # Linux only
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
    return re.sub(r"[^A-Za-z0-9-]", "-", parts[0])[:60] + "-" + digest
