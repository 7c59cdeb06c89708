"""Which runs collapsed: a rule fixed in advance, for runs above chance level but far below the rest of their arm.

A t interval cannot distinguish a collapse from a large spread, and a few collapses in one arm shift its mean. The rule
marks

* a run that predicts (almost) only one class, which is at chance level regardless of its accuracy;
* a run far below the other runs of its arm: it lies at least `LEAST_DROP` × δ below their median, and this drop is
  greater than a constant times their spread. The lowest run of an arm is compared with all others. The second lowest is
  compared with the runs above it, because two collapses can hide each other. The spread is the standard deviation of
  the others or, if it is larger, the pooled standard deviation of both arms;
* a run in a group of at least three runs far below the rest of their arm. With more than two failures, the spread
  becomes so wide that the first rule would not mark any of them. The group ends at the gap that is the largest multiple
  of the spread within both parts. The group is marked if that gap is at least `LEAST_DROP` × δ and greater than a
  constant times that spread. At least two runs must lie above the group, or at least half of the runs if differences
  are examined;
* a run whose paired difference is far below the other differences by one of these two rules. If a seed affects both
  arms equally, differences vary less than accuracies. The run itself must also lie at least `LEAST_DROP` × δ below its
  arm's median (in a group: below the median of the arm's other runs).

The constants for single runs are 99th percentiles for normally distributed runs in two independent arms with equal
spread. They come from 2 million simulated pairs of arms with up to 12 runs each, 1 million with up to 30, and 300,000
with more. The constants for groups are 99.75th percentiles for one arm with normally distributed runs. They come from 1
million simulated arms with up to 15 runs, 300,000 with up to 30, and 100,000 with more. docs/calibration.md shows how
often the rule detects a collapse and how often it is wrong.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from analysis.looks import FEWEST_PAIRS
from analysis.statistics.distributions import beta_quantile

Marks = npt.NDArray[np.bool_]
Kind = Literal["accuracies", "differences"]

LEAST_DROP = 5.0
"""Smallest drop, in units of δ. With five pairs, the minimum, a smaller drop of one run changes the mean by less than
δ.
"""
LEAST_OTHERS = 0.05
"""A run predicts only one class if the other classes get at most this share of the predictions that they should get."""
CONFIDENCE = 0.95
"""Confidence level at which a failure rate is excluded."""
_EXAMINED = (1, 2)
"""Ranks, from the lowest, of the runs that are examined."""
_PAIRS = (5, 6, 7, 8, 9, 10, 12, 15, 20, 30, 50, 100)
_CONSTANTS: dict[tuple[Kind, int], tuple[float, ...]] = {
    ("accuracies", 1): (6.08, 5.29, 4.87, 4.64, 4.46, 4.35, 4.19, 4.07, 3.97, 3.91, 3.91, 3.98),
    ("accuracies", 2): (6.85, 5.01, 4.33, 3.95, 3.75, 3.58, 3.41, 3.28, 3.18, 3.13, 3.14, 3.22),
    ("differences", 1): (11.38, 8.29, 6.88, 6.14, 5.66, 5.35, 4.95, 4.62, 4.38, 4.18, 4.09, 4.09),
    ("differences", 2): (19.01, 9.33, 6.66, 5.53, 4.91, 4.51, 4.06, 3.74, 3.50, 3.34, 3.27, 3.31),
}
"""Constants by the quantity examined and by rank, for each number of pairs in `_PAIRS`."""
_FEWEST, _FEWEST_ABOVE = 3, 2
"""Minimum number of runs in a collapsed group, and in the rest of its arm."""
_GAPS = (13.45, 10.2, 7.97, 6.64, 5.63, 4.93, 3.97, 3.15, 2.44, 1.85, 1.48, 1.21)
"""How many spreads a group must lie below the rest, for each number of pairs in `_PAIRS`."""


def constant(kind: Kind, rank: int, pairs: int) -> float:
    """Return how many spreads the run with this rank must lie below the median of the runs above it.

    The value is interpolated linearly in 1 / pairs between the simulated numbers of pairs, and is constant beyond the
    largest.
    """
    return _at(pairs, _CONSTANTS[kind, rank])


def gap_of(pairs: int) -> float:
    """Return how many spreads a group must lie below the rest of its arm, interpolated like `constant`."""
    return _at(pairs, _GAPS)


def _at(pairs: int, simulated: tuple[float, ...]) -> float:
    return float(np.interp(-1 / pairs, [-1 / n for n in _PAIRS], simulated))


def collapsed(treated: npt.ArrayLike, control: npt.ArrayLike, delta: float) -> tuple[Marks, Marks]:
    """Return which runs of the treatment and of the control are far below their arm.

    Parameters
    ----------
    treated, control : [..., pairs], the measure for both runs of every pair in the unit of δ, where higher is better.
        With fewer than 5 pairs, no run is marked.
    delta : smallest effect of interest.

    Raises
    ------
    ValueError: the two arrays have different shapes, a value is not finite, or delta is not positive.
    """
    both = _checked(treated, control, delta)
    marks = np.zeros(both[0].shape, dtype=bool), np.zeros(both[1].shape, dtype=bool)
    if both[0].shape[-1] < FEWEST_PAIRS:
        return marks
    least = LEAST_DROP * delta
    difference = both[0] - both[1]
    for rank in _EXAMINED:
        for side, found in enumerate(_far(both, rank, least, "accuracies")):
            marks[side][...] |= found
        for side, values in enumerate((difference, -difference)):
            found = _far([values], rank, least, "differences")[0]
            marks[side][...] |= found & (_above(both[side]) >= least)
    pairs = difference.shape[-1]
    for side, values in enumerate((difference, -difference)):
        marks[side][...] |= _groups(both[side], both[side], least, pairs - _FEWEST_ABOVE)
        marks[side][...] |= _groups(values, both[side], least, pairs // 2)
    return marks


def _groups(values: npt.NDArray[Any], own: npt.NDArray[Any], least: float, most: int) -> Marks:
    """Return which runs are in a group far below the rest in `values` and are also far below the rest in `own`."""
    pairs = values.shape[-1]
    group: Marks = (values <= _edges(values, least, most)[..., None]).reshape(-1, pairs)
    rows = own.reshape(-1, pairs)
    for place in np.flatnonzero(group.any(axis=1)):
        group[place] &= np.median(rows[place][~group[place]]) - rows[place] >= least
    return group.reshape(values.shape)


def _edges(values: npt.NDArray[Any], least: float, most: int) -> npt.NDArray[Any]:
    """Return the highest value in the group of at most `most` runs that is far below the rest; -inf without a group."""
    pairs, ordered = values.shape[-1], np.sort(values, axis=-1)
    edges, largest = np.full(values.shape[:-1], -np.inf), np.full(values.shape[:-1], gap_of(pairs))
    for size in range(_FEWEST, min(most, pairs - _FEWEST_ABOVE) + 1):
        below, above = ordered[..., :size], ordered[..., size:]
        gap = above[..., 0] - below[..., -1]
        within = (size * below.var(axis=-1) + (pairs - size) * above.var(axis=-1)) / (pairs - 2)
        multiple = gap / np.sqrt(np.maximum(within, np.finfo(float).tiny))
        far = (gap >= least) & (multiple > largest)
        edges, largest = np.where(far, below[..., -1], edges), np.where(far, multiple, largest)
    return edges


def _checked(treated: npt.ArrayLike, control: npt.ArrayLike, delta: float) -> list[npt.NDArray[Any]]:
    """Return the values of both arms; raise ValueError as described in `collapsed`."""
    both: list[npt.NDArray[Any]] = [np.asarray(values, dtype=float) for values in (treated, control)]
    if both[0].shape != both[1].shape:
        raise ValueError(f"two runs per pair are required; got {both[0].shape} and {both[1].shape}")
    if not all(np.isfinite(values).all() for values in both):
        raise ValueError("values must be finite; drop incomplete pairs first")
    if not delta > 0:
        raise ValueError(f"delta must be positive; got {delta!r}")
    return both


def _far(sides: list[npt.NDArray[Any]], rank: int, least: float, kind: Kind) -> list[Marks]:
    """Return, for each side, which values are up to this rank, if the one at this rank is far below the higher ones."""
    edges, drops, variances = zip(*(_below_the_rest(values, rank) for values in sides), strict=True)
    pooled = sum(variances) / len(variances)
    needed = constant(kind, rank, sides[0].shape[-1])
    found = []
    for values, edge, drop, variance in zip(sides, edges, drops, variances, strict=True):
        far = (drop >= least) & (drop > needed * np.sqrt(np.maximum(variance, pooled)))
        found.append(far[..., None] & (values <= edge[..., None]))
    return found


def _below_the_rest(values: npt.NDArray[Any], rank: int) -> tuple[npt.NDArray[Any], ...]:
    """Return the value at a rank (1 is lowest), how far the higher values' median is above it, and their variance."""
    ordered = np.sort(values, axis=-1)
    edge, rest = ordered[..., rank - 1], ordered[..., rank:]
    return edge, np.median(rest, axis=-1) - edge, rest.var(axis=-1, ddof=1)


def _above(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return how far the median of an arm lies above each of its runs."""
    drop: npt.NDArray[Any] = np.median(values, axis=-1, keepdims=True) - values
    return drop


def predicts_one_class(share: float, largest: float) -> bool:
    """Return whether a run predicts (almost) only one class.

    Parameters
    ----------
    share : share of the run's predictions that name the class it predicts most often.
    largest : share of the largest class among the test images. A network that is right for 99 % of the images predicts
        that class about as often as it occurs.
    """
    return largest < 1 and 1 - share <= LEAST_OTHERS * (1 - largest)


def highest_rate(failures: int, runs: int, confidence: float = CONFIDENCE) -> float:
    """Return the highest failure rate that these failures do not exclude (one-sided; Clopper & Pearson, 1934).

    Without a failure, the rate is 1 − (1 − confidence)^(1 / runs), which is about 3 / runs (the “rule of three”).

    ValueError if `failures` is not between 0 and `runs`, or there are no runs.
    """
    if not 0 <= failures <= runs or runs < 1:
        raise ValueError(f"0 to {runs} failures of at least one run are required; got {failures}")
    if failures == runs:
        return 1.0
    return float(beta_quantile(confidence, failures + 1.0, float(runs - failures)))
