"""Small HTML tables and lines for notebooks: all text is escaped, and no external resources are loaded."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from aimlib.errors import counted
from aimlib.records.escaping import on_one_line, visible

MOST_ROWS = 40
"""Maximum number of rows of a table that are shown."""
_CELL = "text-align:{side};padding:.15em .8em;vertical-align:top"


def escaped(text: object) -> str:
    """Return text, escaped and on one line, that HTML shows as it was."""
    return html.escape(on_one_line(str(text)))


def paragraph(text: object, *, bold: bool = False) -> str:
    """Return an HTML paragraph."""
    shown = escaped(text)
    return f"<p>{f'<b>{shown}</b>' if bold else shown}</p>"


def preformatted(text: str) -> str:
    """Return an HTML element that shows text with its line breaks and spaces."""
    return f'<pre style="white-space:pre-wrap">{html.escape(visible(text))}</pre>'


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Iterable[str] = ()) -> str:
    """Return an HTML table with at most `MOST_ROWS` rows; the number of omitted rows is shown below the table.

    Parameters
    ----------
    numbers : headings of the columns that are aligned to the right.
    """
    right, listed = set(numbers), list(rows)
    sides = ["right" if heading in right else "left" for heading in headings]
    head = _row("th", headings, sides)
    body = "".join(_row("td", row, sides) for row in listed[:MOST_ROWS])
    left_out = len(listed) - MOST_ROWS
    more = paragraph(f"… and {counted(left_out, 'more row')}") if left_out > 0 else ""
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>{more}"


def _row(kind: str, cells: Sequence[object], sides: Sequence[str]) -> str:
    shown = (
        f'<{kind} style="{_CELL.format(side=side)}">{escaped(cell)}</{kind}>'
        for cell, side in zip(cells, sides, strict=True)
    )
    return f"<tr>{''.join(shown)}</tr>"
