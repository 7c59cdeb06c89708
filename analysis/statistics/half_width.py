"""How many pairs are needed to make the interval for a difference sufficiently narrow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import special

from analysis.looks import FEWEST_PAIRS, Looks
from analysis.statistics.distributions import t_quantile
from analysis.statistics.spread import Spread

MOST = 10_000
"""Largest number of pairs that is tried."""
Numbers = npt.NDArray[np.float64]
LevelAt = Callable[[Numbers], Numbers]
"""Returns the level of the interval for each of the given numbers of pairs."""


def level_at(looks: Looks) -> LevelAt:
    """Return the level of a study's last interval as a function of its number of pairs.

    With planned looks, the level is always that of the last look. If a verdict is allowed after any number of pairs,
    the level depends on that number.
    """
    if not looks.anytime:
        last = looks.level_to_plan_with(looks.pairs[-1])
        return lambda pairs: np.full(np.shape(pairs), last)
    from analysis.looks.anytime import levels  # noqa: PLC0415

    return lambda pairs: levels(pairs, looks.alpha, looks.mixture_width or 0.0)


def chance_of_half_width(half_width: float, spread: Spread, pairs: npt.ArrayLike, level: LevelAt) -> Numbers:
    """Return the probability that the half-width of the interval after each number of pairs is at most `half_width`.

    The probability follows from the χ² distribution of the sample variance or, if the spread is estimated, from the F
    distribution of the ratio of that variance to the estimate.

    Parameters
    ----------
    half_width : greater than 0, in the unit of the spread.
    pairs : numbers of pairs, at least 2 each.
    """
    n = np.asarray(pairs, dtype=float)
    ratio = (half_width / (spread.sd * t_quantile(1 - level(n) / 2, n - 1))) ** 2 * n
    if spread.is_known:
        return np.asarray(special.gammainc((n - 1) / 2, (n - 1) / 2 * ratio))
    return np.asarray(special.fdtr(n - 1, spread.freedom, ratio))


def mean_half_width(spread: Spread, pairs: npt.ArrayLike, level: LevelAt) -> Numbers:
    """Return the expected half-width of the interval for each number of pairs, at least 2 each."""
    n = np.asarray(pairs, dtype=float)
    unbiased = np.sqrt(2 / (n - 1)) * np.exp(special.gammaln(n / 2) - special.gammaln((n - 1) / 2))
    return np.asarray(t_quantile(1 - level(n) / 2, n - 1) * spread.mean * unbiased / np.sqrt(n))


def pairs_for_half_width(half_width: float, spread: Spread, looks: Looks, assurance: float | None = None) -> int | None:
    """Return the smallest number of pairs, at least 5, for an interval this narrow; None if it exceeds 10,000.

    Parameters
    ----------
    half_width : required half-width, in the unit of the spread.
    assurance : probability that the half-width is at most `half_width`; None: the expected half-width must be at most
        `half_width`.

    Raises
    ------
    ValueError: the half-width is not positive, or the assurance is not between 0 and 1.
    """
    if not half_width > 0 or (assurance is not None and not 0 < assurance < 1):
        raise ValueError(f"0 < half_width and 0 < assurance < 1 are required; got {half_width}, {assurance}")
    n = np.arange(FEWEST_PAIRS, MOST + 1, dtype=float)
    level = level_at(looks)
    narrow = (
        mean_half_width(spread, n, level) <= half_width
        if assurance is None
        else chance_of_half_width(half_width, spread, n, level) >= assurance
    )
    found = np.flatnonzero(narrow)
    return int(n[found[0]]) if len(found) else None
