"""Whether test accuracies may be looked at: not before the verdict that the plan foresees."""

from __future__ import annotations

import pandas as pd

from aimlib.paths import Place
from aimlib.records import SETTLED
from analysis.plan import Plan
from analysis.statistics.planned import primary_arms


def is_screening(directory: Place) -> bool:
    """Return whether a study directory has the trials of a search, stored next to the confirmation of its winners.

    All of them are settled before the confirmation is, so that the verdict's pairs say nothing about them.
    """
    return directory.absolute().name == "screening"


def verdict_is_due(plan: Plan, runs: pd.DataFrame) -> bool:
    """Return whether all pairs of the last look that the planned seeds reach are settled.

    Where the verdict may be read after any number of pairs, those of the first look suffice.

    Without a comparison of a treatment with a baseline, or with fewer seeds than the first look needs, all planned runs
    must be settled.

    Parameters
    ----------
    runs : frame of `Results`.
    """
    foreseen = [look for look in plan.looks.numbers if look <= len(plan.seeds)]
    if not foreseen or None in primary_arms(plan):
        return int(runs["status"].isin(SETTLED).sum()) == len(plan.runs)
    return (foreseen[0] if plan.looks.anytime else foreseen[-1]) in looks_reached(plan, runs)


def looks_reached(plan: Plan, runs: pd.DataFrame) -> tuple[int, ...]:
    """Return the looks whose pairs of treatment and baseline are all settled."""
    done = settled_pairs(plan, runs)
    return tuple(look for look in plan.looks.numbers if look <= len(plan.seeds) and done[:look].all())


def settled_pairs(plan: Plan, runs: pd.DataFrame) -> pd.Series:
    """Return for every planned seed, in order, whether treatment and baseline are settled."""
    settled = runs[
        runs["status"].isin(SETTLED) & runs["arm"].isin([arm for arm in primary_arms(plan) if arm is not None])
    ]
    return settled.groupby("seed").size().reindex(list(plan.seeds), fill_value=0) == 2
