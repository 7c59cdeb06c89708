"""Why a look at a comparison gives no verdict, beyond missing pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from analysis.procedures import FIRST
from analysis.statistics.outcomes import JUDGED, baseline_trains
from analysis.wording import number_format

FLOOR = 3
"""Multiple of the best constant answer's accuracy below which, in the scope of a claim, an arm has hardly trained."""
Reason = Callable[[int], str]
"""From the number of pairs at a look to the reason to withhold its verdict; empty for none."""


def reasons(
    judged: pd.DataFrame,
    baseline: str | None,
    pair: tuple[str, str],
    seeds: Sequence[int],
    procedure: int,
    *,
    in_scope: bool,
    contradicted: Mapping[str, str] | None = None,
) -> Reason:
    """Return what withholds the verdict of each look at two arms.

    Procedure 1 judges the baseline by all its runs; procedure 2 by those of the look, and requires a floor. Rows that
    contradict themselves decide nothing in either.

    Parameters
    ----------
    judged : frame of `outcomes`.
    pair : treatment and control.
    seeds : of the pairs, in the order of the plan.
    in_scope : whether the study tests its claim.
    contradicted : by arm, how its stored rows contradict themselves or others.
    """
    wrong = next((contradicted[arm] for arm in pair if arm in contradicted), "") if contradicted else ""
    if wrong:
        return lambda _number: wrong
    if procedure == FIRST:
        always = _baseline(judged, baseline)
        return lambda _number: always

    def at(number: int) -> str:
        there = judged[judged["seed"].isin(seeds[:number])]
        return _baseline(there, baseline) or (_floor(there, pair) if in_scope else "")

    return at


def _baseline(judged: pd.DataFrame, baseline: str | None) -> str:
    if baseline is None or baseline_trains(judged, baseline) is not False:
        return ""
    rows = judged[(judged["arm"] == baseline) & judged["outcome"].isin(JUDGED)]
    trained = int((rows["outcome"] == "trained").sum())
    return f"the baseline trained in only {trained} of {len(rows)} seeds, but at least 4 of 5 are required"


def _floor(judged: pd.DataFrame, pair: tuple[str, str]) -> str:
    for arm in pair:
        rows = judged[(judged["arm"] == arm) & judged["accuracy"].notna()]
        floor = FLOOR * rows["chance"].mean()
        if len(rows) and rows["accuracy"].mean() < floor:
            reached, needed = (number_format.percent(value) for value in (rows["accuracy"].mean(), floor))
            return (
                f"{arm} has hardly trained: it reaches {reached} % on average, and below {needed} %, {FLOOR} times "
                f"the best constant answer, nothing is decided"
            )
    return ""
