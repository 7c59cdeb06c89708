"""Keep the C library's heap while a run trains on the CPU, so that each step reuses what the previous one freed."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Options for glibc's `mallopt`."""
_LARGEST = 2**25
"""The largest threshold in bytes that glibc accepts; larger blocks are mapped anew every time."""


@contextmanager
def kept_heap(device: torch.device) -> Iterator[None]:
    """Keep freed memory for later allocations, and return it to the system at the end.

    By default, glibc maps large blocks anew every time until a block of 32 MiB has been freed, so that every step
    causes page faults for its activations. From then on, glibc keeps smaller blocks, and up to 64 MiB at the end of its
    heap. This function makes glibc keep such blocks from the start, which does not affect results. The function does
    nothing with a different C library, or on a GPU, where torch itself keeps freed memory.
    """
    library = ctypes.CDLL(None) if device.type == "cpu" and platform.libc_ver()[0] == "glibc" else None
    if library is not None:
        library.mallopt(_MMAP_THRESHOLD, _LARGEST)
        library.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST)
    try:
        yield
    finally:
        if library is not None:
            library.malloc_trim(0)
