"""Rows of a table on a terminal: a name, a bar, and numbers, in whatever width there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from ablations.progress.formatting import abbreviated, clip, padded


@dataclass(frozen=True)
class Column:
    """A column of numbers or short words."""

    heading: str
    cells: Sequence[str | Text]
    right: bool = True
    style: str = ""

    @property
    def width(self) -> int:
        """Cells that it takes."""
        return max(cell_len(self.heading), *(cell_len(str(cell)) for cell in self.cells), 0)


def table(
    heading: str,
    names: list[str],
    columns: list[Column],
    width: int,
    draw: Callable[[int, int], Text],
    ends: list[str] | None = None,
) -> list[Text]:
    """Return a heading and a row per name: name, bar, numbers. Name and bar share what the numbers leave."""
    ends = ends or [""] * len(names)
    end = max(map(cell_len, ends), default=0)
    widths = [column.width for column in columns]
    left = width - sum(widths) - 2 * len(columns)
    least = 14 if left >= 36 else 8 if left >= 24 else 4
    room = max(left - least - 2, min(left, end + 3))
    names = abbreviated(names, room - end)
    name_width = min(room, max([cell_len(heading), *(cell_len(name) + end for name in names)]))
    bar_width = max(0, min(40, left - name_width - 2))
    first = Text(padded(heading, name_width) + " " * (bar_width + 2), style="bold")
    for column, cells in zip(columns, widths, strict=True):
        first.append("  " + padded(column.heading, cells, right=column.right))
    found = [first]
    for i, (name, tail) in enumerate(zip(names, ends, strict=True)):
        row = Text(clip(name, name_width - cell_len(tail)) + tail)
        row.append(" " * (name_width - cell_len(row.plain) + 2))
        row.append_text(draw(i, bar_width))
        for column, cells in zip(columns, widths, strict=True):
            cell = padded(str(column.cells[i]), cells, right=column.right)
            row.append("  " + cell, column.style if column.cells[i] != "–" else "dim")
        found.append(row)
    return found
