"""Tables that several commands print, fitted to the width of the terminal, and safe printing of untrusted text.

On a terminal, or if COLUMNS is set, the width of a table is limited accordingly. Names are shortened in the middle,
then columns are left out in a fixed order, and a line below the table states what was left out. In pipes and logs, and
with --wide, everything is printed, with one line per row. Numbers are never split or shortened.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions
from rich.segment import Segment

from ablations.spec.short_names import clean, shortened

if TYPE_CHECKING:
    import pandas as pd


_SHORTEST_NAME = 6
_MOST_NAMED = 8
"""Maximum number of omitted columns that are listed below a table."""
MOST_ROWS = 40
"""Maximum number of rows in a table on a terminal."""
_PROSE = frozenset({"reason"})
_LEAST_IMPORTANT = ("run_id", "epochs_run", "seconds", "selected_epoch", "validation_accuracy")
"""Result columns that are left out first."""
_MOST_IMPORTANT = ("directory", "arm", "seed", "status", "test_accuracy")


def readable_bytes(count: int) -> str:
    """Return a number of bytes with three significant digits, such as 1.94 GB or 12.3 kB."""
    for size, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"


def room(console: Console, wide: bool = False) -> int | None:
    """Return the maximum width of a line in cells.

    None means no limit, which applies with `wide`, and in pipes and logs unless COLUMNS is set.
    """
    if wide or not (console.is_terminal or os.environ.get("COLUMNS", "").isdigit()):
        return None
    return console.width


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes
    ----------
    headings : one heading per column.
    rows : one cell per column in each row.
    right : headings of number columns, which are right-aligned and never shortened.
    fixed : headings of other columns that are never shortened.
    prose : headings of columns with sentences, which are wrapped between words.
    droppable : headings of columns that can be left out, the least important first.
    more : number of additional rows that are not included.
    name_width : minimum width of names and texts, in cells, while there is a column that can be left out instead.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Collection[str] = ()
    fixed: Collection[str] = ()
    prose: Collection[str] = ()
    droppable: Sequence[str] = ()
    more: int = 0
    name_width: int = 32


def show(table: Table, console: Console, *, wide: bool = False, most: int | None = None, what: str = "row") -> None:
    """Print a table, followed by what was left out to make it fit the terminal.

    Parameters
    ----------
    wide : print everything, regardless of the width of the terminal.
    most : maximum number of rows to print if the width is limited. None prints all.
    what : word for a row, in the singular.
    """
    limit = room(console, wide)
    kept = table.rows if limit is None or most is None else table.rows[:most]
    lines, left_out = fitted(table, kept, limit)
    console.print(lines[0], style="bold", markup=False, highlight=False, soft_wrap=True)
    if lines[1:]:
        console.print(_Lines("\n".join(lines[1:])), soft_wrap=True)
    if hidden := len(table.rows) - len(kept) + table.more:
        left_out = [f"{hidden:,} more {what}{'s' if hidden > 1 else ''}", *left_out]
    if left_out:
        console.print(f"… {'; '.join(left_out)} (whole: --wide)", style="dim", markup=False, highlight=False)


@dataclass(frozen=True)
class _Lines:
    """Lines that are printed unchanged; rich would parse each line first, which takes one second for 10,000 lines."""

    text: str

    def __rich_console__(self, _console: Console, _options: ConsoleOptions) -> Iterator[Segment]:
        yield Segment(f"{self.text}\n")


def fitted(table: Table, rows: Sequence[Sequence[str]], limit: int | None) -> tuple[list[str], list[str]]:
    """Return the lines of a table, starting with the headings, and a description of what was left out."""
    columns = {h: _each(clean, [str(row[at]) for row in rows]) for at, h in enumerate(table.headings)}
    natural = {heading: max(map(cell_len, {heading, *cells})) for heading, cells in columns.items()}
    widths = natural if limit is None else _widths(table, natural, limit)
    short = [heading for heading in widths if widths[heading] < natural[heading] and heading not in table.prose]
    cells = {
        heading: shortened(columns[heading], widths[heading]) if heading in short else columns[heading]
        for heading in widths
    }
    dropped = [heading for heading in table.headings if heading not in widths]
    left_out = [f"left out: {_some(dropped)}"] if dropped else []
    left_out += [f"shortened: {_some(short)}"] if short else []
    head = {heading: shortened([heading], width) for heading, width in widths.items()}
    return [*_lines(head, widths, table), *_lines(cells, widths, table)], left_out


def _each(change: Callable[[str], str], texts: Sequence[str]) -> list[str]:
    """Return every text with the change applied; a repeated text, such as an arm's name, is changed only once."""
    changed = {text: change(text) for text in set(texts)}
    return [changed[text] for text in texts]


def _some(headings: Sequence[str]) -> str:
    shown = ", ".join(headings[:_MOST_NAMED])
    more = len(headings) - _MOST_NAMED
    return f"{shown} and {more} more columns" if more > 1 else ", ".join(headings)


def _widths(table: Table, natural: dict[str, int], limit: int) -> dict[str, int]:
    """Return the widths of the columns that are kept; a line takes at most `limit` cells."""
    kept = dict(natural)
    flexible = {h for h in kept if h not in table.right and h not in table.fixed}
    rest = [h for h in list(kept)[:0:-1] if h not in table.droppable]
    for heading in table.droppable:
        if _needed(kept, flexible, table.name_width) <= limit:
            break
        kept.pop(heading, None)
    for heading in rest:
        if _needed(kept, flexible, _SHORTEST_NAME) <= limit:
            break
        kept.pop(heading)
    widths = {h: min(width, _SHORTEST_NAME) if h in flexible else width for h, width in kept.items()}
    spare = limit - sum(widths.values()) - (len(widths) - 1)
    while spare > 0 and (growing := [h for h in widths if widths[h] < kept[h]]):
        least = min(growing, key=lambda h: widths[h])
        widths[least] += 1
        spare -= 1
    return widths


def _needed(kept: dict[str, int], flexible: Collection[str], name: int) -> int:
    return sum(min(width, name) if h in flexible else width for h, width in kept.items()) + len(kept) - 1


def _lines(columns: Mapping[str, Sequence[str]], widths: Mapping[str, int], table: Table) -> list[str]:
    """Return the lines of the rows: one line per row, or more if a sentence is wrapped."""
    if table.prose:
        cells = zip(*(columns[h] for h in widths), strict=True)
        return [line for row in cells for line in _wrapped_row(dict(zip(widths, row, strict=True)), widths, table)]
    padded = [_each(partial(_padded, width=width, right=h in table.right), columns[h]) for h, width in widths.items()]
    return [" ".join(row).rstrip() for row in zip(*padded, strict=True)]


def _wrapped_row(cells: Mapping[str, str], widths: Mapping[str, int], table: Table) -> list[str]:
    parts = {h: _wrapped(cell, widths[h]) if h in table.prose else [cell] for h, cell in cells.items()}
    lines = []
    for at in range(max(map(len, parts.values()))):
        line = [
            _padded(each[at] if at < len(each) else "", widths[h], right=h in table.right) for h, each in parts.items()
        ]
        lines.append(" ".join(line).rstrip())
    return lines


def _padded(text: str, width: int, *, right: bool) -> str:
    if text.isascii():  # each character takes one cell
        return text.rjust(width) if right else text.ljust(width)
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def _wrapped(text: str, width: int) -> list[str]:
    """Return lines of at most `width` cells, broken between words; only words longer than `width` are split."""
    lines: list[str] = [""]
    for word in (part for whole in text.split() for part in chop_cells(whole, width)):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(word)
    return lines


def frame(data: pd.DataFrame, console: Console, *, wide: bool = False, most: int | None = MOST_ROWS) -> None:
    """Print a frame as a table, with floats rounded to four significant digits."""
    limit = room(console, wide)
    drawn = data if limit is None or most is None else data.head(most)
    names = [str(name) for name in data.columns]
    cells = drawn.astype(object).where(drawn.notna(), None)  # NA and NaT also become None
    rows = [[_cell(value) for value in row] for row in cells.itertuples(index=False)]
    first = [name for name in _LEAST_IMPORTANT if name in names]
    others = [name for name in names[:0:-1] if name not in (*first, *_MOST_IMPORTANT)]
    table = Table(
        names,
        rows,
        right=[str(name) for name in data.columns if data[name].dtype.kind in "iuf"],
        fixed=[name for name in ("run_id", "status") if name in names],
        prose=[name for name in names if name in _PROSE],
        droppable=[*first, *others],
        more=len(data) - len(drawn),
    )
    show(table, console, wide=wide, most=most)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
