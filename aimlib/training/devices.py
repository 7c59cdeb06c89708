"""What of torch's global state a run depends on, set for the run and put back afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import numpy as np
import torch


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


@contextmanager
def reproducible(*, threads: int | None, tf32: bool) -> Iterator[None]:
    """Set threads, deterministic algorithms and TF32 for a run; restore these and the generators when it ends.

    Worker processes are used for many runs, so nothing may leak from one to the next.
    """
    before = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
    )
    generator, numpy, python = torch.get_rng_state(), np.random.get_state(), random.getstate()
    if threads is not None:
        torch.set_num_threads(threads)
    # Warn only: CUDA has no deterministic backward of grid_sample; nothing differentiates through it here.
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.set_rng_state(generator)
        np.random.set_state(numpy)
        random.setstate(python)
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1], warn_only=before[2])
        torch.backends.cudnn.benchmark = before[3]
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before[4], before[5]


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Return the context of a forward pass in `precision`."""
    if precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
