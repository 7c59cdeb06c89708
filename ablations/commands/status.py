"""`ablate status`: count the finished, failed and missing runs of a study. In Python: `analysis.load(...).missing`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ablations.commands.options import Directory, console, print_verdict

if TYPE_CHECKING:
    import pandas as pd

    from analysis import Results


def command(directory: Directory) -> None:
    """Show how many runs of a study are finished, failed or missing."""
    import analysis
    from ablations.commands import console_tables

    shown_on = console()
    console_tables.frame(counts(analysis.load(directory)), shown_on)
    print_verdict(directory, shown_on)


def counts(results: Results) -> pd.DataFrame:
    """Return one row per arm: its name, the number of runs with each status, and the number of missing runs."""
    found = results.runs.groupby(["arm", "status"], observed=True).size().unstack(fill_value=0)
    found = found.reindex([arm.name for arm in results.plan.arms], fill_value=0)
    found["missing"] = results.missing.groupby("arm").size().reindex(found.index, fill_value=0)
    return found.reset_index()
