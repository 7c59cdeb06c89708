"""`ablate status`: count the finished, failed and missing runs of a study. In Python: `ablations.status`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ablations.commands.options import Directory, Wide, console
from aimlib.errors import counted

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from aimlib.paths import Place
    from analysis import Results


@dataclass(frozen=True, repr=False)
class Status:
    """Progress of a study.

    Attributes
    ----------
    counts : one row per arm: the arm's name, the number of runs with each status, and the number of missing runs. The
        column `reused` counts the runs that were copied from other studies, if there are any.
    sentence : the verdict or, while runs are missing, the study's progress and the verdict as of the last look.
    node_hours : total uptime of all nodes so far, in hours; empty if no session of the study was on a cluster.
    """

    counts: pd.DataFrame
    sentence: str
    node_hours: str = ""

    @property
    def note(self) -> str:
        """Sentence that states which checks this quick summary omits."""
        return "This quick summary does not verify the rows; `ablate verify` does."

    def __repr__(self) -> str:
        """Return the table, and the sentences below the table."""
        return "\n".join(filter(None, (self.counts.to_string(index=False), self.node_hours, self.sentence, self.note)))

    def _repr_html_(self) -> str:
        from aimlib.records.html_tables import paragraph, table

        head = paragraph(self.sentence, bold=True) + paragraph(self.note)
        head += paragraph(self.node_hours) if self.node_hours else ""
        rows = self.counts.itertuples(index=False, name=None)
        return head + table(list(self.counts.columns), rows, numbers=self.counts.columns[1:])


def command(directory: Directory, wide: Wide = False) -> None:
    """Show how many runs of a study are finished, failed or missing, and the verdict as of the last look."""
    from ablations.commands import console_tables

    shown_on, whole = console(), status(directory)
    found = whole.counts
    if console_tables.room(shown_on, wide) is not None and len(found) > console_tables.MOST_ROWS:
        found = _incomplete(found, shown_on)
    if len(found):
        console_tables.frame(found, shown_on, wide=wide)
    if whole.node_hours:
        shown_on.print(whole.node_hours, highlight=False)
    shown_on.print(f"\n{whole.sentence}", style="bold", markup=False, highlight=False)
    shown_on.print(f"{whole.note}\n", markup=False, highlight=False)


def status(directory: str | Place) -> Status:
    """Return how many runs of a study are finished, failed or missing, and the verdict as of the last look.

    Parameters
    ----------
    directory : study directory, or its URL in object storage.

    Raises
    ------
    StoreError: this is not a study directory, or a file is corrupt.
    """
    import analysis
    from analysis.findings.standing import standing
    from analysis.statistics.planned import gated_arms

    results = analysis.load(directory, epochs=gated_arms)
    return Status(counts(results), standing(results), _node_hours(directory))


def _node_hours(directory: str | Place) -> str:
    """Return the total uptime of all nodes so far, in hours, or an empty text if no session was on a cluster."""
    from ablations.store.session_signals import node_time
    from aimlib.paths import place
    from analysis.wording.number_format import significant

    seconds = node_time(place(directory))
    if not sum(seconds.values()):
        return ""
    return f"{significant(sum(seconds.values()) / 3600)} node-hours so far, in {counted(len(seconds), 'session')}"


def _incomplete(found: pd.DataFrame, shown_on: Console) -> pd.DataFrame:
    """Print the total number of runs with each status, and return the rows for the arms with missing results."""
    from aimlib.records import SETTLED

    numbers = found.drop(columns="arm").sum()
    total = ", ".join(f"{count:,} {status}" for status, count in numbers.items() if count)
    unsettled = [name for name in found.columns if name not in ("arm", *SETTLED)]
    kept = found[found[unsettled].sum(axis="columns") > 0]
    done = f"{len(found) - len(kept):,} of {counted(len(found), 'arm')} have results for all runs"
    shown_on.print(f"{total}; {done} (all arms: --wide)", highlight=False, markup=False)
    return kept


def counts(results: Results) -> pd.DataFrame:
    """Return one row per arm: the arm's name, the number of runs with each status, and the number of missing runs.

    The column `reused` counts the runs that were copied from other studies, if there are any.
    """
    found = results.runs.groupby(["arm", "status"], observed=True).size().unstack(fill_value=0)
    found = found.reindex([arm.name for arm in results.plan.arms], fill_value=0)
    if (reused := results.runs[results.runs["reused_from"].notna()]).size:
        found["reused"] = reused.groupby("arm").size().reindex(found.index, fill_value=0)
    found["missing"] = results.missing.groupby("arm").size().reindex(found.index, fill_value=0)
    return found.reset_index()
