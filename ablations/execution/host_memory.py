"""Host memory (RAM) that belongs to this process alone; it is measured only on Linux, and unknown elsewhere."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from pathlib import Path
from typing import Any

import numpy as np

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""Value that resets the peak recorded by the kernel; see proc_pid_clear_refs(5)."""


def begin_peak() -> None:
    """Return freed memory to the system, and reset the peak to the process's current memory."""
    with contextlib.suppress(OSError, AttributeError):  # a different C library
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):  # some containers forbid this; the peak then covers the whole process
        _RESET.write_text(_RESET_PEAK, encoding="ascii")


def private_peak() -> int | None:
    """Return this process's peak memory in bytes since `begin_peak`; None if it is unknown.

    Mapped files and shared memory do not count, because the processes on a machine share libraries and mapped images.
    """
    try:
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    kilobytes = {
        name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if "kB" in rest
    }
    if "VmHWM" not in kilobytes:
        return None
    return max(0, kilobytes["VmHWM"] - kilobytes.get("RssFile", 0) - kilobytes.get("RssShmem", 0)) * 1024


def unmapped_bytes(array: np.ndarray[Any, Any]) -> int:
    """Return the process memory that an array takes, in bytes; 0 if the array is mapped from a file."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return 0
        base = base.base
    return 0 if isinstance(base, mmap.mmap) else int(array.nbytes)
