"""A run's share of a GPU's memory, and releasing that memory at the end of the run."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from aimlib.errors import UsageError
from aimlib.training import device_errors
from aimlib.training.devices import indexed
from aimlib.training.tracebacks import forget_locals


def limit_memory(device: torch.device, share: float) -> None:
    """Limit this process to `share` of a GPU's memory, so that runs on one GPU leave room for each other.

    The limit applies to torch's allocations; the context of CUDA and its libraries (some hundred MiB per process) is
    not included. A share of 1 removes the limit. On the CPU nothing is limited.

    Raises
    ------
    UsageError: the share is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise UsageError(f"memory_share={share}: not a share of a GPU's memory; give a number above 0 and at most 1")
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(float(share), indexed(device))


@contextmanager
def limited_memory(device: torch.device, share: float | None) -> Iterator[None]:
    """Limit a run's memory as `limit_memory` does, and remove the limit at its end; None sets no limit.

    At the end of a run on a GPU all memory is released, because other processes may need it: the tensors of the run,
    which an exception references through the variables of its traceback, and torch's reserve. Nothing else in this
    process may reference them by then. An exception that the device caused is marked as such
    (`aimlib.training.device_errors`); if the context is lost, nothing can be released, and nothing is tried.
    """
    lost, refusals = False, device_errors.refusals(device)
    try:
        if share is not None:
            limit_memory(device, share)
        if device.type == "cuda":
            torch.cuda.init()  # type: ignore[no-untyped-call]  # some of torch's functions refuse devices until then
        yield
    except BaseException as error:
        if device.type == "cuda":
            lost = _is_lost(error, device, share, refusals)
            if not lost:
                forget_locals(error)
        raise
    finally:
        if device.type == "cuda" and not lost:
            _give_back(device, limited=share is not None)


def _is_lost(error: BaseException, device: torch.device, share: float | None, refusals: int) -> bool:
    """Return whether the CUDA context is lost, after attaching to the error what it means for the device."""
    failure = device_errors.diagnose(error, device, share, refusals) if isinstance(error, Exception) else None
    if failure is None:
        return False
    device_errors.attach(error, failure)
    if failure.context_lost:
        device_errors.keep_for_ever(error)
    return failure.context_lost


def _give_back(device: torch.device, *, limited: bool) -> None:
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return
    gc.collect()  # a plugin's network may reference itself
    steps: list[Callable[[], Any]] = [_clear_workspaces, torch.cuda.empty_cache]
    if limited:
        steps.insert(0, lambda: limit_memory(device, 1.0))
    for step in steps:
        # A kernel that failed after the last value was read is noticed only here: the run is done, and the next
        # user of the device is warned.
        with contextlib.suppress(RuntimeError):
            step()


def _clear_workspaces() -> None:
    """Free the workspaces of cuBLAS: 32 MiB for every stream that multiplied matrices."""
    clear = getattr(torch._C, "_cuda_clearCublasWorkspaces", None)
    if clear is not None:
        clear()
