"""The global state of the process on which a run depends: set for the run, and restored afterwards.

Worker processes compute many runs, possibly with plugins of third parties. The module covers what can be read
and written back (`_settings`, `reproducible`). It does not cover replaced attributes of modules, hooks on all modules
of torch, open threads and files, memory, or how MKL rounds if the process multiplied matrices before this module was
imported. For more isolation, give every run its own process.
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

# Without it MKL, which multiplies matrices for torch, rounds depending on their addresses, from process to process and
# call to call (measured: in 14 of 24 processes, in the last bit). It is read at the first product.
os.environ.setdefault("MKL_CBWR", "AUTO")


@contextmanager
def reproducible(*, threads: int | None, tf32: bool) -> Iterator[None]:
    """Give a run the global state of a fresh process, with deterministic algorithms, and restore the old one.

    Covered: torch's threads, defaults (dtype, device), precision and determinism, backends, modes (grad, inference,
    autocast, anomaly, denormals) and generators; NumPy's and Python's generators, NumPy's treatment of errors;
    warning filters, environment, working directory. Generators are not seeded: see `aimlib.training.rng_state`.

    Parameters
    ----------
    threads : number of CPU threads; None leaves it unchanged.
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
        for setting, before in [(setting, setting.get()) for setting in settings]:  # all are read before one is set
            stack.callback(setting.put, before)
            setting.put(setting.wanted)
        # Without it cuBLAS is not deterministic; it is read when CUDA is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        yield


def _keep_generators(stack: ExitStack) -> None:
    """Restore the generators at the end; NumPy draws from another one until then."""
    stack.callback(random.setstate, random.getstate())
    stack.callback(mtrand.set_bit_generator, mtrand.get_bit_generator())
    mtrand.set_bit_generator(np.random.MT19937(0))
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        stack.push(_put_back_on_gpus(torch.cuda.get_rng_state_all()))
    stack.callback(torch.set_rng_state, torch.get_rng_state())


def _put_back_on_gpus(states: list[torch.Tensor]) -> Callable[..., None]:
    """Return a function that restores the generators of all GPUs.

    If their context is lost, the original error is passed on.
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
    """Yield the settings that are single values, except those of `aimlib.training.library_settings`."""
    # Warn only: CUDA has no deterministic backward of grid_sample; nothing differentiates through it here.
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
    # Filling is one more pass over every activation. Nothing reads the filled values; a test compares.
    yield flag(torch.utils.deterministic, "fill_uninitialized_memory", False)


def _default_device() -> torch.device:
    try:
        return torch.get_default_device()
    except AttributeError:  # of torch 2.7 and 2.8, once a default was set to None
        return torch.empty(0).device


def _set_default_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)  # setting one slows down every call of torch


def _flushes_denormals() -> bool:
    """Return whether numbers below the normal range count as zero; torch has no call for it."""
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
