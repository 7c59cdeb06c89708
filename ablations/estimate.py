"""What a study will cost, from a few timed steps of every arm on this machine."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ablations.arms import Arm, shape_of
from ablations.planning import Plan
from aimlib.datasets.base import DataSet, Images, ImageShape
from aimlib.training.devices import pick_device
from aimlib.training.footprint import runs_per_device
from aimlib.training.timing import StepTimer

_SECONDS = 6.0
"""Time after which no further step of an arm is timed."""


@dataclass(frozen=True)
class ArmCost:
    """Cost of one arm.

    Attributes
    ----------
    step_seconds : one training step (a batch), median of the timed ones.
    run_seconds : one run: all epochs, evaluations included, without start-up.
    runs : number of runs.
    peak_bytes : memory of one run at its peak, on the device; None where it was not measured: see
        `aimlib.training.footprint`.
    """

    step_seconds: float
    run_seconds: float
    runs: int
    peak_bytes: int | None = None


@dataclass(frozen=True)
class Cost:
    """Cost of a study on devices like the one that was timed.

    Attributes
    ----------
    arms : by name.
    device : what was timed.
    parallel : how many runs this machine computes at once.
    total_bytes : memory of the device that was timed.
    """

    arms: Mapping[str, ArmCost]
    device: str
    parallel: int
    total_bytes: int = 0

    @property
    def device_hours(self) -> float:
        """Hours of one device for all runs, one after the other."""
        return sum(cost.run_seconds * cost.runs for cost in self.arms.values()) / 3600

    @property
    def wall_seconds(self) -> float:
        """Time until the study is done on this machine, with as many runs at once as fit."""
        return self.device_hours * 3600 / self.parallel


def estimate(plan: Plan, parallel: int) -> Cost:
    """Time the arms of a study and return what it costs.

    Parameters
    ----------
    parallel : how many runs are computed at once.
    """
    resources = plan.study.spec.resources
    wanted = "cuda" if resources.gpus > 0 and resources.device == "auto" else resources.device
    device = pick_device("cpu" if wanted == "auto" or not torch.cuda.is_available() else wanted)
    costs = {arm.name: _arm_cost(arm, plan.data[arm.name], device, len(plan.study.spec.seeds)) for arm in plan.arms}
    return Cost(costs, device.type, max(1, parallel), _memory_of(device))


def _memory_of(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def packing(cost: Cost, shares: Mapping[str, float]) -> list[str]:
    """Return notes on how many runs of each arm a device holds by their memory, where its share says otherwise.

    Parameters
    ----------
    shares : GPUs that a run of each arm is given.
    """
    notes = []
    for arm, found in cost.arms.items():
        if found.peak_bytes is None:
            continue
        if cost.device == "cpu":
            together = cost.parallel * found.peak_bytes
            if together > cost.total_bytes:
                notes.append(
                    f"arms.{arm}: {cost.parallel} runs at once take {together / 1e9:.1f} GB, and this machine has "
                    f"{cost.total_bytes / 1e9:.1f}; give a run more CPUs (resources.cpus), so that fewer run at once"
                )
            continue
        fitting, asked = runs_per_device(found.peak_bytes + _CONTEXT_BYTES, cost.total_bytes), shares[arm]
        size = f"arms.{arm}: a run takes {found.peak_bytes / 1e9:.2f} GB of {cost.total_bytes / 1e9:.1f} at its peak"
        if fitting == 0:
            notes.append(f"{size}: it does not fit; lower training.batch_size")
        elif 0 < asked <= 1 and fitting != int(1 / asked + 1e-9):
            best = "1" if fitting == 1 else f"{math.floor(1000 / fitting) / 1000:g}"
            notes.append(f"{size}: {fitting} fit on one GPU by their memory: arms.{arm}.resources: {{gpus: {best}}}")
    return notes


_CONTEXT_BYTES = 500 * 2**20
"""What CUDA takes of a GPU for every process, beside torch's allocations."""
_QUICK = 0.5
"""Seconds of a step above which its memory is not measured on a CPU, where accounting for it takes several steps."""


def _arm_cost(arm: Arm, data: DataSet, device: torch.device, runs: int) -> ArmCost:
    training = arm.config.training
    timer = StepTimer(arm.config, noise(shape_of(arm.config), training.batch_size), device, arm.resources.cpus)
    train_seconds, evaluate_seconds = timer.measure(_SECONDS)
    footprint = timer.memory() if device.type == "cuda" or train_seconds < _QUICK else None
    peak = None if footprint is None else footprint.reserved or footprint.allocated
    held_out = round(len(data.train.labels) * training.validation_fraction)
    steps = (len(data.train.labels) - held_out) / training.batch_size
    evaluated = (held_out + len(data.test.labels)) / training.batch_size
    epoch = steps * train_seconds + evaluated * evaluate_seconds
    return ArmCost(train_seconds, epoch * training.epochs, runs, peak)


def noise(shape: ImageShape, batch_size: int) -> DataSet:
    """Return random images of a shape: enough for timing, no file needed."""
    generator = np.random.default_rng(0)
    count = max(2 * batch_size, 2 * shape.classes)
    pixels = generator.integers(0, 256, (count, shape.height, shape.width, shape.channels), dtype=np.uint8)
    labels = np.arange(count, dtype=np.int64) % shape.classes
    images = Images(pixels, labels, tuple(map(str, range(count))))
    return DataSet(images, images, tuple(map(str, range(shape.classes))), "0" * 20)
