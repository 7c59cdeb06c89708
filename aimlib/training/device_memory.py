"""Limit a run to a share of a GPU's memory, and release that memory at the end of the run."""

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

    The limit applies to torch's allocations; it does not include the CUDA context and libraries (a few hundred MiB per
    process). A share of 1 removes the limit. On the CPU, there is no limit.

    Raises
    ------
    UsageError: the share is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise UsageError(
            f"memory_share={share}: not a share of a GPU's memory; use a number greater than 0 and at most 1"
        )
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(float(share), indexed(device))


@contextmanager
def limited_memory(device: torch.device, share: float | None) -> Iterator[None]:
    """Limit a run's GPU memory as `limit_memory` does, and remove the limit at the end of the run; None: no limit.

    At the end of a run on a GPU, all memory is released, because other processes may need it. This includes torch's
    reserve, and the run's tensors, which an exception references through the variables in its traceback. Nothing else
    in this process may reference the tensors at that time. An exception that the device caused is marked as such
    (`aimlib.training.device_errors`). If the context is lost, nothing can be released, so no attempt is made.
    """
    lost, refusals = False, device_errors.refusals(device)
    try:
        if share is not None:
            limit_memory(device, share)
        if device.type == "cuda":
            torch.cuda.init()  # type: ignore[no-untyped-call]  # some torch functions fail before
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
    """Attach the device failure, if any, to the error, and return whether the CUDA context is lost."""
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
        # If a kernel failed after the last value was read, the failure is noticed only here. It is ignored, because the
        # run is done; the next use of the device in this process raises it again.
        with contextlib.suppress(RuntimeError):
            step()


def _clear_workspaces() -> None:
    """Free cuBLAS's workspaces: 32 MiB for every stream that has multiplied matrices."""
    clear = getattr(torch._C, "_cuda_clearCublasWorkspaces", None)
    if clear is not None:
        clear()
