"""The global process state on which a run depends: it is set for the run and restored afterwards.

Worker processes compute many runs, possibly with third-party plugins. This module covers everything that can be read
and written back (`_settings`, `reproducible`). It does not cover replaced module attributes, global hooks on torch
modules, open threads and files, or RAM. Nor does it cover rounding in MKL if the process multiplied matrices before
this module was imported. For more isolation, compute every run in its own process.
"""

from __future__ import annotations

import contextlib
import os
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from numpy.random import mtrand

from aimlib.training.library_settings import Setting, flag, kernel_settings, precision_settings

# Without this variable, rounding in MKL, which multiplies matrices for torch, depends on the matrices' addresses, and
# differs between processes and calls (measured: in 14 of 24 processes, in the last bit). MKL reads the variable when it
# computes its first product.
os.environ.setdefault("MKL_CBWR", "AUTO")


@contextmanager
def reproducible(*, threads: int | None, tf32: bool) -> Iterator[None]:
    """Set the global state for a run to that of a fresh process with deterministic algorithms; restore it afterwards.

    This covers torch's threads, defaults (dtype, device), precision and determinism, backends, modes (grad, inference,
    autocast, anomaly, denormals) and generators; NumPy's and Python's generators, and NumPy's error handling; and the
    warning filters, the environment and the working directory. Generators are not seeded: see
    `aimlib.training.rng_state`.

    Parameters
    ----------
    threads : number of CPU threads; None leaves the number unchanged.
    tf32 : whether CUDA may round float32 products to TensorFloat-32.
    """
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        stack.callback(_restore_environment, dict(os.environ))
        with contextlib.suppress(OSError):  # the working directory may have been removed
            stack.callback(os.chdir, Path.cwd())
        stack.enter_context(np.errstate(all="warn", under="ignore"))
        _keep_generators(stack)
        stack.enter_context(torch.inference_mode(mode=False))
        settings = (*_settings(threads), *kernel_settings(), *precision_settings(tf32))
        for setting, before in [(setting, setting.get()) for setting in settings]:  # read all before changing any
            stack.callback(setting.put, before)
            setting.put(setting.wanted)
        # Without this variable, cuBLAS is not deterministic; cuBLAS reads the variable when CUDA is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        yield


def _keep_generators(stack: ExitStack) -> None:
    """Restore the generators at the end; until then, NumPy draws from a different generator."""
    stack.callback(random.setstate, random.getstate())
    stack.callback(mtrand.set_bit_generator, mtrand.get_bit_generator())
    mtrand.set_bit_generator(np.random.MT19937(0))
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        stack.push(_put_back_on_gpus(torch.cuda.get_rng_state_all()))
    stack.callback(torch.set_rng_state, torch.get_rng_state())


def _put_back_on_gpus(states: list[torch.Tensor]) -> Callable[..., None]:
    """Return a function that restores all GPUs' generators.

    If the GPUs' context is lost, the original error is raised.
    """

    def leave(_kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None) -> None:
        try:
            torch.cuda.set_rng_state_all(states)
        except RuntimeError:
            if error is None:
                raise

    return leave


def _restore_environment(before: dict[str, str]) -> None:
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update({name: value for name, value in before.items() if os.environ.get(name) != value})


def _settings(threads: int | None) -> Iterator[Setting]:
    """Yield the settings that are single values, except those in `aimlib.training.library_settings`."""
    # Only warn: CUDA has no deterministic backward pass for grid_sample, but nothing differentiates through it here.
    yield Setting(
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
        (True, True),
    )
    yield Setting(torch.get_num_threads, torch.set_num_threads, threads or torch.get_num_threads())
    yield Setting(torch.get_default_dtype, torch.set_default_dtype, torch.float32)
    yield Setting(_default_device, _set_default_device, torch.device("cpu"))
    yield Setting(torch.is_grad_enabled, torch.set_grad_enabled, True)
    yield Setting(
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda value: torch.autograd.set_detect_anomaly(*value),
        (False, True),
    )
    yield Setting(_flushes_denormals, torch.set_flush_denormal, False)
    yield Setting(_autocast_nesting, _set_autocast_nesting, 0)
    yield Setting(torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled, True)
    for kind in ("cpu", "cuda"):
        yield _autocast(kind)
    # Filling would be an additional pass over every activation. Nothing reads the filled values; a test checks this.
    yield flag(torch.utils.deterministic, "fill_uninitialized_memory", False)


def _default_device() -> torch.device:
    try:
        return torch.get_default_device()
    except AttributeError:  # in torch 2.7 and 2.8, once a default was set to None
        return torch.empty(0).device


def _set_default_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)  # setting a default slows down every torch call


def _flushes_denormals() -> bool:
    """Return whether numbers below the normal range count as zero; torch has no function for this."""
    return bool(torch.full((1,), 1e-310, dtype=torch.float64, device="cpu").mul(0.5).eq(0))


def _autocast(kind: str) -> Setting:
    def put(value: tuple[bool, torch.dtype]) -> None:
        torch.set_autocast_enabled(kind, value[0])
        torch.set_autocast_dtype(kind, value[1])

    usual = torch.bfloat16 if kind == "cpu" else torch.float16
    return Setting(lambda: (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)), put, (False, usual))


def _autocast_nesting() -> int:
    """Return the number of open autocast contexts: cast weights are discarded when the last one closes."""
    torch.autocast_increment_nesting()
    return int(torch.autocast_decrement_nesting())


def _set_autocast_nesting(wanted: int) -> None:
    torch.clear_autocast_cache()
    for _ in range(_autocast_nesting(), wanted):
        torch.autocast_increment_nesting()
    for _ in range(wanted, _autocast_nesting()):
        torch.autocast_decrement_nesting()
