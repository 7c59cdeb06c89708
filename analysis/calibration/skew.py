"""How often the verdict is wrong if runs are not normally distributed: collapses, skew, ceilings and ties.

The rates in the second table have no band: they show when the procedure must not be trusted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.calibration.rates import DELTA, LOOKS, REPORTED, Rate, Table
from analysis.statistics.collapse import collapsed
from analysis.statistics.distributions import t_quantile
from analysis.statistics.robust import method_of, signed_ranks, trimmed_mean
from analysis.statistics.simulation import Outcomes, simulate

Numbers = npt.NDArray[np.float64]
Marks = npt.NDArray[np.bool_]
Arms = tuple[Numbers, Numbers]
"""Accuracies in pp, [studies, pairs], of the treatment and of the control."""

LOSS = 14.0
"""Accuracy that a collapsed run loses, pp: from the accuracies that the claim reports to about chance level."""
HELD = (0.5, 0.8, 1.0)
"""Standard deviations of runs, pp, for which detection must reach 95 %."""
_CORRELATION = 0.9
_GRID = 1.0
"""Step to which tied accuracies are rounded, pp."""


def collapses(rng: np.random.Generator, repetitions: int) -> Table:
    """Return how often a collapse is detected, and how often one is reported although there is none."""
    rows, rates = [], []
    for pairs in LOOKS.numbers:
        for sd in (*HELD, 1.5, 2.0):
            found = {name: _share(rng, repetitions, pairs, sd, alter) for name, alter in _ALTERED.items()}
            rows.append((str(pairs), f"{sd:g}", *(f"{value:.3f}" for value in found.values())))
            if sd in HELD:
                held = {name: value for name, value in found.items() if pairs >= _PAIRS_FOR.get(name, 0)}
                rates += [_held(name, value, pairs, sd, repetitions) for name, value in held.items()]
    note = (
        "The share of studies in which the rule in `analysis.statistics.collapse` marks a run, by the standard "
        f"deviation of runs, with δ = {DELTA:g} pp. The first columns are for studies with collapses of {LOSS:g} pp: "
        "one run of the treatment; two of its runs; one run of either arm; one run if seeds affect both arms equally "
        "(correlation .9); three of the treatment's runs; and half of its runs. The other columns are for studies "
        "without collapses: normal runs; normal runs with a correlation of .9; runs of which half are at a ceiling; "
        "accuracies rounded to 1 pp; and a treatment that varies three times as much as the control. For standard "
        "deviations up to 1 pp, the detection rate must be at least .95, and the rate of false cautions at most .05. "
        "With larger standard deviations, a collapsed run is no longer far from the others: at 1.5 pp and 5 pairs, "
        "one collapse in ten is missed. If three of five runs collapse, this is missed more often, because the two "
        "other runs contain little information about their spread. If runs with a standard deviation of 2 pp reach a "
        "ceiling, the rule marks the lowest runs too often."
    )
    columns = ("pairs", "SD of runs", *_ALTERED)
    return Table("Collapses", note, columns, tuple(rows), tuple(rates))


def _held(name: str, value: float, pairs: int, sd: float, repetitions: int) -> Rate:
    title = f"runs marked: {name}, {pairs} pairs, SD {sd:g}"
    return Rate(title, value, repetitions, *((0.95, 1.0) if name.startswith("collapse") else (0.0, 0.05)))


def _share(rng: np.random.Generator, studies: int, pairs: int, sd: float, alter: Callable[[Arms], Arms]) -> float:
    """Return the share of studies in which a run is marked."""
    return float(_marked(*alter(_normal(rng, studies, pairs, sd))).mean())


def _normal(rng: np.random.Generator, studies: int, pairs: int, sd: float) -> Arms:
    treated, control = rng.normal(0, sd, size=(2, studies, pairs))
    return treated, control


def _marked(treated: Numbers, control: Numbers) -> Marks:
    """Return a mask of the studies in which a run of either arm is marked."""
    of_treatment, of_control = collapsed(treated, control, DELTA)
    return np.asarray((of_treatment | of_control).any(axis=1))


def _fallen(values: Numbers, runs: int) -> Numbers:
    """Return an arm's runs after the first `runs` of them have collapsed."""
    return values - LOSS * (np.arange(values.shape[1]) < runs)


def _together(arms: Arms) -> Arms:
    """Return arms with the same spread in which runs with the same seed are correlated."""
    treated, control = arms
    return treated, _CORRELATION * treated + np.sqrt(1 - _CORRELATION**2) * control


def _one_correlated(arms: Arms) -> Arms:
    treated, control = _together(arms)
    return _fallen(treated, 1), control


def _ceiling(arms: Arms) -> Arms:
    return np.minimum(arms[0], 0), np.minimum(arms[1], 0)


def _tied(arms: Arms) -> Arms:
    return _GRID * np.round(arms[0] / _GRID), _GRID * np.round(arms[1] / _GRID)


_ALTERED: dict[str, Callable[[Arms], Arms]] = {
    "collapse of one": lambda arms: (_fallen(arms[0], 1), arms[1]),
    "collapse of two": lambda arms: (_fallen(arms[0], 2), arms[1]),
    "collapse in both": lambda arms: (_fallen(arms[0], 1), _fallen(arms[1][:, ::-1], 1)),
    "collapse, correlated": _one_correlated,
    "collapse of three": lambda arms: (_fallen(arms[0], 3), arms[1]),
    "collapse of half": lambda arms: (_fallen(arms[0], arms[0].shape[1] // 2), arms[1]),
    "normal": lambda arms: arms,
    "correlated": _together,
    "ceiling": _ceiling,
    "tied": _tied,
    "unequal": lambda arms: (3 * arms[0], arms[1]),
}
"""How normally distributed runs are altered, by column of the table."""


_PAIRS_FOR = {"collapse of three": 8}
"""Smallest number of pairs at which the detection of an alteration must reach its rate, if not at the first look."""


class _Reading(NamedTuple):
    """What the looks show in every simulated study; each field is [studies]."""

    ends: Outcomes
    excludes: Marks  # some look's t interval excludes the true mean
    robust_excludes: Marks  # and so does that look's robust interval
    collapse: Marks  # a run in the deciding look is marked
    disagrees: Marks  # the robust interval of that look judges 0 differently


def not_normal(rng: np.random.Generator, repetitions: int) -> Table:
    """Return how often verdicts are false if runs are not normally distributed."""
    rows = [(name, *_row(_read(*draw(rng, repetitions)))) for name, draw in _SCENARIOS.items()]
    columns = (
        "seeds",
        "some look excludes 0",
        "robust",
        "ends above 0",
        "“real” or “holds”",
        "ends below 0",
        "false, with a collapse",
        "false, robust disagrees",
        "false, with either",
        "all, with a collapse",
    )
    return Table("Seeds that are not normal", _note(), columns, tuple(rows))


_ABOVE = (
    "trivial gain",
    "holds",
    "real, smaller than reported",
    "positive, materiality open",
    "positive, size open",
)
_REAL = ("holds", "real, smaller than reported")
_BELOW = ("harmful", "trivially lower", "negative, materiality open")


def _note() -> str:
    return (
        f"Looks are taken after 5, 8 and 12 pairs, with δ = {DELTA:g} pp and r = {REPORTED:g} pp. The true mean "
        "difference is 0 everywhere, so every verdict above or below 0 is false. These rates have no band. The first "
        "two columns show how often at least one look's t interval (nominal .05) or robust interval excludes 0, and "
        "the next columns show where the study ends. The columns “false” refer to the studies that end above or below "
        "0: the shares in which the rule for collapses marks a run, in which the robust interval of the same look "
        "does not exclude 0, and in which either is the case. The last column is the share of all studies with a "
        "marked run. Skewed differences have a standard deviation of 1.41 pp; for a treatment with collapses, the row "
        "names the standard deviation of its runs.\n\n**When not to trust a verdict.** There are two such cases. In "
        "the first case, a run can fail occasionally, but none of the paired runs failed. The interval is then short, "
        "and its mean is the mean of the runs that did not fail. The false verdicts in the last rows come from such "
        "studies. Hardly any of them has a marked run, because failures that did not occur cannot be detected, and "
        "the robust reading rarely helps. Only more seeds help. Each headline therefore says which failure rate the "
        "pairs do not rule out, and by how much failures at this rate would lower the mean. If a gain is smaller than "
        "that, you need more seeds, or other evidence that training does not fail. In the second case, differences "
        "have a long lower tail, as in the rows “lognormal” and “exponential”. The robust reading does not help in "
        "this case either, because it estimates a center that is not the mean. Look at the results seed by seed "
        "before you trust a small gain. Heavy but symmetric tails, unequal spreads, ties and ceilings do little harm."
    )


def _row(found: _Reading) -> tuple[str, ...]:
    above, real, below = (np.isin(found.ends.kinds, kinds) for kinds in (_ABOVE, _REAL, _BELOW))
    wrong = above | below
    shares = [found.excludes, found.robust_excludes, above, real, below]
    of_wrong = [found.collapse, found.disagrees, found.collapse | found.disagrees]
    return (
        *(f"{each.mean():.3f}" for each in shares),
        *(f"{each[wrong].mean():.2f}" if wrong.any() else "–" for each in of_wrong),
        f"{found.collapse.mean():.3f}",
    )


def _read(treated: Numbers, control: Numbers) -> _Reading:
    """Return what the looks show in every simulated study; the true mean difference is 0."""
    x = treated - control
    ends = simulate(x, LOOKS, DELTA, REPORTED)
    found = _Reading(ends, *(np.zeros(len(x), dtype=bool) for _ in range(4)))
    for number, level in zip(LOOKS.numbers, LOOKS.levels, strict=True):
        by_t = _t_excludes(x[:, :number], level)
        by_ranks = _robust_excludes(x[:, :number], level)
        found.excludes[...] |= by_t
        found.robust_excludes[...] |= by_ranks
        here = ends.pairs == number
        found.disagrees[here] = (by_t != by_ranks)[here]
        found.collapse[here] = _marked(treated[here, :number], control[here, :number])
    return found


def _t_excludes(x: Numbers, alpha: float) -> Marks:
    """Return in which studies the t interval excludes 0; differences without any spread have no verdict."""
    n, sd = x.shape[1], x.std(axis=1, ddof=1)
    return np.asarray((sd > 0) & (np.abs(x.mean(axis=1)) * np.sqrt(n) > t_quantile(1 - alpha / 2, n - 1) * sd))


def _robust_excludes(x: Numbers, alpha: float) -> Marks:
    """Return in which studies the robust interval excludes 0; it is computed for a thousand studies at a time."""
    reading = signed_ranks if method_of(x.shape[1], alpha) == "signed ranks" else trimmed_mean
    ends = [reading(part, alpha)[1:3] for part in np.array_split(x, max(1, len(x) // 1000))]
    lower, upper = (np.concatenate(side) for side in zip(*ends, strict=True))
    return (lower > 0) | (upper < 0)


Draw = Callable[[np.random.Generator, int], Arms]


def _plain(sd: float) -> Draw:
    return lambda rng, studies: _normal(rng, studies, LOOKS.numbers[-1], sd)


def _skewed(draw: Callable[[np.random.Generator, tuple[int, int]], Numbers], mean: float, sd: float) -> Draw:
    """Return studies whose differences have a long lower tail, a mean of 0 and the standard deviation √2 pp."""

    def arms(rng: np.random.Generator, studies: int) -> Arms:
        shape = studies, LOOKS.numbers[-1]
        control = rng.normal(0, 0.5, size=shape)
        return control - np.sqrt(2) * (draw(rng, shape) - mean) / sd, control

    return arms


def _collapsing(rate: float, sd: float) -> Draw:
    """Return studies in which runs of the treatment lose 14 pp at this rate; the mean difference is nevertheless 0."""

    def arms(rng: np.random.Generator, studies: int) -> Arms:
        treated, control = _normal(rng, studies, LOOKS.numbers[-1], sd)
        return treated + LOSS * (rate - (rng.random(treated.shape) < rate)), control

    return arms


def _altered(draw: Draw, alter: Callable[[Arms], Arms]) -> Draw:
    return lambda rng, studies: alter(draw(rng, studies))


_SCENARIOS: dict[str, Draw] = {
    "normal, SD of runs 1": _plain(1.0),
    "lognormal(1)": _skewed(
        lambda rng, shape: rng.lognormal(0, 1, size=shape), float(np.exp(0.5)), float(np.sqrt(np.e * (np.e - 1)))
    ),
    "exponential": _skewed(lambda rng, shape: rng.exponential(1, size=shape), 1.0, 1.0),
    "t(3)": _skewed(lambda rng, shape: rng.standard_t(3, size=shape), 0.0, float(np.sqrt(3))),
    "unequal: SD 1.5 and .5": _altered(_plain(0.5), _ALTERED["unequal"]),
    "tied: SD 1, rounded to 1 pp": _altered(_plain(1.0), _tied),
    "ceiling: SD 1, half of the runs at the ceiling": _altered(_plain(1.0), _ceiling),
    **{
        f"{100 * rate:g} % of treatment runs lose {LOSS:g} pp, SD {sd:g}": _collapsing(rate, sd)
        for rate in (0.1, 0.05)
        for sd in (0.1, 0.25, 0.5, 1.0)
    },
}
"""How runs are drawn, by row of the table."""
