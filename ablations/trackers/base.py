"""`Tracker`: the interface of trackers, and the lookup of built-in trackers and entry points by name."""

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
"""Entry point group for trackers from other distributions: ``name = "package.module:Class"``."""

TRACKERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "tensorboard": ("ablations.trackers._tensorboard:TensorBoard", ("tensorboardX",)),
    "mlflow": ("ablations.trackers._mlflow:MLflow", ("mlflow", "sqlalchemy")),
    "wandb": ("ablations.trackers._wandb:WeightsAndBiases", ("wandb",)),
}
"""Import path and required modules of each built-in tracker, by name."""


@dataclass(frozen=True)
class RunInfo:
    """Description of a run, as passed to a tracker.

    Attributes
    ----------
    run_id : id of the run in the study; the tracker uses the same id.
    config : all options by key path, as plain values, without file paths or apparent secrets.
    """

    run_id: str
    study: str
    arm: str
    seed: int
    epochs: int
    config: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Readable name of the run."""
        return f"{self.arm}, seed {self.seed}"


class Tracker(ABC):
    """Base class of trackers; created and called in a single thread of the driver.

    Parameters
    ----------
    directory : existing folder for this tracker.
    study : name of the study.
    """

    def __init__(self, directory: Path, study: str) -> None:
        self.directory, self.study = directory, study

    @abstractmethod
    def started(self, run: RunInfo, *, resumed: bool) -> None:
        """Start a run.

        If `resumed`, the tracker already has the run's first epochs, and receives only later epochs.
        """

    @abstractmethod
    def epoch(self, run: RunInfo, number: int, metrics: Mapping[str, float]) -> None:
        """Record a completed epoch, which must be on disk when this method returns.

        Epochs are numbered from 1, and each epoch is passed only once.
        """

    @abstractmethod
    def ended(self, run: RunInfo, end: str) -> None:
        """End a run that is finished, diverged, pruned, failed or stopped, or that is held and may continue later."""

    def close(self) -> None:  # noqa: B027 -- not every tracker has something to close
        """Close the tracker; open runs stay unfinished."""


def tracker_class(name: str) -> type[Tracker]:
    """Return the class of a tracker; this imports the tracker's dependencies.

    Raises
    ------
    UsageError: no such tracker exists.
    """
    place = TRACKERS[name][0] if name in TRACKERS else _others().get(name)
    if place is None:
        raise UsageError(f"--track {unknown_name('tracker', name, {*TRACKERS, *_others()})}")
    module, _, attribute = place.partition(":")
    found: type[Tracker] = getattr(importlib.import_module(module), attribute)
    return found


def refuse_unusable(name: str) -> None:
    """Raise UsageError if a tracker does not exist or one of its modules is missing, without importing the tracker."""
    if name not in TRACKERS:
        if name not in _others():
            raise UsageError(f"--track {unknown_name('tracker', name, {*TRACKERS, *_others()})}")
        return
    absent = [module for module in TRACKERS[name][1] if importlib.util.find_spec(module) is None]
    if absent:
        raise UsageError(
            f"--track {name}: {', '.join(absent)} {'is' if len(absent) == 1 else 'are'} not installed; "
            f"pip install 'aim-ablations[{name}]' or omit the option"
        )


def _others() -> dict[str, str]:
    return {point.name: point.value for point in entry_points(group=GROUP)}
