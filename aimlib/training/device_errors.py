"""GPU failures: which errors are GPU failures, who caused them, and whether the process can continue.

After most device errors, the CUDA context is lost: every further call fails with the same error, and only a different
process can use the device again. Running out of memory leaves the context intact.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch

from aimlib.errors import text_of

Kind = Literal["out_of_memory", "device_error", "device_assert"]
"""out_of_memory: the GPU's memory, or the process's share of it, was too small. device_error: the device, its driver or
the connection between them failed. device_assert: an assertion within a kernel failed, for example because a label is
out of range; the user's code is at fault, but the context is also lost."""


@dataclass(frozen=True)
class DeviceFailure:
    """What an error means for the device.

    Attributes
    ----------
    held_by_others : whether the device ran out of memory because of other processes, although this process had not
        used up its share.
    """

    kind: Kind
    held_by_others: bool = False

    @property
    def blame(self) -> Literal["device", "user"]:
        """Who caused the failure. Running out of memory is the user's fault, unless other processes used the memory."""
        if self.kind == "out_of_memory":
            return "device" if self.held_by_others else "user"
        return "device" if self.kind == "device_error" else "user"

    @property
    def context_lost(self) -> bool:
        """Whether this process can no longer use CUDA."""
        return self.kind != "out_of_memory"


_CONTEXT_BYTES = 2**30
"""Maximum number of bytes that CUDA and its libraries use per process in addition to torch's allocations; they usually
use half as much."""
_LITTLE_BYTES, _LITTLE_SHARE = 2**30, 0.05
"""Free memory counts as scarce if it is below this number of bytes, or below this share of the device if that is more.
CUDA's libraries request a few hundred MiB in a single call, and more on large devices."""

_OUT_OF_MEMORY_CODE, _ASSERT_CODE = 2, 710
_DEVICE_CODES = frozenset(
    {
        *(
            3,
            34,
            35,
            36,
            46,
            53,
            100,
            102,
            201,
            209,
            214,
            220,
            226,
            304,
            700,
            702,
            709,
            714,
            715,
            716,
            717,
            718,
            719,
            721,
        ),
        *(802, 803, 804, 805, 806, 807, 808, 809, 810, 911, 999),
    }
)
"""Values of ``cudaError_t``; a test compares them with the messages below, which are CUDA's own."""

_OUT_OF_MEMORY = re.compile(
    r"out of memory"  # CUDA's and HIP's allocator; the driver
    r"|_STATUS_ALLOC_FAILED"  # cuBLAS, cuSOLVER, cuSPARSE, older cuDNN
    r"|CUFFT_ALLOC_FAILED"
    r"|DEVICE_ALLOCATION_FAILED"  # CUDNN_STATUS_INTERNAL_ERROR_..., cuDNN 9
)
_PERHAPS_OUT_OF_MEMORY = re.compile(
    r"unable to find an engine to execute this computation"  # torch: "GET was unable", "FIND was unable"
    r"|Unable to find a valid cuDNN algorithm"
    r"|(CUDNN|CUBLAS|CUSOLVER|CUSPARSE)_STATUS_(NOT_INITIALIZED|INTERNAL_ERROR|MAPPING_ERROR|INSUFFICIENT_RESOURCES)"
    r"|CUDNN_STATUS_NOT_SUPPORTED"
    r"|CUFFT_(INTERNAL_ERROR|SETUP_FAILED|EXEC_FAILED)"
)
_ASSERT = re.compile(r"device-side assert triggered")
_DEVICE = re.compile(
    r"uncorrectable (ECC|NVLink)|illegal memory access|misaligned address|unspecified launch failure"
    r"|the launch timed out|illegal instruction|hardware stack error|invalid program counter"
    r"|not supported on global/shared address space|context is destroyed|invalid device context"
    r"|peer GPU memory over nvlink|tensor memory not completely freed|busy or unavailable|OS call failed"
    r"|no CUDA-capable device|driver version is insufficient|driver is a stub"
    r"|not supported in the installed CUDA driver|no kernel image is available|valid Grid license"
    r"|initialization error|system not yet initialized|unsupported display driver|forward compatibility was attempted"
    r"|\bMPS (client|server)|resources required to (support|create)|external entity outside of CUDA"
    r"|(CUDA error: |CUDA )unknown error|GPU is lost"
    # torch's own checks, before any CUDA call
    r"|No CUDA GPUs are available|Found no NVIDIA driver|NVIDIA driver on your system is too old"
    r"|CUDA driver initialization failed|Unexpected error from cudaGetDeviceCount",
    re.IGNORECASE,
)
_OF_CUDA = re.compile(r"cuda|nvidia|triton|hip error", re.IGNORECASE)
_WITH_CODE: Any = getattr(torch, "AcceleratorError", ())  # from torch 2.8
_WITHOUT_CUDA = "Torch not compiled with CUDA enabled"


def diagnose(
    error: BaseException, device: torch.device, share: float | None = None, refusals: int = 0
) -> DeviceFailure | None:
    """Return what an error, with its causes and contexts, means for the device; None if it is not a device failure.

    Call this before memory is released: some errors count as out of memory only if little memory was left.

    Parameters
    ----------
    device : the run's device; on a CPU, no error is a device error.
    share : share of the device's memory that the process may use; None: all of it.
    refusals : the value that `refusals` returned before the run.
    """
    if device.type != "cuda":
        return None
    kinds = {_kind(each) for each in links(error)}
    for lost in ("device_assert", "device_error"):
        if lost in kinds:
            return DeviceFailure(lost)
    if "out_of_memory" not in kinds:
        pending = _pending(device)
        if pending in ("device_assert", "device_error"):
            return DeviceFailure(pending)
        if "perhaps" not in kinds or not (_refusals(device) > refusals or _is_scarce(device, share)):
            return None
    return DeviceFailure("out_of_memory", _is_held_by_others(device, share))


def links(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, its causes and contexts, and the members of any exception groups among them, each only once."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        current = waiting.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += [current.__cause__, current.__context__, *getattr(current, "exceptions", ())]


def _kind(error: BaseException) -> Kind | Literal["perhaps"] | None:
    """Return the kind of a single error; `perhaps` means out of memory if little memory is left."""
    text, code = text_of(error), getattr(error, "error_code", None)
    if isinstance(error, torch.OutOfMemoryError):
        return "out_of_memory"
    if isinstance(error, _WITH_CODE) and code is not None:
        return _kind_of_code(code)
    if isinstance(error, (RuntimeError, torch.cuda.DeferredCudaCallError)):
        return _kind_of_text(text)
    return "device_error" if isinstance(error, AssertionError) and text == _WITHOUT_CUDA else None


def _kind_of_code(code: int) -> Kind | None:
    if code == _ASSERT_CODE:
        return "device_assert"
    if code in _DEVICE_CODES:
        return "device_error"
    return "out_of_memory" if code == _OUT_OF_MEMORY_CODE else None


def _kind_of_text(text: str) -> Kind | Literal["perhaps"] | None:
    if "HOST_ALLOCATION_FAILED" in text or "DefaultCPUAllocator" in text:
        return None
    if _OF_CUDA.search(text):
        if _ASSERT.search(text):
            return "device_assert"
        if _DEVICE.search(text):
            return "device_error"
    if _OUT_OF_MEMORY.search(text):
        return "out_of_memory"
    return "perhaps" if _PERHAPS_OUT_OF_MEMORY.search(text) else None


def _pending(device: torch.device) -> Kind | Literal["perhaps"] | None:
    """Wait for the device, and return the kind of its pending error, if any: errors in kernels are reported late."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return None
    try:
        torch.cuda.synchronize(device)
    except (RuntimeError, AssertionError) as error:
        return _kind(error)
    return None


def refusals(device: torch.device) -> int:
    """Return how often torch's allocator has refused memory in this process."""
    return _refusals(device) if device.type == "cuda" else 0


def _refusals(device: torch.device) -> int:
    with contextlib.suppress(RuntimeError, AssertionError):
        return int(torch.cuda.memory_stats(device).get("num_ooms", 0))
    return 0


def _memory(device: torch.device) -> tuple[int, int] | None:
    """Return the device's free and total memory in bytes; None if the device does not respond."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return None
    with contextlib.suppress(RuntimeError, AssertionError):
        free, total = torch.cuda.mem_get_info(device)
        return int(free), int(total)
    return None


def _reserved(device: torch.device) -> int:
    with contextlib.suppress(RuntimeError, AssertionError):
        return int(torch.cuda.memory_reserved(device))
    return 0


def _little(total: int) -> int:
    return max(_LITTLE_BYTES, int(_LITTLE_SHARE * total))


def _is_scarce(device: torch.device, share: float | None) -> bool:
    """Return whether little memory is free or little of the share is left."""
    found = _memory(device)
    if found is None:
        return False
    free, total = found
    return min(free, int((share or 1.0) * total) - _reserved(device)) < _little(total)


def _is_held_by_others(device: torch.device, share: float | None) -> bool:
    found, reserved = _memory(device), _reserved(device)
    if found is None:
        return reserved == 0  # there was not even room for a context
    free, total = found
    others = total - free - reserved - _CONTEXT_BYTES
    return others > _LITTLE_SHARE * total and free < int((share or 1.0) * total) - reserved


def attach(error: BaseException, failure: DeviceFailure) -> None:
    """Attach a failure to an error, so that `failure_of` can find it."""
    with contextlib.suppress(AttributeError, TypeError):
        error._device_failure = failure  # type: ignore[attr-defined]


def failure_of(error: BaseException) -> DeviceFailure | None:
    """Return the failure attached to an error or to one of its causes."""
    for each in links(error):
        found = getattr(each, "_device_failure", None)
        if isinstance(found, DeviceFailure):
            return found
    return None


def keep_for_ever(error: BaseException) -> None:
    """Keep an error and the run's tensors, which its traceback references, until the process ends.

    If the context is lost, freeing a tensor that was used on two streams aborts the process, because torch fails to
    record an event within a destructor. The process must be replaced, but it must report the reason first.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(error))
