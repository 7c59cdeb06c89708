"""The outcome of a run that was trained to its end, or that was paused and then abandoned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aimlib.component import ComponentConfig
from aimlib.config import RunConfig
from aimlib.datasets.base import DataSet
from aimlib.errors import StoreError
from aimlib.training import checkpointing, splits
from aimlib.training.checkpoint_manager import CheckpointManager
from aimlib.training.kept_networks import KeptNetwork
from aimlib.training.run import Run
from aimlib.training.selections.base import choose

_SELECTED = ("validation_accuracy", "validation_loss", "test_accuracy", "test_loss", "test_top5_accuracy")


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run, with units as in `aimlib.records`.

    Attributes
    ----------
    status, reason : ``finished``, with a reason if a callback ended the run; or ``diverged`` or ``pruned``, with the
        reason.
    epochs : one mapping with the columns of `aimlib.records.EPOCHS` per completed epoch.
    predictions : [epochs, test images]; one row for the initial network if no epoch was completed.
    selected_epoch : the epoch that the selection rule chose; 0 is the start.
    selected : accuracies and losses of that epoch.
    images : numbers of training, validation and test images.
    seconds, attempts, started_at : wall time over all attempts, number of attempts, and ISO time of the first start.
    step : how the run computed its steps, ``eager``, ``graph`` or ``compiled``; None for the user's own training code.
    data_on : where the run's images were in the last attempt, ``device`` or ``host``; None if unknown.
    peak_device_bytes : peak of the GPU memory that torch reserved; None on the CPU.
    spot_checks : number of steps in the last attempt that were repeated with identical results; None without checks.
    network : the trained network that is kept; None if none is kept.
    repeated : result of computing a run a second time, for the user's own training code; None if it was computed once.
    scores : log-probabilities in the selected epoch, [test images, classes], if they are kept.
    scalars : for every name that callbacks logged, the means per epoch; None if nothing was logged.
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
    step: str | None = "eager"
    data_on: str | None = None
    peak_device_bytes: int | None = None
    spot_checks: int | None = None
    network: KeptNetwork | None = None
    repeated: str | None = None
    scores: npt.NDArray[np.float16] | None = None
    scalars: dict[str, list[float | None]] | None = None


def outcome_of(run: Run, checkpoints: CheckpointManager, diverged: str | None) -> Outcome:
    """Return the outcome of a completed run; if it has no completed epoch, the outcome of its initial network.

    Parameters
    ----------
    diverged : why the run diverged; None if it did not.
    """
    if run.history:
        chosen, selected = selected_of(run.options.selection, run.history)
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
        reason=run.callbacks.ended if diverged is None else diverged,
        epochs=run.history,
        predictions=np.stack(run.predictions),
        selected_epoch=chosen,
        selected=selected,
        images=(len(run.training), len(run.validation), len(run.test)),
        seconds=checkpoints.seconds,
        attempts=checkpoints.attempts,
        started_at=checkpoints.started_at,
        step=run.step_name,
        data_on=run.data_on,
        peak_device_bytes=checkpoints.peak_device_bytes,
        spot_checks=None if run.spot_checks is None else run.spot_checks.made,
        network=run.kept_network(diverged is not None),
        scores=run.kept_scores(),
        scalars=run.callbacks.scalars or None,
    )


def outcome_so_far(config: RunConfig, data: DataSet, checkpoint_directory: Path, run_id: str, reason: str) -> Outcome:
    """Return the outcome, with the status ``pruned``, of a paused run that will not continue; nothing is trained.

    The selection rule is applied to the completed epochs. An incomplete epoch counts only toward the seconds.

    Parameters
    ----------
    checkpoint_directory, run_id : as passed to `train`.
    reason : why the run is abandoned.

    Raises
    ------
    StoreError: there is no checkpoint with a completed epoch, or the checkpoint is damaged or belongs to a different
        run.
    """
    found = checkpointing.load(checkpoint_directory, run_id, _refuse)
    if found is None or not found.epochs:
        raise StoreError(
            f"{checkpoint_directory / checkpointing.FILE}: no completed epoch of run {run_id} to report; pause a run "
            f"after its first epoch or later, or train it to its end"
        )
    chosen, selected = selected_of(config.training.selection, found.epochs)
    divided = splits.divide(data, config.training.validation_fraction, config.seed_of("split"))
    return Outcome(
        status="pruned",
        reason=reason,
        epochs=found.epochs,
        predictions=found.predictions.numpy(),
        selected_epoch=chosen,
        selected=selected,
        images=(len(divided.training), len(divided.validation), len(data.test.labels)),
        seconds=found.seconds,
        attempts=found.attempts,
        started_at=found.started_at,
        step=found.step,
        data_on=found.data_on,
        peak_device_bytes=found.peak_device_bytes,
        scalars=None if found.callbacks is None else found.callbacks["scalars"] or None,
    )


def _refuse(damage: str) -> None:
    """Refuse a damaged checkpoint, because the previous one may have fewer epochs than the abandoned run."""
    raise StoreError(f"{damage}; run the study again, and the missing part is computed again")


def selected_of(rule: ComponentConfig, epochs: Sequence[dict[str, Any]]) -> tuple[int, dict[str, float | None]]:
    """Return the number of the epoch that a rule chooses, and its accuracies and losses."""
    chosen = choose(rule, epochs)
    return chosen, {key: epochs[chosen - 1][key] for key in _SELECTED}
