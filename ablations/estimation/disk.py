"""Disk use of a study: bytes of checkpoints and predictions, and whether all runs can save their state in time."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ablations.planning.arms import Arm
from ablations.planning.plan import Plan, summary_of
from aimlib.component import ComponentConfig
from aimlib.errors import counted
from aimlib.paths import Place
from aimlib.registry import optimizers
from aimlib.training.own.config import OwnRunConfig
from analysis.wording.number_format import significant

_BLOCK = os.urandom(4 * 2**20)
"""Amount of incompressible data written to measure the write rate."""
_SECONDS = 0.4
"""Maximum duration of the measurement of the write rate."""
_QUIET = 64 * 2**20
"""Number of bytes that any storage can save in time, so no measurement is needed."""


@dataclass(frozen=True)
class Disk:
    """Disk use of a study.

    Attributes
    ----------
    checkpoints : size of a checkpoint in bytes, by arm.
    parallel : number of concurrent runs, or None if unknown.
    predictions : bytes of the predictions of all runs before compression; the largest part of the results.
    """

    checkpoints: Mapping[str, int]
    parallel: int | None
    predictions: int

    @property
    def at_once(self) -> int | None:
        """Bytes of checkpoints if all concurrent runs belong to the arm with the largest checkpoints."""
        return None if self.parallel is None else self.parallel * max(self.checkpoints.values())


def disk(plan: Plan, parallel: int | None) -> Disk:
    """Return the disk use of a study, computed without any measurement.

    Parameters
    ----------
    parallel : number of concurrent runs, or None if unknown.
    """
    images = {arm.name: len(plan.data[arm.name].test.labels) for arm in plan.arms}
    checkpoints = {arm.name: checkpoint_bytes(arm, images[arm.name]) for arm in plan.arms}
    predictions = sum(arm.config.training.epochs * images[arm.name] for arm in plan.arms)
    return Disk(checkpoints, parallel, predictions * len(plan.study.spec.seeds))


def checkpoint_bytes(arm: Arm, test_images: int) -> int:
    """Return the size of a run's last checkpoint in bytes: parameters, buffers, optimizer state and predictions.

    The result is 0 for a study's own training code, because the size of its checkpoints is unknown.
    """
    if isinstance(arm.config, OwnRunConfig):
        return 0  # the user's own training code decides what to save
    network = summary_of(arm)
    predictions = arm.config.training.epochs * test_images
    return network.weight_bytes + round(network.trained_bytes * moments(arm.config.training.optimizer)) + predictions


def moments(config: ComponentConfig) -> float:
    """Return how many state values per parameter an optimizer keeps: 2 for Adam, 1 for SGD with momentum.

    The number is determined by running one step.
    """
    parameter = nn.Parameter(torch.ones(16, 16))
    optimizer = optimizers.create(config).build([{"params": [parameter], "lr_scale": 1.0}])
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    kept = [value for value in optimizer.state[parameter].values() if isinstance(value, torch.Tensor)]
    return sum(tensor.numel() for tensor in kept if tensor.numel() > 1) / parameter.numel()


def write_rate(place: Path) -> float:
    """Return the rate, in bytes per second, at which data is synced to the file system that contains a folder.

    The measurement takes half a second and does not leave a file behind. The folder itself does not need to exist.
    """
    folder = next(parent for parent in (place.absolute(), *place.absolute().parents) if parent.is_dir())
    written, began = 0, time.perf_counter()
    with tempfile.TemporaryFile(dir=folder) as file:
        while time.perf_counter() - began < _SECONDS:
            written += file.write(_BLOCK)
            file.flush()
            os.fsync(file.fileno())
    return written / (time.perf_counter() - began)


def saving_notes(found: Disk, grace_seconds: float, place: Place) -> Iterator[str]:
    """Yield a note if the runs cannot all save their state within the grace period, or if this is unknown.

    Parameters
    ----------
    place : study directory.
    """
    if found.at_once is None or found.at_once <= _QUIET:
        return
    size = (
        f"after SIGTERM, {counted(found.parallel or 0, 'run')} must save up to {significant(found.at_once / 1e9)} GB "
        f"within resources.grace_seconds={grace_seconds:g}"
    )
    if not isinstance(place, Path):
        yield (
            f"{size}; the write rate of {place} has not been measured, so if runs do not finish saving, run fewer "
            "at a time"
        )
        return
    try:
        rate = write_rate(place)
    except OSError as error:
        yield f"{size}; the write rate of {place} cannot be measured: {error}"
        return
    seconds = found.at_once / rate
    if seconds > grace_seconds:
        yield (
            f"{size}, but {place} takes {seconds:.0f} s at {rate / 1e6:.0f} MB/s from this machine; use --set "
            f"resources.grace_seconds={math.ceil(1.5 * seconds)} if the sender of SIGTERM waits that long, or run "
            "fewer at a time; runs that are late resume from their last checkpoint"
        )
