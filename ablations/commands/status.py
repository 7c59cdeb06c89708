"""`ablate status`: count the finished, failed and missing runs of a study. In Python: `analysis.load(...).missing`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ablations.commands.options import Directory, console
from aimlib.errors import counted

if TYPE_CHECKING:
    import pandas as pd

    from analysis import Results


def command(directory: Directory) -> None:
    """Show how many runs of a study are finished, failed or missing, and the verdict as of the last look."""
    import analysis
    from ablations.commands import console_tables

    shown_on = console()
    results = analysis.load(directory)
    console_tables.frame(counts(results), shown_on)
    shown_on.print(f"\n{sentence(results)}\n", style="bold", markup=False, highlight=False)


def sentence(results: Results) -> str:
    """Return the verdict or, while runs are missing, how far the study is and the verdict as of the last look."""
    from analysis.findings.study import examine
    from analysis.statistics.blinding import looks_reached, settled_pairs, verdict_is_due

    plan, runs = results.plan, results.runs
    if results.missing.empty or verdict_is_due(plan, runs):
        return examine(results, further=False).headline
    done = f"{len(plan.runs) - len(results.missing)} of {counted(len(plan.runs), 'run')} have a result."
    if reached := looks_reached(plan, runs):
        return f"{done} As of the look after {reached[-1]} pairs: {examine(results, further=False).headline}"
    first = min((look for look in plan.looks.numbers if look <= len(plan.seeds)), default=0)
    pairs = (
        f": {int(settled_pairs(plan, runs)[:first].sum())} of the {first} pairs of the first look are settled"
        if first
        else ""
    )
    return f"{done} No verdict yet{pairs}."


def counts(results: Results) -> pd.DataFrame:
    """Return one row per arm: its name, the number of runs with each status, and the number of missing runs."""
    found = results.runs.groupby(["arm", "status"], observed=True).size().unstack(fill_value=0)
    found = found.reindex([arm.name for arm in results.plan.arms], fill_value=0)
    found["missing"] = results.missing.groupby("arm").size().reindex(found.index, fill_value=0)
    return found.reset_index()
