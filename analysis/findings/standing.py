"""A study's progress in a sentence: the verdict or, while runs are missing, what is known so far."""

from __future__ import annotations

from aimlib.errors import counted
from analysis.findings.study import examine
from analysis.results import Results
from analysis.statistics.blinding import looks_reached, settled_pairs, verdict_is_due


def standing(results: Results) -> str:
    """Return the verdict or, while runs are missing, how far the study has progressed and the last verdict."""
    plan, runs = results.plan, results.runs
    if results.missing.empty or (verdict_is_due(plan, runs) and not plan.looks.anytime):
        return _headline(results)
    done = f"{len(plan.runs) - len(results.missing)} of {counted(len(plan.runs), 'run')} have a result."
    if reached := looks_reached(plan, runs):
        return f"{done} As of the look after {reached[-1]} pairs: {_headline(results)}"
    first = min((look for look in plan.looks.numbers if look <= len(plan.seeds)), default=0)
    if not first:
        return f"{done} No verdict yet."
    settled = int(settled_pairs(plan, runs)[:first].sum())
    are = "is" if settled == 1 else "are"
    return f"{done} No verdict yet: {settled} of the {first} pairs for the first look {are} settled."


def _headline(results: Results) -> str:
    """Return the cautions and the verdict from the stored rows, without proving the rows as the report does."""
    found = examine(results, further=False, unproven=True)
    return " ".join((*found.cautions, found.short))
