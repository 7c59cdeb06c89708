"""Costs and benefits of looks: chance of a verdict by each look, price of looks at any time, and half-widths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.looks import FEWEST_PAIRS, Looks
from analysis.statistics.half_width import pairs_for_half_width
from analysis.statistics.simulation import Outcomes, power_over, shown_by_look, simulate
from analysis.statistics.spread import Spread
from analysis.statistics.verdict import STOPPING

STUDIES = 4000
"""Number of simulated studies per row."""
_SEED = 20210302
_SHOWN_NUMBERS = (5, 6, 8, 10, 12, 15, 20, 30, 40, 60, 80, 100, 150, 200, 300, 500, 1000)
"""Numbers of pairs that the table shows if a study may have a look after any number of pairs."""
_ABOVE_0 = "positive, size open"
_EQUAL_LOOKS = 4
"""Number of planned looks with which looks at any time are compared."""
ASSURANCES = (0.8, 0.9)
BY_LOOK = ["seed_sd", "effect", "pairs", "level", "settled", "shown"]
PRICES = [
    "seed_sd",
    "effect",
    "most",
    "settled",
    "pairs",
    "any_settled",
    "any_pairs",
    "any_most",
    "any_pairs_at_equal_chance",
]
HALF_WIDTHS = ["seed_sd", "half_width", "expected", *(f"assured_{round(100 * a)}" for a in ASSURANCES)]


def drawn(
    rng: np.random.Generator, spread: Spread, effect: float, pairs: int, studies: int = STUDIES
) -> npt.NDArray[np.float64]:
    """Return simulated differences, [studies, pairs]; if the true spread is unknown, it is drawn for each study."""
    sds = spread.sd if spread.is_known else spread.draws(rng, studies)[:, None]
    return np.asarray(rng.normal(size=(studies, pairs)) * sds + effect)


def ends(gain: float | None) -> frozenset[str]:
    """Return the verdicts with which `ablate run --until-verdict` ends.

    These are the verdicts that stop a study. If no reported gain applies, there is no stopping verdict for a gain above
    δ; in this case, a verdict whose interval is above 0 also counts.
    """
    return frozenset(STOPPING) | ({_ABOVE_0} if gain is None else frozenset())


def _ends(differences: npt.NDArray[np.float64], looks: Looks, delta: float, gain: float | None) -> Outcomes:
    return simulate(differences, looks, delta, gain, ends=ends(gain))


def by_look(
    looks: Looks,
    most: int,
    spreads: Sequence[tuple[float, Spread]],
    effects: Iterable[float],
    delta: float,
    gain: float | None,
) -> pd.DataFrame:
    """Return one row per spread, true gain and look, with the look's level and the cumulative chances.

    The columns are those in `BY_LOOK`: `settled` is the chance of a verdict that ends the study (see `ends`); `shown`
    is the chance that an interval was above 0. At the first look, `shown` is exact, computed from the noncentral t
    distribution.

    Parameters
    ----------
    most : number of pairs at which the study ends.
    spreads : the seed SD, which identifies a row, and the spread of the differences.
    delta, gain : as in `simulate`.
    """
    rng, rows = np.random.default_rng(_SEED), []
    numbers = [n for n in looks.reached(most) if not looks.anytime or n in _SHOWN_NUMBERS or n == most]
    place = {number: at for at, number in enumerate(looks.numbers)}
    for seed_sd, spread in spreads:
        for effect in effects:
            differences = drawn(rng, spread, effect, most)
            ended, shown = _ends(differences, looks, delta, gain), shown_by_look(differences, looks)
            shown[0] = _shown_at_first(effect, spread, looks)
            for number in numbers:
                at = place[number]
                known = looks.levels[at], ended.settled_by(number), float(max(shown[0], shown[at]))
                rows.append((seed_sd, effect, number, *known))
    return pd.DataFrame(rows, columns=BY_LOOK)


def _shown_at_first(effect: float, spread: Spread, looks: Looks) -> float:
    """Return the chance that the interval at the first look is above 0.

    Two-sided power would also count intervals below 0.
    """
    level = looks.levels[0]
    if level == 0:
        return 0.0
    if effect == 0:
        return level / 2
    # For a gain, the chance of an interval below 0 is less than 1e-3 of the level whenever power matters.
    return power_over(effect, spread, looks.numbers[0], level)


def price_of_any(
    looks: Looks,
    most: int,
    spreads: Sequence[tuple[float, Spread]],
    effects: Iterable[float],
    delta: float,
    gain: float | None,
) -> pd.DataFrame:
    """Return how much more looks at any time cost than planned looks, one row per spread and true gain.

    The columns are listed in `PRICES`. For planned looks, they contain the number of pairs at the last look (`most`),
    the chance that a verdict ends the study by then, and the mean number of pairs. For looks at any time, they contain
    the chance and the mean for the same `most`. One column contains the smallest maximum number of pairs with which
    looks at any time reach the chance of the planned looks. The last column contains the mean number of pairs with this
    maximum. Both are NaN if three times as many pairs do not suffice, or if the chance with planned looks is below 5 %.

    Parameters
    ----------
    looks : looks of the study. Looks at any time are compared with four equally spaced looks up to `most`.
    """
    rng, rows = np.random.default_rng(_SEED), []
    fixed = _equal_looks(most) if looks.anytime else looks
    anytime = looks if looks.anytime else Looks.at_any_time(alpha=looks.alpha)
    last = fixed.numbers[-1]
    for seed_sd, spread in spreads:
        for effect in effects:
            differences = drawn(rng, spread, effect, min(3 * last, anytime.numbers[-1]))
            planned = _ends(differences[:, :last], fixed, delta, gain)
            free = _ends(differences, anytime, delta, gain)
            chance = planned.settled_by(last)
            rows.append(
                (
                    *(seed_sd, effect, last, chance, planned.pairs_up_to(last)),
                    *(free.settled_by(last), free.pairs_up_to(last), *_at_equal_chance(free, chance)),
                )
            )
    return pd.DataFrame(rows, columns=PRICES)


def _at_equal_chance(free: Outcomes, chance: float) -> tuple[float, float]:
    """Return the smallest maximum number of pairs with this chance of a verdict, and the resulting mean number."""
    if chance < 0.05:
        return float("nan"), float("nan")
    for most in range(FEWEST_PAIRS, int(free.pairs.max()) + 1):
        if free.settled_by(most) >= chance:
            return float(most), free.pairs_up_to(most)
    return float("nan"), float("nan")


def _equal_looks(most: int) -> Looks:
    numbers = {max(FEWEST_PAIRS, round(most * part / _EQUAL_LOOKS)) for part in range(1, _EQUAL_LOOKS + 1)}
    return Looks(tuple(sorted(numbers)))


def half_widths(half_width: float, looks: Looks, spreads: Sequence[tuple[float, Spread]]) -> pd.DataFrame:
    """Return how many pairs are needed for this half-width of the last interval, one row per spread.

    The columns, listed in `HALF_WIDTHS`, contain the number of pairs needed on average, and with 80 % and 90 %
    assurance; NaN stands for more than 10,000 pairs.

    Parameters
    ----------
    half_width : half-width in the unit of the spreads.
    """
    rows = []
    for seed_sd, spread in spreads:
        found = [pairs_for_half_width(half_width, spread, looks, assurance) for assurance in (None, *ASSURANCES)]
        rows.append((seed_sd, half_width, *(float("nan") if n is None else float(n) for n in found)))
    return pd.DataFrame(rows, columns=HALF_WIDTHS)
