"""Quantiles and tail probabilities of the distributions that a verdict needs, from `scipy.special`.

`scipy.stats` computes them with the same calls, but importing it takes twice as long as importing pandas, which would
delay `ablate status`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special


def t_quantile(probability: npt.ArrayLike, df: npt.ArrayLike) -> Any:
    """Return the quantile of Student's t distribution with `df` degrees of freedom."""
    found, p = special.stdtrit(df, probability), np.asarray(probability)
    return np.where((p == 0) | (p == 1), np.copysign(np.inf, p - 0.5), found)[()]  # scipy returns NaN, or inf for 0


def t_above(value: npt.ArrayLike, df: npt.ArrayLike) -> Any:
    """Return the probability that a value from Student's t distribution exceeds `value`."""
    return special.stdtr(df, -value)  # type: ignore[operator]  # an array or a number


def chi2_quantile(probability: npt.ArrayLike, df: float) -> Any:
    """Return the quantile of the chi-squared distribution with `df` degrees of freedom."""
    return 2 * special.gammaincinv(df / 2, probability)


def beta_quantile(probability: npt.ArrayLike, a: npt.ArrayLike, b: npt.ArrayLike) -> Any:
    """Return the quantile of the beta distribution; NaN if `a` or `b` is NaN."""
    return special.betaincinv(a, b, probability)


def normal_quantile(probability: npt.ArrayLike) -> Any:
    """Return the quantile of the standard normal distribution."""
    return special.ndtri(probability)


def normal_below(value: npt.ArrayLike) -> Any:
    """Return the probability that a value from the standard normal distribution is at most `value`."""
    return special.ndtr(value)
