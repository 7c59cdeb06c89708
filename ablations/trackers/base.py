"""What a tracker is, which there are, and how one is named: by name, or by the entry point of a distribution."""

from __future__ import annotations

import importlib
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from aimlib.errors import UsageError, unknown_name

GROUP = "ablations.trackers"
"""Entry points of trackers of other distributions: ``name = "package.module:Class"``."""

TRACKERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "tensorboard": ("ablations.trackers._tensorboard:TensorBoard", ("tensorboardX",)),
    "mlflow": ("ablations.trackers._mlflow:MLflow", ("mlflow", "sqlalchemy")),
    "wandb": ("ablations.trackers._wandb:WeightsAndBiases", ("wandb",)),
}
"""Place of every tracker that comes with the package, and the modules that it needs, by name."""


@dataclass(frozen=True)
class RunInfo:
    """What a tracker is told of a run.

    Attributes
    ----------
    run_id : the study's own id; a tracker keeps the run under it.
    config : every option by key path, as plain values; without places of files and whatever looks like a secret.
    """

    run_id: str
    study: str
    arm: str
    seed: int
    epochs: int
    config: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name for people."""
        return f"{self.arm}, seed {self.seed}"


class Tracker(ABC):
    """Writes runs somewhere; made and called in one thread of the driver.

    Parameters
    ----------
    directory : folder of its own, which exists.
    study : name of the study.
    """

    def __init__(self, directory: Path, study: str) -> None:
        self.directory, self.study = directory, study

    @abstractmethod
    def started(self, run: RunInfo, *, resumed: bool) -> None:
        """A run begins; resumed: some of its epochs are here already, and the next continue them."""

    @abstractmethod
    def epoch(self, run: RunInfo, number: int, metrics: Mapping[str, float]) -> None:
        """An epoch is complete, from 1. Never told twice of the same; on return it outlives a killed process."""

    @abstractmethod
    def ended(self, run: RunInfo, end: str) -> None:
        """A run is over: finished, diverged, pruned, failed or stopped; or leaves this driver for now: paused, held."""

    def close(self) -> None:  # noqa: B027 -- not every tracker has something to close
        """Nothing more will come; runs that are open stay unfinished."""


def tracker_class(name: str) -> type[Tracker]:
    """Return the class of a tracker; imports what it needs.

    Raises
    ------
    UsageError: there is no such tracker.
    """
    place = TRACKERS[name][0] if name in TRACKERS else _others().get(name)
    if place is None:
        raise UsageError(f"--track {unknown_name('tracker', name, {*TRACKERS, *_others()})}")
    module, _, attribute = place.partition(":")
    found: type[Tracker] = getattr(importlib.import_module(module), attribute)
    return found


def refuse_unusable(name: str) -> None:
    """Raise UsageError if a tracker does not exist or lacks a module; imports nothing."""
    if name not in TRACKERS:
        if name not in _others():
            raise UsageError(f"--track {unknown_name('tracker', name, {*TRACKERS, *_others()})}")
        return
    absent = [module for module in TRACKERS[name][1] if importlib.util.find_spec(module) is None]
    if absent:
        raise UsageError(
            f"--track {name}: {', '.join(absent)} is not installed; "
            f"pip install 'aim-ablations[{name}]', or leave it out"
        )


def _others() -> dict[str, str]:
    return {point.name: point.value for point in entry_points(group=GROUP)}
