"""Several looks at one comparison: their levels, their verdicts, and unplanned repeated looks."""

from __future__ import annotations

import numpy as np
from scipy import stats

from analysis.calibration.rates import DELTA, LOOKS, REPORTED, Rate, Table
from analysis.looks import Looks
from analysis.looks.sequential import constant
from analysis.statistics.simulation import normal_studies, pairs_for_power, simulate
from analysis.statistics.verdict import READ


def constants() -> Table:
    """Return the computed level of every look, next to the simulated level."""
    known = {(5, 8, 12): 0.0213, (5, 10, 15): 0.0206}
    rows, rates = [], []
    for looks in (*known, (5, 8), (10, 20, 30)):
        value = constant(looks)
        rows.append((", ".join(map(str, looks)), f"{value:.4f}", f"{known[looks]:.4f}" if looks in known else "–"))
        if looks in known:
            rates.append(Rate(f"constant of {looks}", value, 10**9, known[looks] - 1e-4, known[looks] + 1e-4))
    note = (
        "The level of each look for an overall error rate of .05 across all looks. The levels are computed by "
        "integration. For comparison, some are also computed from a simulation of 200 million draws (5, 8, 12) or 3 "
        "million draws (5, 10, 15)."
    )
    return Table(
        "Constants of repeated looks", note, ("Looks at pairs", "Level", "Simulated"), tuple(rows), tuple(rates)
    )


_SCENARIOS = (
    (0.25, 0.5),
    (0.25, 0.8),
    (0.25, -0.5),
    (0.5, 0),
    (0.5, -0.5),
    (1, 0),
    (1, 1),
    (1, 2.46),
    (0.5, 2.46),
    (1, 4.92),
    (1.5, 4.92),
    (1, -1),
    (1, -2),
    (0.5, -2),
)


def verdicts(rng: np.random.Generator, studies: int, levels: tuple[float, ...] | None) -> Table:
    """Return how often each verdict is reached when the truth is known."""
    rows, rates = [], []
    for seed_sd, true in _SCENARIOS:
        found = simulate(
            normal_studies(rng, studies, LOOKS, true, np.sqrt(2) * seed_sd), LOOKS, DELTA, REPORTED, levels
        )
        shares = [found.rate(kind) for kind in READ]
        rows.append((f"{seed_sd:g}", f"{true:g}", *(f"{share:.3f}" for share in shares), f"{found.pairs.mean():.1f}"))
        for verdict, is_false in (
            (("harmful",), true >= -DELTA),
            (("trivially lower",), true >= 0 or true <= -DELTA),
            (("no material gain", "trivial gain"), true >= DELTA),
            (("real, smaller than reported",), true <= DELTA or true >= REPORTED),
            (("holds",), true <= REPORTED / 2),
        ):
            if is_false:
                name = f"false “{' or '.join(verdict)}”, seed SD {seed_sd:g}, Δ {true:g}"
                rates.append(Rate(name, found.rate(*verdict), studies, 0, 0.025))
    # The error rate of the looks alone, on which the rates of false verdicts above depend.
    null = normal_studies(rng, studies, LOOKS, 0.0, 1.0)
    rejected = np.zeros(studies, dtype=bool)
    for n, level in zip(LOOKS.numbers, LOOKS.levels if levels is None else levels, strict=True):
        rejected |= stats.ttest_1samp(null[:, :n], 0, axis=1).pvalue <= level
    rates.append(Rate("any look rejects a true null hypothesis", float(rejected.mean()), studies, 0.05, 0.05))
    columns = ("seed SD", "true Δ", *READ, "mean n")
    note = (
        f"Looks are taken after 5, 8 and 12 pairs, with δ = {DELTA:g} pp and r = {REPORTED:g} pp. The seed SD is the "
        "standard deviation of either arm over seeds; the arms are independent, so the SD of a difference is √2 times "
        "as large. A verdict is false if the truth contradicts it; each kind of false verdict may occur in at most "
        f".025 of studies. In {rejected.mean():.4f} of studies, at least one look rejects a true null hypothesis."
    )
    return Table("Verdicts, end to end", note, columns, tuple(rows), tuple(rates))


def peeking(rng: np.random.Generator, repetitions: int) -> Table:
    """Return the error rate if there are more looks than planned."""
    x = rng.standard_normal((repetitions, 60 + 12))
    naive = np.zeros(repetitions, dtype=bool)
    for n in range(3, 16):
        naive |= stats.ttest_1samp(x[:, :n], 0, axis=1).pvalue < 0.05
    planned = np.zeros(repetitions, dtype=bool)
    for n, level in zip(LOOKS.numbers, LOOKS.levels, strict=True):
        planned |= stats.ttest_1samp(x[:, :n], 0, axis=1).pvalue <= level
    split = Looks((5, 8, 12), further_block=12)
    further = np.zeros(repetitions, dtype=bool)
    for n, level in zip(split.numbers, split.levels, strict=True):
        further |= stats.ttest_1samp(x[:, :n], 0, axis=1).pvalue <= level
    repeated = planned.copy()
    for n in range(24, 73, 12):
        repeated |= stats.ttest_1samp(x[:, :n], 0, axis=1).pvalue <= LOOKS.levels[0]
    found = {
        "p < .05 after every pair from 3 to 15": naive,
        "planned looks": planned,
        "planned looks and one further block, α split beforehand": further,
        "planned looks and five further blocks, α not split": repeated,
    }
    rows = tuple((name, f"{rejected.mean():.3f}") for name, rejected in found.items())
    rates = (
        Rate("planned looks", float(planned.mean()), repetitions, 0.05, 0.05),
        Rate("one further block", float(further.mean()), repetitions, 0.0, 0.05),
        Rate("naive peeking is detected", float(naive.mean()), repetitions, 0.15),
    )
    note = "The share of studies without an effect in which at least one look finds an effect, in either direction."
    return Table("Looking repeatedly", note, ("How", "error"), rows, rates)


def power() -> Table:
    """Return how many pairs are needed for 80 % power."""
    rows = []
    for effect in (4.92, 2.46, 1.0):
        cells = []
        for seed_sd in (0.5, 1, 1.5, 2.5):
            sd = np.sqrt(2) * seed_sd
            one, look = (pairs_for_power(effect, sd, alpha) for alpha in (0.05, LOOKS.levels[0]))
            cells.append(f"{one}/{look}")
        rows.append((f"{effect:g}", *cells))
    note = (
        f"The number of pairs for 80 % power at a single look with the level .05 / {LOOKS.levels[0]:.4f}, by the SD "
        "of either arm (the arms are independent)."
    )
    return Table("Pairs needed", note, ("Δ, pp", "SD .5", "SD 1", "SD 1.5", "SD 2.5"), tuple(rows))
