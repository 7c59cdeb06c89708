"""`ablate status`: count the finished, failed and missing runs of a study. In Python: `analysis.load(...).missing`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ablations.commands.options import Directory, Wide, console
from aimlib.errors import counted

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from analysis import Results


def command(directory: Directory, wide: Wide = False) -> None:
    """Show how many runs of a study are finished, failed or missing, and the verdict as of the last look."""
    import analysis
    from ablations.commands import console_tables
    from analysis.statistics.planned import gated_arms

    shown_on = console()
    results = analysis.load(directory, epochs=gated_arms)
    found = counts(results)
    if console_tables.room(shown_on, wide) is not None and len(found) > console_tables.MOST_ROWS:
        found = _incomplete(found, shown_on)
    if len(found):
        console_tables.frame(found, shown_on, wide=wide)
    if hours := _node_hours(directory):
        shown_on.print(hours, highlight=False)
    shown_on.print(f"\n{sentence(results)}\n", style="bold", markup=False, highlight=False)


def _node_hours(directory: str) -> str:
    """Return the hours of all nodes so far, or nothing if no session of the study was on a cluster."""
    from ablations.store.session_signals import node_time
    from aimlib.paths import place
    from analysis.number_format import significant

    seconds = node_time(place(directory))
    if not sum(seconds.values()):
        return ""
    return f"{significant(sum(seconds.values()) / 3600)} node-hours so far, in {counted(len(seconds), 'session')}"


def sentence(results: Results) -> str:
    """Return the verdict or, while runs are missing, how far the study is and the verdict as of the last look."""
    from analysis.statistics.blinding import looks_reached, settled_pairs, verdict_is_due

    plan, runs = results.plan, results.runs
    if results.missing.empty or verdict_is_due(plan, runs):
        return _headline(results)
    done = f"{len(plan.runs) - len(results.missing)} of {counted(len(plan.runs), 'run')} have a result."
    if reached := looks_reached(plan, runs):
        return f"{done} As of the look after {reached[-1]} pairs: {_headline(results)}"
    first = min((look for look in plan.looks.numbers if look <= len(plan.seeds)), default=0)
    pairs = (
        f": {int(settled_pairs(plan, runs)[:first].sum())} of the {first} pairs of the first look are settled"
        if first
        else ""
    )
    return f"{done} No verdict yet{pairs}."


def _headline(results: Results) -> str:
    """Return the verdict of the rows as they are stored: whoever needs it proven takes the report."""
    from analysis.findings.study import examine

    return examine(results, further=False, unproven=True).headline


def _incomplete(found: pd.DataFrame, shown_on: Console) -> pd.DataFrame:
    """Print how many runs of all arms have each status, and return the rows of the arms without all their results."""
    from aimlib.records import SETTLED

    numbers = found.drop(columns="arm").sum()
    total = ", ".join(f"{count:,} {status}" for status, count in numbers.items() if count)
    unsettled = [name for name in found.columns if name not in ("arm", *SETTLED)]
    kept = found[found[unsettled].sum(axis="columns") > 0]
    done = f"{len(found) - len(kept):,} of {counted(len(found), 'arm')} have the results of all runs"
    shown_on.print(f"{total}; {done} (all arms: --wide)", highlight=False, markup=False)
    return kept


def counts(results: Results) -> pd.DataFrame:
    """Return one row per arm: its name, the number of runs with each status, and the number of missing runs.

    The column `reused` counts the runs that were copied from other studies, if there are any.
    """
    found = results.runs.groupby(["arm", "status"], observed=True).size().unstack(fill_value=0)
    found = found.reindex([arm.name for arm in results.plan.arms], fill_value=0)
    if (reused := results.runs[results.runs["reused_from"].notna()]).size:
        found["reused"] = reused.groupby("arm").size().reindex(found.index, fill_value=0)
    found["missing"] = results.missing.groupby("arm").size().reindex(found.index, fill_value=0)
    return found.reset_index()
