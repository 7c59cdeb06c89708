"""What a study will cost, from a few timed steps of every arm on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ablations.arms import Arm, shape_of
from ablations.planning import Plan
from aimlib.datasets.base import DataSet, Images, ImageShape
from aimlib.training.devices import pick_device
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
    """

    step_seconds: float
    run_seconds: float
    runs: int


@dataclass(frozen=True)
class Cost:
    """Cost of a study on devices like the one that was timed.

    Attributes
    ----------
    arms : by name.
    device : what was timed.
    parallel : how many runs this machine computes at once.
    """

    arms: Mapping[str, ArmCost]
    device: str
    parallel: int

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
    costs = {
        arm.name: _arm_cost(arm, plan.data[arm.name], device, resources.cpus, len(plan.study.spec.seeds))
        for arm in plan.arms
    }
    return Cost(costs, device.type, max(1, parallel))


def _arm_cost(arm: Arm, data: DataSet, device: torch.device, threads: int, runs: int) -> ArmCost:
    training = arm.config.training
    timer = StepTimer(arm.config, noise(shape_of(arm.config), training.batch_size), device, threads)
    train_seconds, evaluate_seconds = timer.measure(_SECONDS)
    held_out = round(len(data.train.labels) * training.validation_fraction)
    steps = (len(data.train.labels) - held_out) / training.batch_size
    evaluated = (held_out + len(data.test.labels)) / training.batch_size
    epoch = steps * train_seconds + evaluated * evaluate_seconds
    return ArmCost(train_seconds, epoch * training.epochs, runs)


def noise(shape: ImageShape, batch_size: int) -> DataSet:
    """Return random images of a shape: enough for timing, no file needed."""
    generator = np.random.default_rng(0)
    count = max(2 * batch_size, 2 * shape.classes)
    pixels = generator.integers(0, 256, (count, shape.height, shape.width, shape.channels), dtype=np.uint8)
    labels = np.arange(count, dtype=np.int64) % shape.classes
    images = Images(pixels, labels, tuple(map(str, range(count))))
    return DataSet(images, images, tuple(map(str, range(shape.classes))), "0" * 20)
