"""A confidence sequence for the mean of paired differences: intervals that hold jointly for all numbers of pairs.

After n pairs, the paired t statistic t has the likelihood ratio

    E = k^(-1/2) · [(1 + t²/(n-1)) / (1 + t²/((n-1) k))]^(n/2),   k = 1 + n g²,

of a standardized effect with the distribution N(0, g²) against no effect, where the unknown standard deviation has the
right-invariant prior. The ratio does not depend on the scale of the differences, and is a martingale with mean 1 if the
true mean is 0 (Lai, 1976; Wang and Ramdas, 2024, "Anytime-valid t-tests and confidence sequences for Gaussian means
with unknown variance"). The ratio therefore exceeds 1/alpha after some number of pairs in at most a fraction alpha of
studies (Ville's inequality). The interval contains every mean for which the ratio does not exceed 1/alpha: d̄ ± c(n) ·
s/√n.

c(n) is finite only if k > alpha^(-2/(n-1)). Otherwise the interval is unbounded; at .05 and n = 5, this is the case if
g <= .833.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

Numbers = npt.NDArray[np.float64]


def critical_values(pairs: npt.ArrayLike, alpha: npt.ArrayLike, width: float) -> Numbers:
    """Return c(n), the |t| beyond which a mean is excluded; infinite if the interval is unbounded.

    Parameters
    ----------
    pairs : numbers of pairs, at least 2 each.
    alpha : joint error rate of all intervals, in (0, 1); broadcast with `pairs`.
    width : g, greater than 0.
    """
    n, log_k, log_q = _logarithms(pairs, alpha, width)
    bounded = log_q < log_k
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        odds = np.expm1(log_q) / -np.expm1(log_q - log_k)
        return np.where(bounded, np.sqrt((n - 1) * odds), np.inf)


def _logarithms(pairs: npt.ArrayLike, alpha: npt.ArrayLike, width: float) -> tuple[Numbers, Numbers, Numbers]:
    """Return n, log k, and 2/n times the logarithm of √k/alpha, which the bracket must exceed."""
    n: npt.NDArray[Any] = np.asarray(pairs, dtype=float)
    log_k = np.log1p(n * width**2)
    return n, log_k, 2 / n * (log_k / 2 - np.log(np.asarray(alpha, dtype=float)))


def levels(pairs: npt.ArrayLike, alpha: npt.ArrayLike, width: float) -> Numbers:
    """Return the level of the paired t test whose critical value is c(n); 0 if the interval is unbounded."""
    critical = critical_values(pairs, alpha, width)
    return np.asarray(2 * special.stdtr(np.asarray(pairs, dtype=float) - 1, -critical))


def log_evidence(t: npt.ArrayLike, pairs: npt.ArrayLike, width: float) -> Numbers:
    """Return the logarithm of E, the evidence against a mean of 0, for paired t statistics."""
    n: npt.NDArray[Any] = np.asarray(pairs, dtype=float)
    k = 1 + n * width**2
    odds = np.square(np.asarray(t, dtype=float)) / (n - 1)
    return np.asarray((n - 1) / 2 * np.log(k) + n / 2 * np.log1p((1 - k) / (k + odds)))


def p_value(p_values: npt.ArrayLike, pairs: npt.ArrayLike, width: float) -> float:
    """Return the smallest joint error rate of all intervals at which any of them excludes 0; NaN without p-values.

    Parameters
    ----------
    p_values : two-sided p-value of the paired t test for each number of pairs; NaN if there is none.
    """
    p, n = np.asarray(p_values, dtype=float), np.asarray(pairs, dtype=float)
    known = ~np.isnan(p)
    if not known.any():
        return float("nan")
    t = -special.stdtrit(n[known] - 1, np.maximum(p[known], 1e-300) / 2)
    return float(np.exp(min(0.0, -log_evidence(t, n[known], width).max())))


def least_width(pairs: int, alpha: float = 0.05) -> float:
    """Return the g above which the interval after the given number of pairs, at least 2, is bounded."""
    return float(np.sqrt(np.expm1(-2 / (pairs - 1) * np.log(alpha)) / pairs))
