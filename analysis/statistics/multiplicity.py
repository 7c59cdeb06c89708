"""Multiple comparisons: Holm's step-down procedure."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def holm(p_values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return Holm-adjusted p-values in the given order; NaN stays NaN and counts as a test that does not reject."""
    p: npt.NDArray[Any] = np.asarray(p_values, dtype=float)
    order = np.argsort(np.where(np.isnan(p), np.inf, p), kind="stable")
    stepped = np.maximum.accumulate((len(p) - np.arange(len(p))) * np.where(np.isnan(p), np.inf, p)[order])
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, stepped)
    return np.where(np.isnan(p), np.nan, adjusted)


def holm_levels(p_values: npt.ArrayLike, alpha: float = 0.05) -> npt.NDArray[np.float64]:
    """Return the level at which Holm's procedure tests every hypothesis.

    The k-th smallest of m p-values is tested at alpha/(m-k+1) until a hypothesis is not rejected. All following
    hypotheses keep the level of that hypothesis. A t interval at this level excludes 0 if and only if Holm's procedure
    rejects the hypothesis. A verdict based on the interval is therefore positive or harmful only if Holm's procedure
    rejects.
    """
    p: npt.NDArray[Any] = np.asarray(p_values, dtype=float)
    order = np.argsort(np.where(np.isnan(p), np.inf, p), kind="stable")
    steps = alpha / (len(p) - np.arange(len(p)))
    kept = np.flatnonzero(~(p[order] <= steps))
    if len(kept):
        steps[kept[0] :] = steps[kept[0]]
    levels = np.empty(len(p))
    levels[order] = steps
    return levels
