"""Verdicts allowed after any number of pairs, and looks that spend the error rate in different ways."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analysis.calibration.rates import DELTA, REPORTED, Rate, Table
from analysis.looks import MIXTURE_WIDTH, SPENDINGS, Looks
from analysis.statistics.distributions import t_quantile
from analysis.statistics.verdict import rows as verdict_rows

MOST = 60
"""Largest number of pairs after which a verdict is determined."""
_SEED = 20210303
_BLOCK = 4000
"""Number of studies that are simulated in one batch."""
_WIDTHS = (0.5, MIXTURE_WIDTH, 2.5)
_SCENARIOS = ((0.25, 0.0), (0.5, 0.0), (1.0, 0.0), (0.5, 1.0), (1.0, 1.0), (1.0, -1.0), (1.0, 2.46), (1.5, 4.92))
"""Standard deviation of each arm over seeds, and the true difference, in pp."""


def read_at_any_time(studies: int) -> Table:
    """Return how often an interval misses the true difference, and a verdict is false, after some of 5 to 60 pairs.

    Parameters
    ----------
    studies : number of simulated studies per rate.
    """
    rng, table, rates = np.random.default_rng(_SEED), [], []
    for width in _WIDTHS:
        looks = Looks.at_any_time(width)
        for seed_sd, true in _SCENARIOS:
            missed, false, settled, pairs = _ever(rng, studies, looks, np.sqrt(2) * seed_sd, true)
            name = f"width {width:g}, seed SD {seed_sd:g}, Δ {true:g}"
            misses = f"some interval after 5 to {MOST} pairs misses the true difference, {name}"
            is_false = f"false verdict after any number of pairs from 5 to {MOST}, {name}"
            rates.append(Rate(misses, missed, studies, 0, 0.05))
            rates.append(Rate(is_false, false, studies, 0, 0.05))
            cells = (f"{missed:.4f}", f"{false:.4f}", f"{settled:.3f}", f"{pairs:.1f}")
            table.append((f"{width:g}", f"{seed_sd:g}", f"{true:g}", *cells))
    note = (
        f"The verdict is read with `looks: any` after every number of pairs from 5 to {MOST}, with δ = {DELTA:g} pp, "
        f"r = {REPORTED:g} pp and {studies:,} studies per row. “Misses” is the share of studies in which at least one "
        "interval does not contain the true difference. “False” is the share of studies in which, after some number "
        "of pairs, there is a stopping verdict that the truth contradicts, even if the study would have stopped "
        "earlier. Each of these may occur in at most .05 of studies. “Settled” is the share of studies with a "
        "stopping verdict by the last number of pairs, and “pairs” is the mean number of pairs until then. The "
        f"default width is {MIXTURE_WIDTH:g}."
    )
    columns = ("width", "seed SD", "true Δ", "misses", "false", "settled", "pairs")
    return Table("Verdicts after any number of pairs", note, columns, tuple(table), tuple(rates))


def _ever(
    rng: np.random.Generator, studies: int, looks: Looks, sd: float, true: float
) -> tuple[float, float, float, float]:
    """Return the shares of studies with a miss, a false verdict and a stopping verdict, and the mean pair count."""
    sums, done = np.zeros(4), 0
    numbers = np.array(looks.reached(MOST))
    critical = t_quantile(1 - np.array(looks.levels[: len(numbers)]) / 2, numbers - 1)
    while done < studies:
        count = min(_BLOCK, studies - done)
        lower, upper = _intervals(rng.normal(true, sd, size=(count, MOST)), numbers, critical)
        kinds = verdict_rows(lower, upper, DELTA, REPORTED)
        stopped = np.isin(kinds, sorted(_ENDS))
        first = np.where(stopped.any(axis=1), numbers[stopped.argmax(axis=1)], MOST)
        missed = ((lower > true) | (upper < true)).any(axis=1)
        false = np.isin(kinds, sorted(_false_where(true))).any(axis=1)
        sums += [missed.sum(), false.sum(), stopped.any(axis=1).sum(), first.sum()]
        done += count
    missed_share, false_share, settled, pairs = (sums / studies).tolist()
    return missed_share, false_share, settled, pairs


_ENDS = {"harmful", "trivially lower", "no material gain", "trivial gain", "holds", "real, smaller than reported"}


def _false_where(true: float) -> set[str]:
    """Return the stopping verdicts that a true difference contradicts."""
    conditions = {
        "harmful": true >= -DELTA,
        "trivially lower": true >= 0 or true <= -DELTA,
        "no material gain": true >= DELTA,
        "trivial gain": true >= DELTA or true <= 0,
        "real, smaller than reported": true <= DELTA or true >= REPORTED,
        "holds": true <= REPORTED / 2,
    }
    return {kind for kind, is_false in conditions.items() if is_false}


def _intervals(
    differences: npt.NDArray[np.float64], numbers: npt.NDArray[np.int64], critical: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the limits of the intervals after each number of pairs, [studies, numbers]."""
    n = np.arange(1, differences.shape[1] + 1)
    mean = differences.cumsum(axis=1) / n
    centred = differences - differences[:, :1]  # the shift avoids cancellation in the sum of squares
    squares = (centred**2).cumsum(axis=1) - centred.cumsum(axis=1) ** 2 / n
    at = numbers - 1
    half = critical * np.sqrt(np.maximum(squares[:, at], 0) / at / numbers)
    return mean[:, at] - half, mean[:, at] + half


def spendings(studies: int) -> Table:
    """Return the level of each look in every design, and the simulated overall error rate."""
    rng, table, rates = np.random.default_rng(_SEED), [], []
    for pairs in ((5, 8, 12), (5, 6, 7, 20)):
        null = rng.standard_normal((studies, pairs[-1]))
        for spending in SPENDINGS:
            looks = Looks(pairs, spending=spending)
            numbers = np.array(looks.numbers)
            lower, upper = _intervals(null, numbers, t_quantile(1 - np.array(looks.levels) / 2, numbers - 1))
            error = float(((lower > 0) | (upper < 0)).any(axis=1).mean())
            name = f"{spending}: rejection of a true null hypothesis, looks after {pairs}"
            rates.append(Rate(name, error, studies, 0.05, 0.05))
            levels = ", ".join(f"{level:.5f}" for level in looks.levels)
            table.append((", ".join(map(str, pairs)), spending, levels, f"{error:.4f}"))
    note = (
        "The levels are integrated for t statistics; the overall error rate across all looks is simulated, with "
        f"{studies:,} studies per row."
    )
    columns = ("Looks at pairs", "spending", "levels", "overall error rate")
    return Table("How the error rate is divided among the looks", note, columns, tuple(table), tuple(rates))
