"""What a study writes: bytes of checkpoints and predictions, and whether all runs can save their state in time."""

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

from ablations.planning.arms import Arm, shape_of
from ablations.planning.plan import Plan
from aimlib.component import ComponentConfig
from aimlib.models import skeleton
from aimlib.paths import Place
from aimlib.registry import optimizers

_BLOCK = os.urandom(4 * 2**20)
"""What is written to find out how fast that is: nothing that a file system could compress."""
_SECONDS = 0.4
"""Seconds for which it is written."""
_QUIET = 64 * 2**20
"""Bytes that any storage takes in time; nothing is measured for them."""


@dataclass(frozen=True)
class Disk:
    """What a study writes.

    Attributes
    ----------
    checkpoints : bytes of a checkpoint of each arm.
    parallel : runs at once; None where that is not known.
    predictions : bytes of all runs' predictions before compression, the largest part of the results.
    """

    checkpoints: Mapping[str, int]
    parallel: int | None
    predictions: int

    @property
    def at_once(self) -> int | None:
        """Bytes of checkpoints while as many runs of the largest arm are under way as run at once."""
        return None if self.parallel is None else self.parallel * max(self.checkpoints.values())


def disk(plan: Plan, parallel: int | None) -> Disk:
    """Return what a study writes; computed, not measured.

    Parameters
    ----------
    parallel : runs at once, where that is known.
    """
    images = {arm.name: len(plan.data[arm.name].test.labels) for arm in plan.arms}
    checkpoints = {arm.name: checkpoint_bytes(arm, images[arm.name]) for arm in plan.arms}
    predictions = sum(arm.config.training.epochs * images[arm.name] for arm in plan.arms)
    return Disk(checkpoints, parallel, predictions * len(plan.study.spec.seeds))


def checkpoint_bytes(arm: Arm, test_images: int) -> int:
    """Return the bytes of a run's last checkpoint: parameters, buffers, what the optimizer keeps, predictions."""
    network = skeleton(arm.config.model, shape_of(arm.config))
    held = sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
    trained = sum(parameter.nbytes for parameter in network.parameters() if parameter.requires_grad)
    predictions = arm.config.training.epochs * test_images
    return held + round(trained * moments(arm.config.training.optimizer)) + predictions


def moments(config: ComponentConfig) -> float:
    """Return how many numbers an optimizer keeps for every parameter: 2 for Adam, 1 for momentum; found by a step."""
    parameter = nn.Parameter(torch.ones(16, 16))
    optimizer = optimizers.create(config).build([{"params": [parameter], "lr_scale": 1.0}])
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    kept = [value for value in optimizer.state[parameter].values() if isinstance(value, torch.Tensor)]
    return sum(tensor.numel() for tensor in kept if tensor.numel() > 1) / parameter.numel()


def write_rate(place: Path) -> float:
    """Return the bytes per second that the file system of a folder takes and has on disk. Takes half a second.

    The folder itself need not be there. What is written is gone afterwards.
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
    """Yield a note where all runs cannot save their state within the grace period, or that this is not known.

    Parameters
    ----------
    place : of the study.
    """
    if found.at_once is None or found.at_once <= _QUIET:
        return
    size = f"after SIGTERM {found.parallel} runs save up to {found.at_once / 1e9:.2g} GB within resources.grace_seconds"
    if not isinstance(place, Path):
        yield f"{size}={grace_seconds:g}: how fast {place} takes that is not measured; lower the number of runs if late"
        return
    try:
        rate = write_rate(place)
    except OSError as error:
        yield f"{size}={grace_seconds:g}: how fast {place} takes that cannot be measured: {error}"
        return
    seconds = found.at_once / rate
    if seconds > grace_seconds:
        yield (
            f"{size}={grace_seconds:g}, which takes {seconds:.0f} s at the {rate / 1e6:.0f} MB/s that {place} takes "
            f"from this machine: --set resources.grace_seconds={math.ceil(1.5 * seconds)}, if whoever ends them waits "
            f"as long, or run fewer at once; runs that are late go on from their last checkpoint"
        )
