"""Student's t for a few paired differences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.statistics.distributions import chi2_quantile, t_above, t_quantile

IDENTICAL = 1e-9
"""Standard deviation, in pp, below which differences count as equal: it is above rounding errors, but far below the
effect of one image. For measures with smaller values, it is relative to the values.
"""


@dataclass(frozen=True)
class Interval:
    """The mean of n values with its two-sided t interval.

    Attributes
    ----------
    n : number of values.
    mean, sd : mean and standard deviation of the values, in their unit; the mean is NaN with no values, the standard
        deviation with fewer than two.
    lower, upper : limits of the interval for the mean; NaN with fewer than two values, infinite if the interval is
        unbounded.
    alpha : 1 minus the confidence level; 0 if the interval is unbounded.
    critical : quantile of t with n - 1 degrees of freedom; NaN with fewer than two values.
    """

    n: int
    mean: float
    sd: float
    lower: float
    upper: float
    alpha: float
    critical: float

    @property
    def prediction(self) -> tuple[float, float]:
        """Limits of the interval that covers one further value with the same confidence."""
        margin = margin_of(self.critical, self.sd) * np.sqrt(1 + 1 / self.n) if self.n > 1 else np.nan
        return float(self.mean - margin), float(self.mean + margin)

    @property
    def bounded(self) -> bool:
        """Whether both limits of the interval are finite."""
        return bool(np.isfinite(self.lower) and np.isfinite(self.upper))

    @property
    def cautious_sd(self) -> float:
        """Upper limit of the standard deviation's one-sided 80 % interval, s·√((n-1)/χ²(.2; n-1)), for planning."""
        if self.n < 2:
            return float("nan")
        return float(self.sd * np.sqrt((self.n - 1) / chi2_quantile(0.2, self.n - 1)))

    def probability_above(self, value: float) -> float:
        """Return the probability that the true mean exceeds `value`, under a flat prior; NaN with fewer than 2 values.

        The mean's posterior is the t distribution on which the interval is based.
        """
        if self.n < 2 or agree(self.sd, self.mean):
            return float("nan")
        return float(t_above((value - self.mean) * np.sqrt(self.n) / self.sd, self.n - 1))


def agree(sd: float, mean: float) -> bool:
    """Return whether values with this standard deviation and mean count as equal."""
    return sd <= IDENTICAL * min(1.0, abs(mean))


def margin_of(critical: float, error: float) -> float:
    """Return half the width of an interval; infinite for an infinite quantile, even if all values are equal."""
    return np.inf if critical == np.inf else critical * error


def t_interval(values: npt.ArrayLike, alpha: float = 0.05) -> Interval:
    """Return the two-sided 1 - alpha interval for the mean of independent values.

    Parameters
    ----------
    alpha : 1 minus the confidence level; with 0, the interval is unbounded, as for a look that cannot decide.

    Raises
    ------
    ValueError: a value is not finite, or alpha is not at least 0 and less than 1.
    """
    x: npt.NDArray[Any] = np.asarray(values, dtype=float)
    if not np.isfinite(x).all():
        raise ValueError("values must be finite; drop incomplete pairs first")
    if not 0 <= alpha < 1:
        raise ValueError(f"alpha must be between 0 and 1; got {alpha!r}")
    n = len(x)
    mean = float(x.mean()) if n else np.nan
    if n < 2:
        return Interval(n, mean, np.nan, np.nan, np.nan, alpha, np.nan)
    sd = float(x.std(ddof=1))
    critical = float(t_quantile(1 - alpha / 2, n - 1))
    margin = np.inf if critical == np.inf else critical * sd / np.sqrt(n)
    return Interval(n, mean, sd, float(mean - margin), float(mean + margin), alpha, critical)


def t_p_value(values: npt.ArrayLike) -> float:
    """Return the two-sided p-value of the t test for a mean of 0; NaN with fewer than 2 values or if all are equal."""
    found = t_interval(values)
    if found.n < 2 or agree(found.sd, found.mean):
        return float("nan")
    return float(2 * t_above(abs(found.mean) * np.sqrt(found.n) / found.sd, found.n - 1))


def unpaired_prediction(found: Interval, treated: npt.ArrayLike, control: npt.ArrayLike) -> tuple[float, float]:
    """Return the limits between which the difference between one further run of each arm is expected, without pairing.

    Mean ± t √(s_A² + s_B² + s_d² / n), with Satterthwaite's degrees of freedom; NaN with fewer than two values. All
    three variances come from the same seeds, so their covariances matter. The sum is tr(MS) for the covariance matrix S
    of the arms and M = I + cc' / n with c = (1, -1). The variance of the sum is 2 tr((MS)²) / (n - 1). If the
    covariances of the arms were ignored, the coverage of a .979 interval would fall to .956 for correlated arms and n =
    5. If the covariances with s_d² were ignored, it would fall to .967 for an arm with three times the spread of the
    other.

    Parameters
    ----------
    found : interval for the paired differences, with their mean, spread and level.
    treated, control : values of both arms in the same unit, for the same seeds.
    """
    if found.n < 2:
        return float("nan"), float("nan")
    of_arms = np.cov(np.asarray(treated, dtype=float), np.asarray(control, dtype=float))
    difference = np.array([1.0, -1.0])
    weighed = (np.eye(2) + np.outer(difference, difference) / found.n) @ of_arms
    total = float(np.trace(weighed))
    spread = float(np.trace(weighed @ weighed)) / (found.n - 1)
    freedom = total**2 / spread if spread > 0 else float(found.n - 1)
    margin = margin_of(float(t_quantile(1 - found.alpha / 2, freedom)), float(np.sqrt(total)))
    return found.mean - margin, found.mean + margin


def compatible(reported: float, interval: Interval) -> bool | None:
    """Return whether a single reported difference lies in the prediction interval; None with fewer than two values.

    The reported difference comes from one run per arm, so its own spread matters: |r - mean| <= t s sqrt(1 + 1/n).
    """
    lower, upper = interval.prediction
    return bool(lower <= reported <= upper) if interval.n > 1 else None
