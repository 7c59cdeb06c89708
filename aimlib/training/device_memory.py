"""A run's share of a GPU's memory, and giving that memory back at the run's end."""

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
        torch.cuda.set_per_process_memory_fraction(float(share), indexed(device))


@contextmanager
def limited_memory(device: torch.device, share: float | None) -> Iterator[None]:
    """Limit a run's memory as `limit_memory` does, and lift the limit at its end; None sets none.

    At the end of a run on a GPU all of it is given back, as other processes may need it: the tensors of the run, which
    an exception holds through the variables of its traceback, and what torch keeps in reserve. Nothing else in this
    process may hold them by then. An exception that the device caused tells so (`aimlib.training.device_errors`);
    where the context is lost, nothing can be given back, and nothing is tried.
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
    """Return whether the context of CUDA is lost, having let the error tell what it says of the device."""
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
    gc.collect()  # a plugin's network may hold itself
    steps: list[Callable[[], Any]] = [_clear_workspaces, torch.cuda.empty_cache]
    if limited:
        steps.insert(0, lambda: limit_memory(device, 1.0))
    for step in steps:
        # A kernel that went wrong after the last value was read shows only here: the run is done, and whoever
        # uses the device next is told.
        with contextlib.suppress(RuntimeError):
            step()


def _clear_workspaces() -> None:
    """Free what cuBLAS was given to work in: 32 MiB for every stream that multiplied matrices."""
    clear = getattr(torch._C, "_cuda_clearCublasWorkspaces", None)
    if clear is not None:
        clear()
