"""Simulation of whole studies: how often each verdict is reached, and after how many pairs.

It uses the same table (`verdict.rows`) and looks as the analysis, for thousands of studies at once. Calibration tests
the procedure with it, and planning computes power.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from analysis.looks import Looks
from analysis.procedures import LATEST
from analysis.statistics.verdict import READ, STOPPING, rows


@dataclass(frozen=True)
class Outcomes:
    """The ends of simulated studies.

    Attributes
    ----------
    kinds : [studies], the verdict at the look that stopped each, or at the last one.
    pairs : [studies], pairs at that look.
    """

    kinds: npt.NDArray[np.str_]
    pairs: npt.NDArray[np.int64]

    def rate(self, *kinds: str) -> float:
        """Return the share of studies that ended in one of these verdicts."""
        return float(np.isin(self.kinds, kinds).mean())


def simulate(
    differences: npt.ArrayLike,
    looks: Looks,
    delta: float,
    reported: float | None = None,
    levels: tuple[float, ...] | None = None,
    procedure: int = LATEST,
) -> Outcomes:
    """Return the ends of studies.

    Parameters
    ----------
    differences : [studies, pairs], in pp, in their order; at least as many as the last look requires.
    levels : level at each look; None: those of `looks`.
    """
    x = np.asarray(differences, dtype=float)
    levels = looks.levels if levels is None else levels
    kinds = np.full(len(x), "inconclusive", dtype=f"<U{max(map(len, READ))}")
    pairs = np.full(len(x), looks.numbers[-1])
    going = np.arange(len(x))
    for number, level in zip(looks.numbers, levels, strict=True):
        part = x[going, :number]
        mean = part.mean(axis=1)
        margin = stats.t.ppf(1 - level / 2, number - 1) * part.std(axis=1, ddof=1) / np.sqrt(number)
        kinds[going] = rows(mean - margin, mean + margin, delta, reported, procedure)
        stopped = np.isin(kinds[going], list(STOPPING))
        pairs[going[stopped]] = number
        going = going[~stopped]
        if not len(going):
            break
    return Outcomes(kinds, pairs)


def normal_studies(
    rng: np.random.Generator, studies: int, looks: Looks, mean: float, sd: float
) -> npt.NDArray[np.float64]:
    """Return differences [studies, pairs] for `simulate`: normal, `sd` of the difference (√2 × that of either arm)."""
    return rng.normal(mean, sd, size=(studies, looks.numbers[-1]))


def pairs_for_power(
    effect: float, sd: float, alpha: float = 0.05, power: float = 0.8, most: int = 10_000
) -> int | None:
    """Return how many pairs give a two-sided paired t test this power; None if more than `most` are needed.

    Parameters
    ----------
    effect : true mean difference, pp.
    sd : of the differences, pp.
    """
    low, high = 2, most
    if power_of(effect, sd, most, alpha) < power:
        return None
    while low < high:
        middle = (low + high) // 2
        if power_of(effect, sd, middle, alpha) >= power:
            high = middle
        else:
            low = middle + 1
    return low


def power_of(effect: float, sd: float, n: int, alpha: float = 0.05) -> float:
    """Return the power of the two-sided paired t test of n pairs, from the non-central t distribution."""
    if sd == 0:
        return 1.0 if effect else alpha
    critical = stats.t.ppf(1 - alpha / 2, n - 1)
    shift = abs(effect) * np.sqrt(n) / sd
    # The lower tail as a survival function: nct.cdf can be NaN at large non-centrality.
    return float(stats.nct.sf(critical, n - 1, shift) + stats.nct.sf(critical, n - 1, -shift))
