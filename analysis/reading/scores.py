"""Scores for the test images, if a study kept them, and metrics of predictions and scores, on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from aimlib.errors import StoreError, UsageError
from aimlib.records.scores import COLUMN, contradiction, scores_from
from analysis.primary_measure import FROM_PREDICTIONS
from analysis.reading import predictions
from analysis.reading.measured import metric

if TYPE_CHECKING:
    from analysis.results import Results


def read_scores(results: Results, run_id: str) -> npt.NDArray[np.float16]:
    """Return a run's scores; see `Results.scores`."""
    if run_id not in set(results.plan.runs["run_id"]):
        raise UsageError(f"{run_id}: the study does not contain this run; results.runs lists the ids")

    def kept(run: str, epochs: Any, every: Any, _: Any, row: Mapping[str, Any]) -> npt.NDArray[np.float16] | None:
        return _scores(results, run, every[_selected(epochs, row)], row)

    found = predictions.of_each_run(results.directory, [run_id], results.images, kept, _COLUMNS).get(run_id)
    if found is None:
        raise UsageError(
            f"run {run_id}: its scores were not kept; set `keep_scores: float16` in the study before running it"
        )
    return found


_COLUMNS = ("selected_epoch", "classes", COLUMN)
_MEND = "restore the file of this run from a copy, or delete it and run `ablate run` to compute the run again"


def _scores(
    results: Results, run_id: str, predicted: npt.NDArray[Any], row: Mapping[str, Any]
) -> npt.NDArray[np.float16] | None:
    """Return the scores in a row, or None if it has none; StoreError if the scores contradict the predictions."""
    if row[COLUMN] is None:
        return None
    try:
        scores = scores_from(row[COLUMN], row["classes"])
        problem = contradiction(scores, predicted)
    except (TypeError, ValueError):
        problem = "its scores are not readable"
    if problem:
        raise StoreError(f"{results.directory}: run {run_id}: {problem}; {_MEND}")
    return scores


def _selected(epochs: npt.NDArray[np.int64], row: Mapping[str, Any]) -> int:
    """Return the position of the selected epoch among the epochs with predictions."""
    return int(np.flatnonzero(epochs == row["selected_epoch"])[0])


def metrics_of(results: Results, top: Sequence[int], bins: int) -> pd.DataFrame:
    """Return the metrics for every run's selected epoch; see `Results.metrics`."""
    runs = results.runs
    most = int(runs["classes"].max()) if runs["classes"].notna().any() else 1
    if any(not 1 <= k <= most for k in top) or bins < 1:
        raise UsageError(
            f"top must contain numbers of classes from 1 to {most}, and bins must be at least 1; got {top!r}, {bins}"
        )

    def measured(run_id: str, epochs: Any, every: Any, labels: Any, row: Mapping[str, Any]) -> dict[str, float]:
        predicted = every[_selected(epochs, row)]
        scores = _scores(results, run_id, predicted, row)
        further = {} if scores is None else _of_scores(scores, labels, predicted, top, bins)
        return {name: metric(labels, predicted, name) for name in FROM_PREDICTIONS} | further

    rows = predictions.of_each_run(results.directory, runs["run_id"], results.images, measured, _COLUMNS)
    names = [*FROM_PREDICTIONS, *(f"top{k}_accuracy" for k in top), "calibration_error"]
    found = pd.DataFrame.from_dict(rows, orient="index", columns=None, dtype="float64").reindex(columns=names)
    found = found.set_axis(pd.Index(list(rows), dtype="str"))  # without runs, the index would be numeric
    return runs[["run_id", "arm", "seed"]].join(found.astype("float64"), on="run_id")


def _of_scores(
    scores: npt.NDArray[np.float16],
    labels: npt.NDArray[Any],
    predicted: npt.NDArray[Any],
    top: Sequence[int],
    bins: int,
) -> dict[str, float]:
    probabilities = np.exp(scores.astype(np.float64))
    found = {f"top{k}_accuracy": top_accuracy(probabilities, labels, k) for k in top}
    confidence = np.take_along_axis(probabilities, predicted.astype(np.int64)[:, None], axis=1)[:, 0]
    return found | {"calibration_error": calibration_error(confidence, predicted == labels, bins)}


def top_accuracy(scores: npt.NDArray[np.float64], labels: npt.NDArray[Any], k: int) -> float:
    """Return the share of images whose class is among the k classes with the highest scores, including ties.

    Parameters
    ----------
    scores : [images, classes].
    """
    own = np.take_along_axis(scores, labels.astype(np.int64)[:, None], axis=1)
    return float(((scores > own).sum(axis=1) < k).mean())


def calibration_error(confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_], bins: int = 15) -> float:
    """Return the expected calibration error: the weighted mean of |accuracy − confidence| over equally wide bins.

    See Guo et al., 2017. A bin includes its upper limit.

    Parameters
    ----------
    confidence : probability of the predicted class, [images].
    right : whether the predicted class is the true class, [images].
    """
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    gaps = np.abs(np.bincount(place, right, bins) - np.bincount(place, confidence, bins))
    return float(gaps.sum() / counts.sum()) if len(confidence) else float("nan")
