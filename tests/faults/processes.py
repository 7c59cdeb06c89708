"""Processes that belong to a test, even if their parents have ended: recognized by what they inherited, not by name."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

MARK = "AIM_FAULTS_MARK"
_NO_JOB = b"RAY_JOB_ID=ffffffff"


def marked(mark: str) -> dict[int, str]:
    """Return the command lines of live processes with a mark, by process id.

    A process has the mark in three cases: the mark is in the environment with which the process was started; the
    process has a file open in the folder of that name (Ray overwrites some processes' environments with their titles);
    or its parent has the mark.
    """
    everyone = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    parents = {process: above for process in everyone if (above := parent(process)) is not None}
    found = {process for process in parents if _inherited(process, mark) or _has_open(process, mark)}
    while more := {process for process, above in parents.items() if above in found} - found:
        found |= more
    found.discard(os.getpid())
    return {process: title(process) for process in sorted(found)}


def of_jobs(mark: str) -> dict[int, str]:
    """Return a cluster's processes that were started for a driver: Ray's workers and their children."""
    return {
        process: text
        for process, text in marked(mark).items()
        if text.startswith("ray::Worker")
        or any(line.startswith(b"RAY_JOB_ID=") and line != _NO_JOB for line in _environment(process))
    }


def wait_for_none(processes: Callable[[], dict[int, str]], seconds: float) -> dict[int, str]:
    """Wait until no processes are left, at most for `seconds`; return the remaining processes."""
    deadline = time.monotonic() + seconds
    while (left := processes()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def end_all(mark: str) -> dict[int, str]:
    """Kill all processes with a mark, and return the killed processes."""
    killed: dict[int, str] = {}
    while left := marked(mark):
        killed |= left
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.05)
    return killed


def parent(process: int) -> int | None:
    """Return the parent's process id; None if the process has ended or is a zombie."""
    state, _, rest = _read(process, "stat").rpartition(b")")[2].strip().partition(b" ")
    return None if state in (b"", b"Z", b"X") else int(rest.split()[0])


def children(process: int) -> list[int]:
    """Return the process ids of a process's live children."""
    everyone = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [other for other in everyone if parent(other) == process]


def title(process: int) -> str:
    """Return a process's current command line."""
    return _read(process, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()[:200]


def _inherited(process: int, mark: str) -> bool:
    return f"{MARK}={mark}".encode() in _environment(process)


def _environment(process: int) -> list[bytes]:
    return _read(process, "environ").split(b"\0")


def _has_open(process: int, folder: str) -> bool:
    with contextlib.suppress(OSError):
        for descriptor in Path(f"/proc/{process}/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(descriptor.readlink()).startswith(f"{folder}/"):
                    return True
    return False


def _read(process: int, name: str) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/{name}").read_bytes()
    return b""
