"""Why a look at a comparison does not lead to a verdict, apart from missing pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from analysis.procedures import FIRST
from analysis.statistics.outcomes import JUDGED, baseline_trains
from analysis.wording import number_format

FLOOR = 3
"""Within a claim's scope, an arm whose mean accuracy is below this multiple of the chance level has hardly trained."""
Reason = Callable[[int], str]
"""Returns the reason for withholding the verdict at a look with this number of pairs; empty if there is none."""


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
    """Return a function that gives the reason for withholding the verdict on two arms at each look.

    Procedure 1 judges the baseline by all its runs; procedure 2 judges it by the runs in the look, and requires a
    minimum accuracy. With both procedures, there is no verdict if the stored rows of an arm contradict themselves or
    others.

    Parameters
    ----------
    judged : frame from `outcomes`.
    pair : names of the treatment and the control.
    seeds : seeds of the pairs, in the plan's order.
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
                f"{arm} has hardly trained: it reaches {reached} % on average, but a verdict requires {needed} %, "
                f"{FLOOR} times the accuracy of the best constant answer"
            )
    return ""
