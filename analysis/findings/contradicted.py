"""Sentences about stored rows that contradict themselves or each other."""

from __future__ import annotations

from collections.abc import Sequence

from aimlib.errors import counted
from analysis.plan import Plan
from analysis.reading.consistency import Contradiction

_NAMED = 3
_REMEDY = "restore their files from a copy, or delete them and run `ablate run` to compute the runs again"


def sentences(found: Sequence[Contradiction]) -> list[str]:
    """Return what is wrong, the first few each, how many more there are, and what to do; nothing if all is well."""
    if not found:
        return []
    named = "; ".join(str(each) for each in found[:_NAMED])
    more = f"; and {counted(len(found) - _NAMED, 'further contradiction')}" if len(found) > _NAMED else ""
    return [f"Stored rows contradict themselves, so verdicts on their arms are withheld: {named}{more}. {_TO_DO}"]


_TO_DO = f"`ablate verify` lists all; {_REMEDY}."


def by_arm(found: Sequence[Contradiction], plan: Plan) -> dict[str, str]:
    """Return the first contradiction of every arm concerned, as the reason to withhold a verdict."""
    arms = dict(zip(plan.runs["run_id"], plan.runs["arm"], strict=True)) if found else {}
    reasons: dict[str, str] = {}
    for each in found:
        for run_id in each.run_ids:
            if run_id in arms:
                reasons.setdefault(arms[run_id], f"stored rows contradict themselves: {each}")
    return reasons
