"""Memory-mapped pixels, even from files that are larger than the RAM.

Batches are drawn at random. When a process accesses a page that is not in the RAM, the kernel also reads the
surrounding pages, up to several megabytes. This helps if the entire file fits into the RAM. If the file does not fit,
most of those pages are dropped before they are used. Such a file is therefore read image by image: the kernel is told
not to read surrounding pages (MADV_RANDOM), and is told which images a batch will need (MADV_WILLNEED). It then reads
complete images, several at the same time. The values of the pixels do not depend on this.
"""

from __future__ import annotations

import mmap
import os
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aimlib.datasets.recipe import Pixels

SHARE = 0.5
"""A file that is larger than this share of the RAM available to the process is read image by image."""
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_GROUPS_OF_THIS_PROCESS = Path("/proc/self/cgroup")
_by_image: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


def mapped(path: Path, stored: str) -> Pixels:
    """Return the values in a file, mapped read-only.

    Parameters
    ----------
    stored : NumPy's name for the type of the values.

    Raises
    ------
    OSError, ValueError: the file cannot be mapped, or is empty.
    """
    pixels: Pixels = np.asarray(np.memmap(path, dtype=stored, mode="r"))
    found = _map_of(pixels)
    if found is not None and hasattr(mmap, "MADV_RANDOM") and len(found) > SHARE * ram_bytes():
        found.madvise(mmap.MADV_RANDOM)
        _by_image.add(found)
    return pixels


def announce(pixels: npt.NDArray[Any], indices: npt.NDArray[np.int64]) -> None:
    """Tell the kernel to read images [images, height, width, channels] that are about to be used.

    The function does nothing for pixels that are not mapped, or are mapped from a file that fits into the RAM.
    """
    found = _map_of(pixels)
    if found is None or found not in _by_image or not pixels.flags.c_contiguous or not len(indices):
        return
    first = pixels.ctypes.data - np.frombuffer(found, np.uint8).ctypes.data
    starts = first + np.unique(indices) * pixels.strides[0]
    for start, end in _ranges(starts // mmap.PAGESIZE * mmap.PAGESIZE, starts + pixels.strides[0]):
        found.madvise(mmap.MADV_WILLNEED, start, end - start)


def ram_bytes() -> float:
    """Return how much RAM this process may use: all of the machine's RAM, or less if its control group has a limit."""
    limits = [float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))]
    with suppress(OSError, ValueError):
        for line in _GROUPS_OF_THIS_PROCESS.read_text(encoding="ascii").splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers in ("", "memory"):
                folder, name = ("memory", "memory.limit_in_bytes") if controllers else ("", "memory.max")
                limits += _limits(_CONTROL_GROUPS / folder, group.strip("/"), name)
    return min(limits)


def _limits(top: Path, group: str, name: str) -> list[float]:
    """Return the limits of a control group and of the groups that contain it."""
    found: list[float] = []
    place = top / group
    for folder in (place, *place.parents):
        with suppress(OSError, ValueError):
            found.append(float((folder / name).read_text(encoding="ascii")))  # "max" is not a limit
        if folder == top:
            break
    return found


def _ranges(starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return ranges in ascending order, merging those that touch or overlap."""
    new = np.flatnonzero(starts[1:] > ends[:-1]) + 1
    firsts, lasts = np.concatenate([[0], new]), np.concatenate([new - 1, [len(starts) - 1]])
    return list(zip(starts[firsts].tolist(), ends[lasts].tolist(), strict=True))


def _map_of(pixels: npt.NDArray[Any]) -> mmap.mmap | None:
    """Return the memory map behind an array; None if the array is not a view of a memory map."""
    found: Any = pixels
    while isinstance(found, np.ndarray):
        found = found.base
    return found if isinstance(found, mmap.mmap) else None
