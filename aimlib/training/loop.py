"""The training loop: one run from its configuration to its outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from aimlib.config import RunConfig
from aimlib.datasets.base import DataSet
from aimlib.errors import StoreError
from aimlib.registry import selections
from aimlib.training import checkpoints
from aimlib.training.checkpoints import Checkpoint
from aimlib.training.devices import reproducible
from aimlib.training.run import Diverged, Run

_CHECKPOINT_SHARE = 0.05
"""Largest share of a run's time that goes into checkpoints: an epoch is not saved where saving would exceed it."""

OnEpoch = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Outcome:
    """What came of a run. Units as in `aimlib.records`.

    Attributes
    ----------
    status, reason : ``finished``, or ``diverged`` and why.
    epochs : one mapping of `aimlib.records.EPOCHS` per completed epoch.
    predictions : [epochs, test images]; one row for the network at its start where no epoch was completed.
    selected_epoch : the epoch that the selection rule chose; 0 is the start.
    selected : accuracies and losses of that epoch.
    images : number of training, validation and test images.
    seconds, attempts, started_at : wall time over all attempts, their number, ISO time of the first.
    """

    status: str
    reason: str | None
    epochs: list[dict[str, Any]]
    predictions: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    selected_epoch: int
    selected: dict[str, float | None]
    images: tuple[int, int, int]
    seconds: float
    attempts: int
    started_at: str


def train(
    config: RunConfig,
    data: DataSet,
    *,
    device: torch.device | None = None,
    threads: int | None = None,
    run_id: str = "",
    checkpoint_directory: Path | None = None,
    checkpoint_share: float = _CHECKPOINT_SHARE,
    on_epoch: OnEpoch | None = None,
) -> Outcome:
    """Train one run to its end, going on from its checkpoint where there is one.

    Parameters
    ----------
    device : None is the CPU.
    threads : CPU threads; None leaves torch's setting. With the same number the CPU gives the same bits.
    run_id : guards the checkpoint against another run's.
    checkpoint_directory : None keeps no checkpoint.
    checkpoint_share : largest share of the time spent on saving; infinity saves after every epoch.
    on_epoch : called after every completed epoch; what it raises ends the attempt.

    Raises
    ------
    UsageError: data and configuration do not fit each other.
    """
    with reproducible(threads=threads, tf32=config.training.tf32):
        run = Run(config, data, device or torch.device("cpu"))
        keeper = _Keeper(run, run_id, checkpoint_directory, checkpoint_share)
        return _finish(run, keeper, _epochs(run, keeper, on_epoch))


def _epochs(run: Run, keeper: _Keeper, on_epoch: OnEpoch | None) -> str | None:
    """Train the remaining epochs; return why the run diverged, or None."""
    while not run.done():
        try:
            run.epoch()
        except Diverged as reason:
            return str(reason)
        keeper.keep()
        if on_epoch is not None:
            on_epoch(run.history[-1])
    return None


class _Keeper:
    """Keeps the checkpoint of a run, and its wall time over all attempts."""

    def __init__(self, run: Run, run_id: str, directory: Path | None, share: float) -> None:
        self.run, self.run_id, self.directory, self.share = run, run_id, directory, share
        self.attempts, self.before = 1, 0.0
        self.started_at = datetime.now(UTC).isoformat()
        self.began = self.saved_at = time.perf_counter()
        self.cost = 0.0
        found = checkpoints.load(directory, run_id) if directory else None
        if directory and found is not None:
            self._resume(found, directory)

    def _resume(self, found: Checkpoint, directory: Path) -> None:
        run = self.run
        try:
            run.network.load_state_dict(found.network)
            run.optimizer.load_state_dict(found.optimizer)
        except (RuntimeError, ValueError, KeyError) as error:
            raise StoreError(
                f"{directory / checkpoints.FILE}: does not fit the network of this run (a component changed without a "
                f"new version?); delete it to start afresh"
            ) from error
        run.history, run.predictions = found.epochs, list(found.predictions.numpy())
        self.attempts, self.before, self.started_at = found.attempts + 1, found.seconds, found.started_at

    @property
    def seconds(self) -> float:
        """Wall time over all attempts so far."""
        return self.before + time.perf_counter() - self.began

    def keep(self) -> None:
        """Save the run, unless saving would take more than its share of the time."""
        started = time.perf_counter()
        if self.directory is None or self.cost > self.share * (started - self.saved_at):
            return
        run = self.run
        state = Checkpoint(
            run_id=self.run_id,
            epochs=run.history,
            predictions=torch.from_numpy(np.stack(run.predictions)),
            network=run.network.state_dict(),
            optimizer=run.optimizer.state_dict(),
            seconds=self.seconds,
            attempts=self.attempts,
            started_at=self.started_at,
        )
        checkpoints.save(state, self.directory)
        self.saved_at = time.perf_counter()
        self.cost = self.saved_at - started


def _finish(run: Run, keeper: _Keeper, diverged: str | None) -> Outcome:
    if run.history:
        chosen = selections.create(run.options.selection).select(run.history)
        row = run.history[chosen - 1]
        selected = {key: row[key] for key in _SELECTED}
    else:
        chosen = 0
        validation, test = run.restart()
        values = (
            *((validation.accuracy, validation.loss) if validation else (None, None)),
            test.accuracy,
            test.loss,
            test.top5_accuracy,
        )
        selected = dict(zip(_SELECTED, values, strict=True))
    return Outcome(
        status="finished" if diverged is None else "diverged",
        reason=diverged,
        epochs=run.history,
        predictions=np.stack(run.predictions),
        selected_epoch=chosen,
        selected=selected,
        images=(len(run.training), len(run.validation), len(run.test)),
        seconds=keeper.seconds,
        attempts=keeper.attempts,
        started_at=keeper.started_at,
    )


_SELECTED = ("validation_accuracy", "validation_loss", "test_accuracy", "test_loss", "test_top5_accuracy")
