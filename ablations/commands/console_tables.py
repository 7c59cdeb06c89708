"""Tables that several commands print, and how text of unknown origin is printed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import pandas as pd


_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that a terminal interprets instead of showing: control characters and marks of text direction."""


def printable(text: str) -> str:
    """Return text of unknown origin, safe to print: control characters become replacement characters."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def table(headings: Iterable[str], rows: Iterable[Iterable[Any]], right: Iterable[str] = ()) -> Table:
    """Return a plain table; cells are never read as markup."""
    shown = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    right = set(right)
    for heading in headings:
        shown.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(cell if isinstance(cell, Text) else Text(printable(str(cell))) for cell in row))
    return shown


def frame(data: pd.DataFrame, console: Console) -> None:
    """Print a frame as a table, with floats to four significant digits."""
    right = [str(name) for name in data.columns if data[name].dtype.kind in "iuf"]
    shown = data.astype(object).where(data.notna(), None)  # NA, NaN and NaT alike
    rows = ([_cell(value) for value in row] for row in shown.itertuples(index=False))
    console.print(table(map(str, data.columns), rows, right=right))


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
