"""Whether test accuracies may be shown: not before the planned verdict."""

from __future__ import annotations

import pandas as pd

from aimlib.paths import Place
from aimlib.records import SETTLED
from analysis.plan import Plan
from analysis.statistics.planned import primary_arms


def is_screening(directory: Place) -> bool:
    """Return whether a study directory contains a search's trials, stored next to the winners' confirmation.

    All trials are settled before the confirmation begins, so settled trials do not mean that the verdict is due.
    """
    return directory.absolute().name == "screening"


def verdict_is_due(plan: Plan, runs: pd.DataFrame) -> bool:
    """Return whether all pairs of the last look that the planned seeds allow are settled.

    If a verdict is allowed after any number of pairs, it is enough that the pairs of the first look are settled.

    If no treatment is compared with a baseline, or there are fewer seeds than the first look needs, all planned runs
    must be settled.

    Parameters
    ----------
    runs : the frame of runs from `Results`.
    """
    foreseen = [look for look in plan.looks.numbers if look <= len(plan.seeds)]
    if not foreseen or None in primary_arms(plan):
        return int(runs["status"].isin(SETTLED).sum()) == len(plan.runs)
    return (foreseen[0] if plan.looks.anytime else foreseen[-1]) in looks_reached(plan, runs)


def looks_reached(plan: Plan, runs: pd.DataFrame) -> tuple[int, ...]:
    """Return the looks for which all pairs of treatment and baseline are settled."""
    done = settled_pairs(plan, runs)
    return tuple(look for look in plan.looks.numbers if look <= len(plan.seeds) and done[:look].all())


def settled_pairs(plan: Plan, runs: pd.DataFrame) -> pd.Series:
    """Return, for every planned seed in order, whether the runs of both the treatment and the baseline are settled."""
    settled = runs[
        runs["status"].isin(SETTLED) & runs["arm"].isin([arm for arm in primary_arms(plan) if arm is not None])
    ]
    return settled.groupby("seed").size().reindex(list(plan.seeds), fill_value=0) == 2
