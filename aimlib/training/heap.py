"""The C library's heap while a run trains on the CPU: memory that one step frees is reused by the next."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Options of glibc's `mallopt`."""
_LARGEST = 2**25
"""The largest threshold that glibc accepts; larger blocks are mapped again every time."""


@contextmanager
def kept_heap(device: torch.device) -> Iterator[None]:
    """Keep freed memory for later allocations, and return it to the system at the end.

    By default glibc maps large blocks again, so every step causes page faults for its activations, until a block of 32
    MiB has been freed: then it keeps smaller ones, and 64 MiB at the end of its heap. This function lets it keep them
    from the start; no result depends on it. Nothing happens with another C library, or on a GPU, where torch keeps
    memory itself.
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
