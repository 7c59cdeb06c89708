"""The tables of a report, as a reader sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from analysis.report.breadth import KEPT, LONG


@dataclass(frozen=True)
class Table:
    """A table whose cells are text.

    Attributes
    ----------
    columns : headings; the columns in `numbers` are right-aligned.
    note : a sentence below the table; may be empty.
    omission : which rows are not shown; empty if all rows are shown.
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
    """Return a table; if the table is long, most of its rows are left out.

    Parameters
    ----------
    whole : stem of the CSV file that contains all rows.
    kept : first cells of the rows to keep; if empty, the first rows are kept.
    what : description of the kept rows, for the sentence about them.
    """
    every = len(table.rows)
    if every <= LONG:
        return table
    rows = tuple(row for row in table.rows if row[0] in set(kept)) if kept else table.rows[:KEPT]
    which = what or "the first"
    return replace(table, rows=rows, omission=f"{len(rows)} of {every} rows are shown: {which}.", whole=whole)
