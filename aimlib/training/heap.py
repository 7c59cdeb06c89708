"""The C library's heap while a run trains on the CPU: memory that one step frees serves the next."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Options of glibc's `mallopt`."""
_LARGEST = 2**25
"""The largest threshold that glibc takes; larger blocks are mapped afresh every time."""


@contextmanager
def kept_heap(device: torch.device) -> Iterator[None]:
    """Keep what is freed for what is allocated next, and give it back to the system at the end.

    glibc maps large blocks afresh, so that every step meets its activations page by page, until it has freed a block
    of 32 MiB: then it keeps smaller ones, and 64 MiB at the end of its heap. Here it does so from the start; no number
    depends on it. With another C library nothing happens, nor for a GPU, where torch keeps memory by itself.
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
