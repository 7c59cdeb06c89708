"""The tables of a report, as a reader sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from analysis.report.breadth import KEPT, LONG


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes
    ----------
    columns : headings; those in `numbers` are set flush right.
    note : a sentence below the table; may be empty.
    omission : which rows are not shown; empty if all are.
    whole : stem of the CSV file that contains all rows; empty if the table is complete and has no separate file.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[str] = frozenset()
    note: str = ""
    omission: str = ""
    whole: str = ""


def shortened(table: Table, whole: str, kept: Sequence[str] = (), what: str = "") -> Table:
    """Return a table without most of its rows if it is long.

    Parameters
    ----------
    whole : stem of the CSV file that contains all rows.
    kept : first cells of the rows that stay; if there are none, the first rows stay.
    what : what the rows that stay are, for the sentence about them.
    """
    every = len(table.rows)
    if every <= LONG:
        return table
    rows = tuple(row for row in table.rows if row[0] in set(kept)) if kept else table.rows[:KEPT]
    which = what or "the first"
    return replace(table, rows=rows, omission=f"{len(rows)} of {every} rows are shown: {which}.", whole=whole)
