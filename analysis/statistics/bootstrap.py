"""Bootstrap intervals for the means of many samples; reported in addition to the t interval, but never decisive.

With few pairs, these intervals are too short: see docs/calibration.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.statistics.distributions import normal_below, normal_quantile

Numbers = npt.NDArray[np.float64]


def resampling_weights(n: int, draws: int, rng: np.random.Generator) -> Numbers:
    """Return the share of each of `n` values in each of `draws` random resamples: [draws, n]; each row adds up to 1."""
    return rng.multinomial(n, np.full(n, 1 / n), size=draws) / n


def percentile_interval(samples: npt.ArrayLike, weights: Numbers, alpha: float = 0.05) -> tuple[Numbers, Numbers]:
    """Return the limits of the percentile interval for every sample's mean.

    Parameters
    ----------
    samples : [samples, n].
    weights : weights from `resampling_weights`, shared by all samples.
    """
    means = np.sort(np.asarray(samples, dtype=float) @ weights.T, axis=1)
    low, high = np.quantile(means, [alpha / 2, 1 - alpha / 2], axis=1)
    return low, high


def bca_interval(samples: npt.ArrayLike, weights: Numbers, alpha: float = 0.05) -> tuple[Numbers, Numbers]:
    """Return the limits of the bias-corrected and accelerated interval (Efron, 1987) for every sample's mean.

    If all values of a sample are equal, both limits are that value. The parameters are those of `percentile_interval`.
    """
    x: npt.NDArray[Any] = np.asarray(samples, dtype=float)
    means = np.sort(x @ weights.T, axis=1)
    draws = means.shape[1]
    centre = x.mean(axis=1, keepdims=True)
    slack = 1e-12 * np.abs(x).max(axis=1, keepdims=True)
    # Resamples whose mean equals the sample mean count half, because ties are frequent with few pairs.
    share = ((means < centre - slack).sum(axis=1) + (means <= centre + slack).sum(axis=1)) / (2 * draws)
    bias = normal_quantile(np.clip(share, 0.5 / draws, 1 - 0.5 / draws))
    deviations = x - centre
    squares = (deviations**2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        acceleration = np.nan_to_num((deviations**3).sum(axis=1) / (6 * squares**1.5))
    ends = []
    for quantile in (alpha / 2, 1 - alpha / 2):
        z = bias + normal_quantile(quantile)
        place = normal_below(bias + z / (1 - acceleration * z)) * (draws - 1)
        below = np.floor(place).astype(int)
        left = np.take_along_axis(means, below[:, None], axis=1)[:, 0]
        right = np.take_along_axis(means, np.minimum(below + 1, draws - 1)[:, None], axis=1)[:, 0]
        ends.append(left + (place - below) * (right - left))
    return ends[0], ends[1]
