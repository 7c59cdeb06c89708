"""How fast can studies be simulated?

Question: How many seconds does it take to simulate 20,000 group-sequential studies (looks after 5, 8 and 12 pairs),
    each until its verdict?

Rivals: a straightforward loop over studies that uses scipy. At each look, the loop calls `scipy.stats.ttest_1samp` on
    the differences, computes the interval of the result at the look's level, and applies the verdict table with if and
    elif, until a verdict stops the study. The loop is timed on every 20th study, and its time is multiplied by 20; an
    assertion checks that the loop ends each of these studies with the same verdict after the same number of pairs. A
    second rival runs the same tests on all studies at once (`axis=1`), as an experienced numpy user would write them.
    The studies are those of docs/calibration.md, 2,000 for each of its ten scenarios.

Measured: 2026-11-25, Intel(R) Xeon(R) Processor, 2 cores, 24 GiB, Linux 6.18.44-fc-v657, Python 3.11.7; torch 2.14.1,
    torchvision 0.29.1, ray 2.60.0, optuna 5.0.0, pandas 3.1.1, pyarrow 26.0.1, numpy 2.4.6, scipy 1.17.1, matplotlib
    3.11.2; medians of 7 rounds, 10 s in all.

Reached: time of a loop with scipy in units of `simulate`, the same verdicts: 1,707 (≥ 50).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from analysis.calibration import DELTA, LOOKS, REPORTED
from analysis.statistics.simulation import Outcomes, normal_studies, simulate
from bench.harness import Answer, Asked, Goal, main, ratios, rounds_of, row, timed

_SCENARIOS = (
    (0.25, 0.5),
    (0.25, 0.8),
    (0.5, 0.0),
    (1.0, 0.0),
    (1.0, 1.0),
    (1.0, 2.46),
    (0.5, 2.46),
    (1.0, 4.92),
    (1.5, 4.92),
    (1.0, -2.0),
)
"""Standard deviation of each arm across seeds, and the true difference, in pp."""
STOPPING = ("harmful", "no material gain", "trivial gain", "holds", "real, smaller than reported")
_EVERY = 20


def verdict(low: float, high: float) -> str:
    """Return the verdict in the first row of the table that matches an interval."""
    kind = "inconclusive"
    if high < 0:
        kind = "harmful"
    elif low <= 0 and high < DELTA:
        kind = "no material gain"
    elif high < DELTA:
        kind = "trivial gain"
    elif low >= REPORTED / 2 and high >= REPORTED:
        kind = "holds"
    elif low >= DELTA and high < REPORTED:
        kind = "real, smaller than reported"
    elif low > 0 and high < REPORTED:
        kind = "positive, materiality open"
    elif low > 0:
        kind = "positive, size open"
    return kind


def study_by_study(differences: npt.NDArray[np.float64], levels: tuple[float, ...]) -> list[tuple[str, int]]:
    """Return the verdict that ended each study, and the number of pairs until then, computed with a loop."""
    ends = []
    for study in differences:
        kind, number = "", 0
        for number, level in zip(LOOKS.numbers, levels, strict=True):
            test = stats.ttest_1samp(study[:number], 0)
            interval = test.confidence_interval(1 - level)
            kind = verdict(interval.low, interval.high)
            if kind in STOPPING:
                break
        ends.append((kind, number))
    return ends


def all_at_once(differences: npt.NDArray[np.float64], levels: tuple[float, ...]) -> list[Any]:
    """Return the interval limits for every study at every look, computed by scipy along an axis, without verdicts."""
    return [
        stats.ttest_1samp(differences[:, :number], 0, axis=1).confidence_interval(1 - level)
        for number, level in zip(LOOKS.numbers, levels, strict=True)
    ]


def measure(asked: Asked) -> Answer:
    """Time the three methods in turn on the same studies."""
    each, rounds = (100, 2) if asked.quick else (2_000, 7)
    rng = np.random.default_rng(20210301)
    studies = np.concatenate(
        [normal_studies(rng, each, LOOKS, true, np.sqrt(2) * seed_sd) for seed_sd, true in _SCENARIOS]
    )
    few, levels = studies[::_EVERY], LOOKS.levels
    _agree(simulate(studies, LOOKS, DELTA, REPORTED), study_by_study(few, levels))
    loop = timed(lambda: study_by_study(few, levels))
    found = rounds_of(
        {
            "simulate": timed(lambda: simulate(studies, LOOKS, DELTA, REPORTED)),
            "scipy, study by study": lambda: _EVERY * loop(),
            "scipy, all at once, intervals alone": timed(lambda: all_at_once(studies, levels)),
        },
        rounds,
    )
    case = f"{len(studies):,} studies"
    rows = [row(case, name, [1000 * value for value in values], "ms") for name, values in found.items()]
    gain = row(case, "loop in units of simulate", ratios(found["scipy, study by study"], found["simulate"]), "×")
    goal = Goal("time of a loop with scipy in units of `simulate`, the same verdicts", gain.figure, 50, "least")
    return Answer([*rows, gain], [goal])


def _agree(simulated: Outcomes, looped: list[tuple[str, int]]) -> None:
    """Raise AssertionError if a study has a different verdict or number of pairs in the simulation and in the loop."""
    kinds, pairs = simulated.kinds[::_EVERY].tolist(), simulated.pairs[::_EVERY].tolist()
    for number, (ours, theirs) in enumerate(zip(zip(kinds, pairs, strict=True), looped, strict=True)):
        if ours != theirs:
            raise AssertionError(f"study {number * _EVERY}: {ours} by simulate, {theirs} by the loop")


if __name__ == "__main__":
    main(__doc__, measure)
