"""One claim on two backbones: a verdict for each, the equal-weight mean, and whether the gains differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.statistics.interval import Interval, margin_of


@dataclass(frozen=True)
class Combined:
    """Two independent mean differences together, in pp.

    Attributes
    ----------
    mean : their equal-weight mean, with its interval.
    difference : the first less the second, with its interval.
    both_positive : whether both intervals lie above 0; "holds on both" needs no correction, because both must.
    """

    mean: Interval
    difference: Interval
    both_positive: bool


def two_backbones(first: Interval, second: Interval) -> Combined:
    """Return the equal-weight mean and the difference of two mean differences, from different runs.

    Welch's standard error with Satterthwaite's degrees of freedom, at the level of the first. No random effects: two
    backbones are not a sample of backbones.

    ValueError if an interval has fewer than two pairs.
    """
    if min(first.n, second.n) < 2:
        raise ValueError("both comparisons need at least two pairs")
    a, b = first.sd**2 / first.n, second.sd**2 / second.n
    spread = a**2 / (first.n - 1) + b**2 / (second.n - 1)
    df = (a + b) ** 2 / spread if spread > 0 else float(first.n + second.n - 2)
    critical = float(stats.t.ppf(1 - first.alpha / 2, df))

    def around(centre: float, error: float) -> Interval:
        n = min(first.n, second.n)
        half = margin_of(critical, error)
        low, high = centre - half, centre + half
        return Interval(n, centre, error * np.sqrt(n), low, high, first.alpha, critical)

    error = float(np.sqrt(a + b))
    return Combined(
        around((first.mean + second.mean) / 2, error / 2),
        around(first.mean - second.mean, error),
        first.lower > 0 and second.lower > 0,
    )
