"""Devices: which one to train on, what it is, how much of its memory a run may take, and when it had too little."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch

from aimlib.errors import UsageError

_NO_MEMORY = (
    "out of memory",  # CUDA's and HIP's allocator; "CUDA error: out of memory" of the driver
    "_STATUS_ALLOC_FAILED",  # cuBLAS, cuSOLVER, cuSPARSE, older cuDNN
    "CUFFT_ALLOC_FAILED",
    "HOST_ALLOCATION_FAILED",  # CUDNN_STATUS_INTERNAL_ERROR_..., cuDNN 9
    "DEVICE_ALLOCATION_FAILED",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
)
"""What RuntimeErrors say that stem from a lack of memory."""


def pick_device(name: Literal["auto", "cpu", "cuda"] = "auto") -> torch.device:
    """Return the device to train on; ``auto`` takes CUDA where it is available."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def device_name(device: torch.device) -> str:
    """Return the model of the device; unknown where it is on another machine."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device) if torch.cuda.is_available() else "unknown"
    return _cpu_model()


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 -- no file of the user's
            return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "cpu")
    except OSError:
        return "cpu"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Return the context of a forward pass in `precision`."""
    if precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def limit_memory(device: torch.device, share: float) -> None:
    """Let this process allocate at most `share` of a GPU's memory, so that runs on one GPU do not crowd each other out.

    What torch allocates is limited; the context of CUDA and of its libraries (some hundred MiB per process) is beside
    it. A share of 1 lifts the limit. On the CPU nothing is limited.

    Raises
    ------
    UsageError: the share is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise UsageError(f"memory_share={share}: not a share of a GPU's memory; give a number above 0 and up to 1")
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(share, device)


@contextmanager
def limited_memory(device: torch.device, share: float | None) -> Iterator[None]:
    """Limit a run's memory as `limit_memory` does, and lift the limit at its end; None sets none.

    What torch keeps in reserve for this process's next run is given back, as other processes may need it.
    """
    if share is not None:
        limit_memory(device, share)
    try:
        yield
    finally:
        if device.type == "cuda":
            if share is not None:
                limit_memory(device, 1.0)
            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether `error` stems from a lack of memory, of a GPU or the host: it, its causes, or what it came upon."""
    seen: dict[int, BaseException] = {}
    waiting: list[BaseException | None] = [error]
    while waiting:
        current = waiting.pop()
        if current is None or id(current) in seen:
            continue
        seen[id(current)] = current
        if _lacks_memory(current):
            return True
        waiting += [current.__cause__, current.__context__, *getattr(current, "exceptions", ())]
    return False


def _lacks_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)
