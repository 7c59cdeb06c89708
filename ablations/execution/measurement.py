"""Cost of a run on a device: seconds per step and peak memory in bytes, sent and stored as JSON."""

from __future__ import annotations

import contextlib
import gc
import os
import platform
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field

import aimlib
from ablations.execution import host_memory
from aimlib.component import Frozen
from aimlib.config import RunConfig
from aimlib.datasets.base import DataSet, Images, ImageShape
from aimlib.registry import datasets
from aimlib.training.devices import device_name, pick_device
from aimlib.training.timing import StepTimer

SECONDS = 6.0
"""Time limit in seconds for timing an arm's steps."""
CONTEXT_BYTES = 500 * 2**20
"""Memory that CUDA is assumed to use per process beyond torch's allocations, if it cannot be measured."""
_QUICK = 0.5
"""Seconds per step above which the memory of a run on a CPU is not measured, because the measurement takes several
steps."""


Bytes = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


class Measurement(Frozen):
    """Cost of one arm's run on one kind of device."""

    device: Literal["cpu", "cuda"]
    device_name: str
    """Model name of the device."""
    total_bytes: Bytes
    """Total memory of the device."""
    step_seconds: Seconds
    """Seconds per training step (one batch), the median of the timed steps."""
    evaluation_seconds: Seconds
    """Seconds per evaluation batch."""
    peak_bytes: Bytes | None = None
    """Peak memory of the run, excluding the images; None if it was not measured. See
    `aimlib.training.footprint`."""
    host_bytes: Bytes | None = None
    """Peak host memory of the process, excluding shared libraries and the images; None if it was not measured."""
    context_bytes: Bytes = 0
    """Additional memory that the process uses on a GPU; 0 on a CPU."""


class Meter:
    """Measures arms on one device, one after another. Create the meter before anything else uses that device.

    Parameters
    ----------
    device : device that a run would choose.
    """

    def __init__(self, device: Literal["cpu", "cuda"]) -> None:
        self.device = pick_device(device)
        self._used_before = _used_by_others(self.device)

    def measure(self, config: RunConfig, threads: int, seconds: float = SECONDS) -> Measurement:
        """Time some of an arm's steps on random images, and measure their memory; the trained weights are discarded.

        Parameters
        ----------
        threads : number of CPU threads.
        seconds : time after which no further steps start.
        """
        host_memory.begin_peak()
        shape: ImageShape = datasets.create(config.data).shape()
        timer = StepTimer(config, noise(shape, config.training.batch_size), self.device, threads)
        step_seconds, evaluation_seconds = timer.measure(seconds)
        host_bytes = host_memory.private_peak()  # read before the profiler uses memory
        on_gpu = self.device.type == "cuda"
        footprint = timer.memory() if on_gpu or step_seconds < _QUICK else None
        del timer
        gc.collect()  # this arm's memory must not affect the measurement of the next arm
        return Measurement(
            device="cuda" if on_gpu else "cpu",
            device_name=device_name(self.device),
            total_bytes=memory_of(self.device),
            step_seconds=step_seconds,
            evaluation_seconds=evaluation_seconds,
            peak_bytes=None if footprint is None else footprint.reserved or footprint.allocated,
            host_bytes=host_bytes,
            context_bytes=self._context_bytes() if on_gpu else 0,
        )

    def _context_bytes(self) -> int:
        """Return the GPU memory that this process uses beyond torch's allocations, in bytes."""
        if self._used_before is None:
            return CONTEXT_BYTES
        free, total = torch.cuda.mem_get_info(self.device)
        return max(0, total - free - torch.cuda.memory_reserved(self.device) - self._used_before)


def _used_by_others(device: torch.device) -> int | None:
    """Return the amount of GPU memory in use before this process uses the GPU; None if it is too late to measure."""
    if device.type != "cuda" or torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return None
    with contextlib.suppress(Exception):  # NVML is not installed, or reports an error that does not matter here
        return int(torch.cuda.device_memory_used(device.index or 0))
    return None


def memory_of(device: torch.device) -> int:
    """Return the memory of a device in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def noise(shape: ImageShape, batch_size: int) -> DataSet:
    """Return random images of a given shape, which are sufficient for timing and do not need files."""
    generator = np.random.default_rng(0)
    count = max(2 * batch_size, 2 * shape.classes)
    pixels = generator.integers(0, 256, (count, shape.height, shape.width, shape.channels), dtype=np.uint8)
    labels = np.arange(count, dtype=np.int64) % shape.classes
    images = Images(pixels, labels, tuple(map(str, range(count))))
    return DataSet(images, images, tuple(map(str, range(shape.classes))), "0" * 20)


def versions() -> dict[str, str]:
    """Return the versions that affect a measurement."""
    return {"aim-ablations": aimlib.__version__, "torch": torch.__version__, "python": platform.python_version()}
