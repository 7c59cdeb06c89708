"""Simulation of entire studies: how often each verdict is reached, and after how many pairs.

The simulation applies the table (`verdict.rows`) and the looks of the analysis to thousands of studies together. It is
used to calibrate the procedure and to compute power for planning.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from analysis.looks import Looks
from analysis.procedures import LATEST
from analysis.statistics.spread import Spread
from analysis.statistics.verdict import READ, STOPPING, rows

_CERTAIN = 100.0
"""Noncentrality, in multiples of the critical value, beyond which the power of a t test rounds to exactly 1."""


@dataclass(frozen=True)
class Outcomes:
    """How simulated studies ended.

    Attributes
    ----------
    kinds : [studies], the verdict at the look that stopped each study, or at the last look.
    pairs : [studies], number of pairs at that look.
    settled : [studies], whether a verdict ended the study; False if the study ended only because no look was left.
    """

    kinds: npt.NDArray[np.str_]
    pairs: npt.NDArray[np.int64]
    settled: npt.NDArray[np.bool_]

    def rate(self, *kinds: str) -> float:
        """Return the share of studies that ended with one of these verdicts."""
        return float(np.isin(self.kinds, kinds).mean())

    def settled_by(self, pairs: int) -> float:
        """Return the share of studies that a verdict ended after at most this many pairs."""
        return float((self.settled & (self.pairs <= pairs)).mean())

    def pairs_up_to(self, most: int) -> float:
        """Return the mean number of pairs if studies without a final verdict end after `most` pairs."""
        return float(np.where(self.settled, np.minimum(self.pairs, most), most).mean())


def simulate(
    differences: npt.ArrayLike,
    looks: Looks,
    delta: float,
    reported: float | None = None,
    levels: tuple[float, ...] | None = None,
    procedure: int = LATEST,
    ends: Collection[str] = STOPPING,
) -> Outcomes:
    """Return how studies end.

    Parameters
    ----------
    differences : [studies, pairs], in pp, in order, with at least as many pairs as the last look requires. If a verdict
        is allowed after any number of pairs, studies end at the latest after all these pairs.
    levels : level at each look; None: the levels of `looks`.
    ends : verdicts that end a study.
    """
    x = np.asarray(differences, dtype=float)
    numbers = looks.reached(x.shape[1]) if looks.anytime else looks.numbers
    levels = (looks.levels if levels is None else levels)[: len(numbers)]
    kinds = np.full(len(x), "inconclusive", dtype=f"<U{max(map(len, READ))}")
    pairs = np.full(len(x), numbers[-1])
    going = np.arange(len(x))
    for number, level in zip(numbers, levels, strict=True):
        part = x[going, :number]
        mean = part.mean(axis=1)
        margin = stats.t.ppf(1 - level / 2, number - 1) * part.std(axis=1, ddof=1) / np.sqrt(number)
        kinds[going] = rows(mean - margin, mean + margin, delta, reported, procedure)
        stopped = np.isin(kinds[going], list(ends))
        pairs[going[stopped]] = number
        going = going[~stopped]
        if not len(going):
            break
    settled = np.ones(len(x), dtype=bool)
    settled[going] = False
    return Outcomes(kinds, pairs, settled)


def normal_studies(
    rng: np.random.Generator, studies: int, looks: Looks, mean: float, sd: float
) -> npt.NDArray[np.float64]:
    """Return normal differences [studies, pairs] for `simulate`; `sd` is the difference's SD (√2 × an arm's SD)."""
    return rng.normal(mean, sd, size=(studies, looks.numbers[-1]))


def shown_by_look(differences: npt.ArrayLike, looks: Looks) -> npt.NDArray[np.float64]:
    """Return, for each look reached, the share of studies whose interval was above 0 at that look or an earlier one.

    Parameters
    ----------
    differences : as in `simulate`.
    """
    x = np.asarray(differences, dtype=float)
    found, shares = np.zeros(len(x), dtype=bool), []
    for number, level in zip(looks.reached(x.shape[1]), looks.levels, strict=False):
        part = x[:, :number]
        critical = stats.t.ppf(1 - level / 2, number - 1)
        found |= part.mean(axis=1) > critical * part.std(axis=1, ddof=1) / np.sqrt(number)
        shares.append(found.mean())
    return np.asarray(shares)


def pairs_for_power(
    effect: float, sd: float, alpha: float | Callable[[int], float] = 0.05, power: float = 0.8, most: int = 10_000
) -> int | None:
    """Return how many pairs a two-sided paired t test needs for this power; None if more than `most` are needed.

    Parameters
    ----------
    effect : true mean difference, pp.
    sd : standard deviation of the differences, pp.
    alpha : level of the test, or a function that returns the level for a number of pairs.
    """
    level = alpha if callable(alpha) else lambda _: alpha
    low, high = 2, most
    if power_of(effect, sd, most, level(most)) < power:
        return None
    while low < high:
        middle = (low + high) // 2
        if power_of(effect, sd, middle, level(middle)) >= power:
            high = middle
        else:
            low = middle + 1
    return low


def power_over(effect: float, spread: Spread, n: int, alpha: float = 0.05) -> float:
    """Return the mean of `power_of` over the posterior of the differences' standard deviation."""
    sds, weights = spread.nodes()
    return float(sum(weight * power_of(effect, float(sd), n, alpha) for sd, weight in zip(sds, weights, strict=True)))


def power_of(effect: float, sd: float, n: int, alpha: float = 0.05) -> float:
    """Return the power of the two-sided paired t test with n pairs, from the noncentral t distribution."""
    if sd == 0:
        return 1.0 if effect else alpha
    critical = stats.t.ppf(1 - alpha / 2, n - 1)
    if np.isinf(critical):  # at a look that cannot decide
        return 0.0
    shift = abs(effect) * np.sqrt(n) / sd
    if shift > _CERTAIN * max(1.0, float(critical)):  # nct is NaN far out
        return 1.0
    # The lower tail is computed as a survival function, because nct.cdf can be NaN for a large noncentrality.
    return float(stats.nct.sf(critical, n - 1, shift) + stats.nct.sf(critical, n - 1, -shift))
