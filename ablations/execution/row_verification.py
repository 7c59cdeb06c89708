"""Verification of stored rows: whether a row written by a different study is the complete result of a planned run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aimlib.config import RunConfig, TrainingConfig
from aimlib.errors import UsageError
from aimlib.errors import counted as counted_as
from aimlib.records import EPOCHS, predictions_from
from aimlib.records.scores import problem_of
from aimlib.training.early_stopping import should_stop
from aimlib.training.image_order import fixed_order
from aimlib.training.own.config import OwnRunConfig
from aimlib.training.selections.base import choose

if TYPE_CHECKING:
    from ablations.planning.plan import PlannedRun
    from aimlib.datasets.base import DataSet

_COMPLETE = ("finished", "diverged")
"""Outcomes that depend only on the experiment. In contrast, a pruned run was stopped by its own study's search."""
_FINITE = "train_loss", "test_loss", "test_accuracy"
_ROUNDING = 1e-9
_OF_SELECTED = ("test_accuracy", "test_loss", "test_top5_accuracy", "validation_accuracy", "validation_loss")


class _Problem(Exception):
    """Why a row cannot be used."""


@dataclass(frozen=True)
class Verification:
    """The result of verifying a row.

    Attributes
    ----------
    problem : why the row cannot be used; empty if it can be used.
    unconfirmed : why its run id could not be recomputed from its stored configuration; empty if the id was recomputed.
    """

    problem: str = ""
    unconfirmed: str = ""


def verify(row: Mapping[str, Any], run: PlannedRun, data: DataSet) -> Verification:
    """Return whether a stored row is the result of a planned run.

    The run id is recomputed from the stored configuration, each test accuracy from the stored predictions, and the
    selected epoch from the curve. If scores are kept, they must agree with the predictions.

    Parameters
    ----------
    row : the columns of `aimlib.records.run_schema` by name, as plain Python values.
    data : the data of the run.
    """
    try:
        unconfirmed = _identity(row, run)
        own = isinstance(run.config, OwnRunConfig)
        curve = _curve(row, ("test_accuracy",) if own else _FINITE)
        _length(row, run.config.training, curve, may_end=own)
        accuracies = _accuracies(row, run.config, data, len(curve))
        _selection(row, run.config.training, curve, accuracies)
    except _Problem as problem:
        return Verification(str(problem))
    return Verification(problem_of(row), unconfirmed=unconfirmed)


def _identity(row: Mapping[str, Any], run: PlannedRun) -> str:
    """Raise an error if a row belongs to a different experiment; return why its id could not be recomputed."""
    if row["status"] not in _COMPLETE:
        raise _Problem(f"its status is {row['status']!r}, not {' or '.join(map(repr, _COMPLETE))}")
    _equal("data_fingerprint", row["data_fingerprint"], run.fingerprint)
    _equal("seed", row["seed"], run.config.seed)
    try:
        stored = json.loads(row["config"])
    except (TypeError, ValueError, RecursionError):
        raise _Problem("its configuration is not readable as JSON") from None
    try:
        run_id = RunConfig.parse(stored).run_id(run.fingerprint)
    except UsageError as error:
        return f"this version cannot read its configuration: {' '.join(str(error).split())[:200]}"
    if run_id != run.run_id:
        raise _Problem(f"its configuration belongs to run {run_id}")
    return ""


def _curve(row: Mapping[str, Any], finite: Sequence[str]) -> list[dict[str, Any]]:
    """Return one mapping per epoch; the values must be finite in every epoch."""
    columns = {column.name: row[f"epochs.{column.name}"] or [] for column in EPOCHS}
    count = len(columns["epoch"])
    if any(len(values) != count for values in columns.values()):
        raise _Problem("its epoch columns have different lengths")
    if columns["epoch"] != list(range(1, count + 1)):
        raise _Problem("its epochs are not numbered 1, 2, 3, ...")
    _equal("epochs_run", row["epochs_run"], count)
    for name in finite:
        if not np.isfinite(np.array(columns[name], dtype=np.float64)).all():
            raise _Problem(f"epochs.{name} is not finite in every epoch")
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _length(
    row: Mapping[str, Any], training: TrainingConfig, curve: Sequence[Mapping[str, Any]], *, may_end: bool
) -> None:
    """Raise an error if a run ended too early; the user's own training code may end at any time (`may_end`)."""
    _equal("epochs_planned", row["epochs_planned"], training.epochs)
    if len(curve) > training.epochs:
        raise _Problem(f"it has {counted_as(len(curve), 'epoch')} of {training.epochs} planned")
    was_ended = (may_end and bool(curve)) or bool(training.callbacks and row["reason"]) or _stopped(training, curve)
    if row["status"] == "finished" and len(curve) < training.epochs and not was_ended:
        raise _Problem(
            f"it ended after {len(curve)} of {counted_as(training.epochs, 'epoch')}, and neither early stopping nor a "
            f"callback explains it"
        )
    if row["status"] == "diverged" and not row["reason"]:
        raise _Problem("it diverged without a reason")


def _stopped(training: TrainingConfig, curve: Sequence[Mapping[str, Any]]) -> bool:
    monitored = [epoch[f"{training.monitor}_accuracy"] for epoch in curve]
    return (
        training.early_stopping is not None
        and None not in monitored
        and should_stop(training.early_stopping, monitored)
    )


def _accuracies(row: Mapping[str, Any], config: RunConfig, data: DataSet, epochs: int) -> list[float]:
    """Return the test accuracy for each row of predictions, computed in the same way as during the run."""
    labels = data.test.labels
    _equal("test_images", row["test_images"], len(labels))
    predicted = _predictions(row)
    if predicted.shape != (max(epochs, 1), len(labels)):
        raise _Problem(
            f"its predictions cover {counted_as(predicted.shape[0], 'epoch')} and "
            f"{counted_as(predicted.shape[1], 'image')}, not {max(epochs, 1):,} and {len(labels):,}"
        )
    if predicted.max(initial=0) >= len(data.classes):
        raise _Problem(f"it predicts class {predicted.max()}, but there are {len(data.classes)}")
    counted = np.arange(len(labels), dtype=np.int64)
    training = config.training
    if training.evaluation_drop_last:
        order = fixed_order(counted, data.test.names, training.order, data=config.data.name)
        counted = order[: len(labels) // training.batch_size * training.batch_size]
    return [float(values) for values in (predicted == labels)[:, counted].mean(axis=1)]


def _predictions(row: Mapping[str, Any]) -> npt.NDArray[Any]:
    try:
        return predictions_from(row["predictions"], row["predictions.bits"], row["predictions.epochs"])
    except (TypeError, ValueError, KeyError):
        raise _Problem("its predictions are not readable") from None


def _selection(
    row: Mapping[str, Any], training: TrainingConfig, curve: Sequence[Mapping[str, Any]], accuracies: Sequence[float]
) -> None:
    """Raise an error if the curve, predictions and selected epoch of a row contradict each other."""
    for epoch, accuracy in zip(curve, accuracies, strict=False):
        if abs(epoch["test_accuracy"] - accuracy) > _ROUNDING:
            raise _Problem(
                f"the test accuracy of epoch {epoch['epoch']} is {epoch['test_accuracy']:.6f}, but its predictions "
                f"give {accuracy:.6f}"
            )
    chosen = _chosen(training, curve) if curve else 0
    _equal("selected_epoch", row["selected_epoch"], chosen)
    if not curve:
        if row["test_accuracy"] is None or abs(row["test_accuracy"] - accuracies[0]) > _ROUNDING:
            raise _Problem(f"test_accuracy is {row['test_accuracy']}, but its predictions give {accuracies[0]:.6f}")
        return
    for name in _OF_SELECTED:
        if row[name] != curve[chosen - 1][name]:
            raise _Problem(
                f"{name} is {row[name]}, but it is {curve[chosen - 1][name]} in the selected epoch, {chosen}"
            )


def selection_problem(training: TrainingConfig, curve: Sequence[Mapping[str, Any]], selected: object) -> str:
    """Return how the selected epoch contradicts a run's selection rule; empty if the rule selects this epoch."""
    try:
        _equal("selected_epoch", selected, _chosen(training, curve) if curve else 0)
    except _Problem as problem:
        return str(problem)
    return ""


def _chosen(training: TrainingConfig, curve: Sequence[Mapping[str, Any]]) -> int:
    try:
        return choose(training.selection, curve)
    except (TypeError, ValueError, KeyError) as error:
        raise _Problem(f"no epoch can be selected from its curve ({error})") from None


def _equal(name: str, stored: object, expected: object) -> None:
    if stored != expected:
        raise _Problem(f"{name} is {stored!r}, not {expected!r}")
