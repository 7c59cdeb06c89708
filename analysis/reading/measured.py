"""Columns for a study's measure that are not stored: metrics computed from predictions, and reported scalars."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.primary_measure import FROM_PREDICTIONS, SCALAR, PrimaryMeasure
from analysis.reading.frames import parsed_json

if TYPE_CHECKING:
    from analysis.results import Results

SCALARS = "scalars"
"""Column with the numbers that callbacks and the user's own training code reported in all epochs, by name, as JSON."""


def frames_with(
    results: Results, measure: PrimaryMeasure, arms: Collection[str] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a study's runs and epochs, with a column for the measure.

    Parameters
    ----------
    arms : arms whose predictions are loaded; other arms do not get values. None: all arms.
    """
    runs, epochs = results.runs, results.epochs
    if measure.column in runs:
        return runs, epochs
    if measure.name in FROM_PREDICTIONS:
        known = _of_predictions(results, measure.name, runs if arms is None else runs[runs["arm"].isin(list(arms))])
    else:
        name = measure.column.removeprefix(SCALAR)
        told = {run_id: parsed_json(text, {}) for run_id, text in zip(runs["run_id"], runs[SCALARS], strict=True)}
        keys = list(zip(epochs["run_id"], epochs["epoch"], strict=True))
        values = [_number(told.get(run_id), name, epoch) for run_id, epoch in keys]
        known = pd.Series(values, index=pd.MultiIndex.from_frame(epochs[["run_id", "epoch"]]), dtype="float64")
    selected = pd.MultiIndex.from_arrays([runs["run_id"], runs["selected_epoch"].fillna(-1).astype("int64")])
    by_epoch = pd.MultiIndex.from_frame(epochs[["run_id", "epoch"]])
    return (
        runs.assign(**{measure.column: known.reindex(selected).to_numpy(dtype="float64")}),
        epochs.assign(**{measure.column: known.reindex(by_epoch).to_numpy(dtype="float64")}),
    )


def scalar_names(runs: pd.DataFrame) -> list[str]:
    """Return the names of all scalars that runs report, in alphabetical order."""
    return sorted({name for text in runs[SCALARS].dropna().unique() for name in parsed_json(text, {})})


def _number(told: Any, name: str, epoch: int) -> float:
    values = told.get(name) if isinstance(told, dict) else None
    value = values[epoch - 1] if isinstance(values, list) and epoch <= len(values) else None
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else float("nan")


def _of_predictions(results: Results, name: str, runs: pd.DataFrame) -> pd.Series:
    """Return a metric computed from the predictions after every epoch, by run id and epoch."""
    from analysis.reading import predictions  # noqa: PLC0415

    def of_epochs(_: str, epochs: Any, every: Any, labels: Any, __: Any) -> list[tuple[int, float]]:
        pairs = zip(epochs, every, strict=True)
        return [(int(epoch), metric(labels, classes, name)) for epoch, classes in pairs]

    by_run = predictions.of_each_run(results.directory, runs["run_id"], results.images, of_epochs)
    found = {(run_id, epoch): value for run_id, values in by_run.items() for epoch, value in values}
    index = pd.MultiIndex.from_tuples(list(found), names=["run_id", "epoch"])
    return pd.Series(list(found.values()), index=index, dtype="float64")


def metric(labels: npt.NDArray[Any], predicted: npt.NDArray[Any], name: str) -> float:
    """Return scikit-learn's balanced accuracy, or the F1 score averaged over the classes that occur, as a fraction."""
    from sklearn import metrics  # noqa: PLC0415 -- slow to import, and few studies need it

    # Balanced accuracy is the mean recall over classes; scikit-learn's own function warns about classes without images.
    score = {"balanced_accuracy": metrics.recall_score, "macro_f1": metrics.f1_score}[name]
    return float(score(labels, predicted, average="macro", labels=np.unique(labels), zero_division=0.0))
