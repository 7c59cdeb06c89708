"""How many more seeds would settle an open verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analysis.looks import FEWEST_PAIRS
from analysis.procedures import LATEST
from analysis.statistics.distributions import t_quantile
from analysis.statistics.interval import IDENTICAL, Interval
from analysis.statistics.verdict import STOPPING, rows

CAP = 200


@dataclass(frozen=True)
class SeedsNeeded:
    """The number of pairs to add until a stopping verdict is expected.

    Attributes
    ----------
    more : number of pairs, at most 200; None if more are needed or no number suffices.
    reachable : False if no number suffices: outside the claim's scope, no stopping verdict exists for a mean gain of at
        least δ.
    """

    more: int | None
    reachable: bool = True

    @property
    def text(self) -> str:
        """The number in words."""
        if not self.reachable:
            return "no number"
        return f"more than {CAP}" if self.more is None else str(self.more)


def seeds_needed(
    interval: Interval,
    delta: float,
    reported: float | None = None,
    procedure: int = LATEST,
    level_after: Callable[[int], float] | None = None,
) -> SeedsNeeded | None:
    """Return the estimated number of further pairs that would settle the verdict; None with fewer than two pairs.

    The mean is assumed to stay the same, and the standard deviation is the upper limit of its one-sided 80 % interval,
    s·sqrt((n-1)/χ²(.2; n-1)). The result is the smallest number with which the interval around that mean leads to a
    stopping verdict.

    Parameters
    ----------
    level_after : level of the interval at the first look with a given number of pairs; None: the level of `interval`.
    """
    if interval.n < 2:
        return None
    if reported is None and interval.mean >= delta:
        return SeedsNeeded(None, reachable=False)
    sd = interval.cautious_sd
    if sd < IDENTICAL * min(1.0, delta):  # identical arms stay identical
        return SeedsNeeded(None)
    totals = np.arange(max(interval.n + 1, FEWEST_PAIRS), interval.n + CAP + 1)
    alphas = interval.alpha if level_after is None else np.array([level_after(int(total)) for total in totals])
    margins = t_quantile(1 - alphas / 2, totals - 1) * sd / np.sqrt(totals)
    kinds = rows(interval.mean - margins, interval.mean + margins, delta, reported, procedure)
    stopping = np.flatnonzero(np.isin(kinds, list(STOPPING)))
    if not len(stopping):
        return SeedsNeeded(None)
    return SeedsNeeded(int(totals[stopping[0]]) - interval.n)
