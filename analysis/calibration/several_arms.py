"""Studies with several arms: families of variants, the best of many variants, and gates."""

from __future__ import annotations

import numpy as np
from scipy import stats

from analysis.calibration.rates import DELTA, LOOKS, REPORTED, Rate, Table
from analysis.statistics.multiplicity import holm
from analysis.statistics.simulation import simulate
from analysis.statistics.verdict import OPEN


def families(rng: np.random.Generator, repetitions: int) -> Table:
    """Return the family-wise error rate of three arms without effect against a baseline, at one look and over all."""
    rows, rates = [], []
    for n in (5, 10):
        baseline = rng.standard_normal((repetitions, n, 1))
        x = rng.standard_normal((repetitions, n, 3)) - baseline
        p = stats.ttest_1samp(x, 0, axis=1).pvalue
        plain = float((p.min(axis=1) < 0.05).mean())
        adjusted = float(np.mean([holm(row).min() < 0.05 for row in p]))
        rows.append((f"one, after {n} pairs", f"{plain:.3f}", f"{adjusted:.3f}"))
        rates.append(Rate(f"family-wise error with Holm, n = {n}", adjusted, repetitions, 0.0, 0.05))
        rates.append(Rate(f"family-wise error without Holm, n = {n}", plain, repetitions, 0.08))
    x = rng.standard_normal((repetitions, 12, 3)) - rng.standard_normal((repetitions, 12, 1))
    by_look = np.stack([stats.ttest_1samp(x[:, :n], 0, axis=1).pvalue for n in LOOKS.numbers])
    smallest = by_look.min(axis=0)
    plain = float((smallest.min(axis=1) < 0.05).mean())
    # Holm's procedure on sequential p-values rejects something if the smallest of the three is at most the level for
    # alpha / 3.
    adjusted = float((smallest.min(axis=1) <= LOOKS.levels_at(0.05 / 3)[0]).mean())
    rows.append(("three, after 5, 8, 12", f"{plain:.3f}", f"{adjusted:.3f}"))
    rates.append(Rate("family-wise error with Holm over all looks", adjusted, repetitions, 0.0, 0.05))
    note = (
        "Three variants without effect are compared with one baseline. The table shows the share of studies in which "
        "any of them is reported as different from the baseline at the level .05."
    )
    return Table("Several variants", note, ("Looks", "unadjusted", "Holm"), tuple(rows), tuple(rates))


def selection(rng: np.random.Generator, repetitions: int) -> Table:
    """Return the error rate of testing only the best of many variants."""
    variants, seeds = 20, 5
    hits = np.zeros(2)
    for part in range(0, repetitions, 1000):
        count = min(1000, repetitions - part)
        x = rng.standard_normal((count, variants, seeds)) - rng.standard_normal((count, 1, seeds))
        best = x[np.arange(count), x.mean(axis=2).argmax(axis=1)]
        fresh = rng.standard_normal((count, seeds)) - rng.standard_normal((count, seeds))
        for index, y in enumerate((best, fresh)):
            hits[index] += (stats.ttest_1samp(y, 0, axis=1, alternative="greater").pvalue < 0.025).sum()
    same, new = hits / repetitions
    rows = (("the same five seeds", f"{same:.3f}"), ("five new seeds", f"{new:.3f}"))
    rates = (
        Rate("new seeds after a selection", float(new), repetitions, 0.025, 0.025),
        Rate("reuse of the selection's seeds is detected", float(same), repetitions, 0.08),
    )
    note = (
        "The best of 20 variants without effect is tested, one-sided, at the level .025. The table shows why a "
        "screening has its own seeds."
    )
    return Table("Testing a winner", note, ("Tested on", "error"), rows, rates)


_ABOVE_ZERO = ("trivial gain", "holds", "real, smaller than reported", *sorted(OPEN - {"inconclusive"}))


def gates(rng: np.random.Generator, repetitions: int) -> Table:
    """Return how often memory is found to cause a gain although one of the arms is truly as good as the treatment."""
    rows, rates = [], []
    for name, truths in (
        ("a network with as many parameters does as well", (REPORTED, 0.0, REPORTED)),
        ("a memory that never learns does as well", (REPORTED, REPORTED, 0.0)),
        ("no arm differs", (0.0, 0.0, 0.0)),
        ("AiM is better than all other arms", (REPORTED, REPORTED, REPORTED)),
    ):
        treatment = rng.standard_normal((repetitions, LOOKS.numbers[-1]))
        said = np.ones(repetitions, dtype=bool)
        for truth, reported in zip(truths, (REPORTED, None, None), strict=True):
            control = rng.standard_normal(treatment.shape) - truth
            said &= np.isin(simulate(treatment - control, LOOKS, DELTA, reported).kinds, _ABOVE_ZERO)
        share = float(said.mean())
        rows.append((name, f"{share:.4f}"))
        low, high = (0.8, 1.0) if min(truths) > 0 else (0.0, 0.025)
        rates.append(Rate(f"“memory causes the gain” if {name}", share, repetitions, low, high))
    note = (
        "The share of studies, with a seed SD of 1 pp, in which every gate is passed (baseline, as many parameters, "
        "memory that never learns). The conclusion is false if one of these arms does as well as AiM."
    )
    return Table("Memory causes the gain", note, ("Truth", "concluded"), tuple(rows), tuple(rates))
