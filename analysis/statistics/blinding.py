"""Whether test accuracies may be looked at: not before the verdict that the plan foresees."""

from __future__ import annotations

import pandas as pd

from aimlib.records import SETTLED
from analysis.plan import Plan
from analysis.statistics.planned import primary_arms


def verdict_is_due(plan: Plan, runs: pd.DataFrame) -> bool:
    """Return whether all pairs of the last look that the planned seeds reach are settled.

    Without a comparison of a treatment with a baseline, or with fewer seeds than the first look needs, all planned runs
    must be settled.

    Parameters
    ----------
    runs : frame of `Results`.
    """
    settled = runs[runs["status"].isin(SETTLED)]
    baseline, treatment = primary_arms(plan)
    reached = [look for look in plan.looks.numbers if look <= len(plan.seeds)]
    if baseline is None or treatment is None or not reached:
        return len(settled) == len(plan.runs)
    first = list(plan.seeds)[: reached[-1]]
    pairs = settled[settled["arm"].isin((baseline, treatment)) & settled["seed"].isin(first)]
    return len(pairs) == 2 * reached[-1]
