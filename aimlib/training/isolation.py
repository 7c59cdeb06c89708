"""What of the process's global state a run depends on: set for the run, and put back afterwards.

Worker processes are used for many runs, with plugins of third parties among them. Covered is what can be read and
written back (`_settings`, `reproducible`). Not covered: replaced attributes of modules, hooks on all modules of torch,
threads and files left open, and memory; how MKL rounds where the process multiplied matrices before this module was
imported. Who needs more than this gives every run a process.
"""

from __future__ import annotations

import contextlib
import os
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import mtrand

# Without it MKL, which multiplies matrices for torch, rounds by where in memory they lie, from process to process and
# call to call (measured: in 14 of 24 processes, in the last bit). It is read at the first product.
os.environ.setdefault("MKL_CBWR", "AUTO")


class _Setting(NamedTuple):
    """Something global, how it is read and written, and its value in a run."""

    get: Callable[[], Any]
    put: Callable[[Any], Any]
    wanted: Any


@contextmanager
def reproducible(*, threads: int | None, tf32: bool) -> Iterator[None]:
    """Give a run the global state of a fresh process, with deterministic algorithms, and put the old one back.

    Covered: torch's threads, defaults (dtype, device), precision and determinism, backends, modes (grad, inference,
    autocast, anomaly, denormals) and generators; NumPy's and Python's generators, NumPy's treatment of errors;
    warning filters, environment, working directory. Generators are not seeded: see `aimlib.training.generators`.

    Parameters
    ----------
    threads : of the CPU; None leaves them as they are.
    tf32 : whether CUDA may round float32 products to TensorFloat-32.
    """
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        stack.callback(_restore_environment, dict(os.environ))
        with contextlib.suppress(OSError):  # the working directory may be gone
            stack.callback(os.chdir, Path.cwd())
        stack.enter_context(np.errstate(all="warn", under="ignore"))
        _keep_generators(stack)
        stack.enter_context(torch.inference_mode(mode=False))
        settings = (*_settings(threads), *_precision(tf32))
        for setting, before in [(setting, setting.get()) for setting in settings]:  # all are read before one is set
            stack.callback(setting.put, before)
            setting.put(setting.wanted)
        # Without it cuBLAS is not deterministic; it is read when CUDA is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        yield


def _keep_generators(stack: ExitStack) -> None:
    """Put the generators back at the end; NumPy draws from another one until then."""
    stack.callback(random.setstate, random.getstate())
    stack.callback(mtrand.set_bit_generator, mtrand.get_bit_generator())
    mtrand.set_bit_generator(np.random.MT19937(0))
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        stack.callback(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())
    stack.callback(torch.set_rng_state, torch.get_rng_state())


def _restore_environment(before: dict[str, str]) -> None:
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update({name: value for name, value in before.items() if os.environ.get(name) != value})


def _settings(threads: int | None) -> Iterator[_Setting]:
    """Yield what is one value each, but for precision."""
    # Warn only: CUDA has no deterministic backward of grid_sample; nothing differentiates through it here.
    yield _Setting(
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
        (True, True),
    )
    yield _Setting(torch.get_num_threads, torch.set_num_threads, threads or torch.get_num_threads())
    yield _Setting(torch.get_default_dtype, torch.set_default_dtype, torch.float32)
    yield _Setting(torch.get_default_device, _set_default_device, torch.device("cpu"))
    yield _Setting(torch.is_grad_enabled, torch.set_grad_enabled, True)
    yield _Setting(
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda value: torch.autograd.set_detect_anomaly(*value),
        (False, True),
    )
    yield _Setting(_flushes_denormals, torch.set_flush_denormal, False)
    yield _Setting(_autocast_nesting, _set_autocast_nesting, 0)
    yield _Setting(torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled, True)
    for kind in ("cpu", "cuda"):
        yield _autocast(kind)
    # Filling walks over every activation once more. Nothing reads what it would fill; a test compares.
    yield _flag(torch.utils.deterministic, "fill_uninitialized_memory", False)
    yield _flag(torch.backends.cudnn, "enabled", True)
    yield _flag(torch.backends.cudnn, "benchmark", False)
    yield _flag(torch.backends.cudnn, "deterministic", True)
    yield _flag(torch.backends.mkldnn, "enabled", True)
    yield _flag(torch.backends.mkldnn, "deterministic", False)
    if torch.backends.opt_einsum.is_available():
        yield _flag(torch.backends.opt_einsum, "enabled", True)
        yield _flag(torch.backends.opt_einsum, "strategy", "auto")
    cuda = torch.backends.cuda
    yield _Setting(cuda.flash_sdp_enabled, cuda.enable_flash_sdp, True)
    yield _Setting(cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp, True)
    yield _Setting(cuda.math_sdp_enabled, cuda.enable_math_sdp, True)
    yield _Setting(cuda.cudnn_sdp_enabled, cuda.enable_cudnn_sdp, True)


def _precision(tf32: bool) -> Iterator[_Setting]:
    """Yield how float32 products are rounded: by operation where this torch knows that, and by the older switches.

    Setting an older switch sets the newer ones, too, so at the start these come first, and last when all is put back.
    """
    backends: Any = torch.backends
    if hasattr(backends.cudnn, "conv"):
        yield _flag(backends, "fp32_precision", "none")
        owners = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)
        for owner in (*owners, backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn):
            yield _flag(owner, "fp32_precision", "none")
    yield _older(_Setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"))
    yield _older(_flag(backends.cuda.matmul, "allow_tf32", tf32))
    yield _older(_flag(backends.cudnn, "allow_tf32", tf32))


def _older(switch: _Setting) -> _Setting:
    """Return a switch that torch refuses to read while it contradicts the newer ones; it is not put back then."""

    def get() -> Any:
        try:
            return switch.get()
        except RuntimeError:
            return None

    return _Setting(get, lambda value: None if value is None else switch.put(value), switch.wanted)


def _flag(owner: Any, name: str, wanted: Any) -> _Setting:
    return _Setting(lambda: getattr(owner, name), lambda value: setattr(owner, name, value), wanted)


def _set_default_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)  # a set one slows every call of torch


def _flushes_denormals() -> bool:
    """Tell whether numbers below the normal range count as zero; torch has no call for it."""
    return bool(torch.full((1,), 1e-310, dtype=torch.float64, device="cpu").mul(0.5).eq(0))


def _autocast(kind: str) -> _Setting:
    def put(value: tuple[bool, torch.dtype]) -> None:
        torch.set_autocast_enabled(kind, value[0])
        torch.set_autocast_dtype(kind, value[1])

    usual = torch.bfloat16 if kind == "cpu" else torch.float16
    return _Setting(lambda: (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)), put, (False, usual))


def _autocast_nesting() -> int:
    """Return how many autocast contexts are open: weights cast in one are forgotten when the last one is left."""
    torch.autocast_increment_nesting()
    return int(torch.autocast_decrement_nesting())


def _set_autocast_nesting(wanted: int) -> None:
    torch.clear_autocast_cache()
    for _ in range(_autocast_nesting(), wanted):
        torch.autocast_increment_nesting()
    for _ in range(wanted, _autocast_nesting()):
        torch.autocast_decrement_nesting()
