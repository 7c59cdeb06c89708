"""An interval for paired differences that does not assume a normal distribution; it never affects the verdict.

With 7 or more pairs, signed ranks are used. The estimate is that of Hodges and Lehmann (1963), the median of the Walsh
averages. The exact interval and p-value are those of the signed-rank test (Wilcoxon, 1945). They are valid for any
distribution of differences that is symmetric about its center. With 5 or 6 pairs, that test cannot reach the level of a
look. The estimate is then the mean without the smallest and the largest difference, with the interval of Yuen (1974).
With fewer pairs, there is no robust interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from analysis.looks import FEWEST_PAIRS
from analysis.statistics.distributions import t_above, t_quantile

Numbers = npt.NDArray[np.float64]
Method = Literal["signed ranks", "trimmed mean"]

FEWEST_RANKS = 7
"""Smallest number of pairs for which the signed ranks are used."""
TRIMMED = 0.2
"""Share of the differences that the trimmed mean leaves out at each end, rounded down to whole differences."""


@dataclass(frozen=True)
class RobustReading:
    """The center of n differences with its two-sided interval, in the unit of the differences.

    Attributes
    ----------
    estimate : the Hodges-Lehmann estimate, or the trimmed mean.
    p : two-sided p-value for a center of 0; NaN for a trimmed mean of differences without spread.
    alpha : 1 minus the nominal confidence level; the actual confidence level of the signed-rank interval is at least
        the nominal one.
    """

    method: Method
    n: int
    estimate: float
    lower: float
    upper: float
    p: float
    alpha: float

    @property
    def words(self) -> str:
        """The name of the method, for use within a sentence."""
        return "Hodges-Lehmann estimate" if self.method == "signed ranks" else "trimmed mean"

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside the interval."""
        return self.lower > 0 or self.upper < 0


def robust_reading(differences: npt.ArrayLike, alpha: float) -> RobustReading | None:
    """Return the robust interval for differences at the level of a look; None with fewer than 5 differences.

    ValueError if a difference is not finite or alpha is not between 0 and 1.
    """
    x: npt.NDArray[Any] = np.asarray(differences, dtype=float)
    if not np.isfinite(x).all():
        raise ValueError("differences must be finite; drop incomplete pairs first")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be between 0 and 1; got {alpha!r}")
    n = len(x)
    if n < FEWEST_PAIRS:
        return None
    method = method_of(n, alpha)
    found = (signed_ranks if method == "signed ranks" else trimmed_mean)(x[None], alpha)
    estimate, lower, upper, p = (float(each[0]) for each in found)
    return RobustReading(method, n, estimate, lower, upper, p, alpha)


def method_of(n: int, alpha: float) -> Method:
    """Return the method for n pairs: signed ranks with 7 or more pairs, if their smallest p-value reaches alpha."""
    return "signed ranks" if n >= FEWEST_RANKS and 2.0 ** (1 - n) <= alpha else "trimmed mean"


def trimmed_mean(samples: npt.ArrayLike, alpha: float) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Return the trimmed mean of every sample with its lower and upper limits and p-value (Yuen, 1974).

    If g values are left out at each end and h values are kept, the mean of the kept values has the squared standard
    error SSD_w / (h (h - 1)) with h - 1 degrees of freedom. SSD_w is the sum of squared deviations of the winsorized
    values.

    Parameters
    ----------
    samples : [samples, n], with n at least 3.
    """
    x: npt.NDArray[Any] = np.sort(np.asarray(samples, dtype=float), axis=-1)
    n = x.shape[-1]
    out = int(TRIMMED * n)
    kept = n - 2 * out
    estimate = x[..., out : n - out].mean(axis=-1)
    winsorised = np.clip(x, x[..., [out]], x[..., [n - 1 - out]])
    squares = ((winsorised - winsorised.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1)
    error = np.sqrt(squares / (kept * (kept - 1)))
    margin = t_quantile(1 - alpha / 2, kept - 1) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.where(error > 0, 2 * t_above(np.abs(estimate) / error, kept - 1), np.nan)
    return estimate, estimate - margin, estimate + margin, p


def signed_ranks(samples: npt.ArrayLike, alpha: float) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Return the signed-rank estimate for every sample with its lower and upper limits and p-value.

    The interval extends from the (k + 1)-th smallest Walsh average to the (k + 1)-th largest. Here, k is the largest
    number for which the sum of the positive ranks is at most k with probability alpha / 2 or less. The p-value is the
    smallest alpha whose interval excludes 0. Ties and zeros count against a difference, so the interval and the p-value
    remain valid with them.

    Parameters
    ----------
    samples : [samples, n], with 2 / 2^n at most alpha.
    """
    averages = walsh_averages(samples)
    count = averages.shape[-1]
    below = sums_of_ranks(np.asarray(samples).shape[-1])
    k = int(np.searchsorted(below, alpha / 2 * (1 + 1e-12), side="right")) - 1
    if k < 0:
        raise ValueError(f"{np.asarray(samples).shape[-1]} differences cannot reach alpha {alpha:g}")
    averages.partition([k, (count - 1) // 2, count // 2, count - 1 - k], axis=-1)
    estimate = (averages[..., (count - 1) // 2] + averages[..., count // 2]) / 2
    sides = [np.count_nonzero(side, axis=-1) for side in (averages <= 0, averages >= 0)]
    p = np.minimum(1.0, 2 * below[np.minimum(*sides)])
    return estimate, averages[..., k], averages[..., count - 1 - k], p


def walsh_averages(samples: npt.ArrayLike) -> Numbers:
    """Return the mean of every pair of values in a sample, including pairs of a value with itself.

    The result is [samples, n (n + 1) / 2].
    """
    x: npt.NDArray[Any] = np.asarray(samples, dtype=float)
    first, second = np.triu_indices(x.shape[-1])
    averages: Numbers = (x[..., first] + x[..., second]) / 2
    return averages


@lru_cache(maxsize=64)
def sums_of_ranks(n: int) -> Numbers:
    """Return the probability that the positive ranks add up to at most 0, 1, …, n (n + 1) / 2 if signs are random."""
    chances = np.zeros(n * (n + 1) // 2 + 1)
    chances[0] = 1.0
    for rank in range(1, n + 1):
        shifted = np.zeros_like(chances)
        shifted[rank:] = chances[:-rank]
        chances = (chances + shifted) / 2
    return np.minimum(1.0, np.cumsum(chances))
