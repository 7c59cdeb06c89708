"""Stored scores of test images: float16 log-probabilities of every class in a run's selected epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

COLUMN = "scores"


def scores_from(buffer: bytes, classes: int) -> npt.NDArray[np.float16]:
    """Return the log-probabilities [images, classes] in a run file's column; raise ValueError if unreadable."""
    import numpy as np  # noqa: PLC0415 -- listing columns must not import numpy

    return np.frombuffer(buffer, dtype=np.float16).reshape(-1, classes)


COLUMNS = (COLUMN, "classes", "selected_epoch", "predictions", "predictions.bits", "predictions.epochs")
"""The columns that `problem_of` requires."""


def problem_of(row: Mapping[str, Any]) -> str:
    """Return how a row's scores contradict its predictions; empty if they agree, or if the row has no scores."""
    from aimlib.records.tables import predictions_from  # noqa: PLC0415 -- that module imports this one

    if row.get(COLUMN) is None:
        return ""
    try:
        scores = scores_from(row[COLUMN], row["classes"])
        buffer, bits, epochs = (row[name] for name in COLUMNS[3:])
        predicted = predictions_from(buffer, bits, epochs)[max(row["selected_epoch"] - 1, 0)]
    except (TypeError, ValueError, KeyError, IndexError):
        return "its scores are not readable"
    return contradiction(scores, predicted)


def contradiction(scores: npt.NDArray[np.float16], predicted: npt.NDArray[Any]) -> str:
    """Return how scores contradict the predictions from the same epoch; empty if scores and predictions agree.

    The predicted class must have the image's highest score; ties are allowed, because float16 rounds.

    Parameters
    ----------
    scores : [images, classes].
    predicted : [images].
    """
    import numpy as np  # noqa: PLC0415

    if len(scores) != len(predicted):
        return f"it has scores for {len(scores):,} images, but predictions for {len(predicted):,}"
    if np.isnan(scores).any() or (scores > 0).any():
        return "its scores are not log-probabilities"
    if predicted.max(initial=0) >= scores.shape[1]:
        return f"it predicts class {predicted.max()}, but has scores for {scores.shape[1]} classes"
    own = np.take_along_axis(scores, predicted.astype(np.int64)[:, None], axis=1)[:, 0]
    wrong = int((own < scores.max(axis=1)).sum())
    return (
        f"its scores and its predictions indicate different classes for {wrong:,} of {len(scores):,} images"
        if wrong
        else ""
    )
