"""Text of unknown origin, made harmless for the place where it is shown: one function per kind of place.

Names of arms, classes and files, and messages of errors come from people and programs that this package does not know.
They are stored as they are, except for what no file can contain, and escaped where they are shown.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
LONGEST_MESSAGE = 8_000
"""Characters of the message of an error that are stored."""
LONGEST_TRACEBACK = 40_000
LONGEST_LINE = 2_000
"""Characters of a line of a traceback that are stored."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_DIRECTION = "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_FOR_TERMINALS = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff{_DIRECTION}]")
"""Characters that a terminal interprets instead of showing: control characters and marks of text direction."""
_FOR_PAGES = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
"""Control characters, lone surrogates, and marks that reverse the direction of text."""
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d[\d,]*\.?\d*|\.\d+)([eE][+-]?\d+)?%?|[+-]?(inf|nan)")
_MARKDOWN = re.compile(r"([\\`*_\[\]<>#|~$])")
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "−": r"$-$",
    "–": r"--",
    "×": r"$\times$",
    "Δ": r"$\Delta$",
    "δ": r"$\delta$",
    "α": r"$\alpha$",
    "≥": r"$\ge$",
    "≤": r"$\le$",
    "±": r"$\pm$",
    "…": r"\ldots{}",
    "“": "``",
    "”": "''",
    "’": "'",
    "\u202f": r"\,",
    "\u00a0": "~",
}


def storable(text: str, limit: int | None = None) -> str:
    """Return text that UTF-8 can encode, with the middle left out if it has more than `limit` characters."""
    if limit is not None:
        text = shortened(text, limit)
    return _SURROGATE.sub(REPLACEMENT, text)


def shortened(text: str, limit: int) -> str:
    """Return the beginning and the end of text that has more than `limit` characters, and what was left out."""
    if len(text) <= limit:
        return text
    head, tail = limit * 2 // 3, limit - limit * 2 // 3
    return f"{text[:head]} ... {len(text) - limit:,} characters left out ... {text[-tail:]}"


def printable(text: str) -> str:
    """Return text for a terminal or a log, in which line feeds and tabs are the only control characters."""
    return _FOR_TERMINALS.sub(REPLACEMENT, text)


def on_one_line(text: str) -> str:
    """Return text for a cell or a line, without control characters, line breaks or marks of text direction."""
    line = " ".join(text.split())
    if line.isprintable():  # nearly all are, and tables have 100,000 cells
        return line
    return "".join(sign if sign.isprintable() else REPLACEMENT for sign in line)


def visible(text: str) -> str:
    """Return text without control characters, which XML does not allow; HTML must still be escaped by its template."""
    return _FOR_PAGES.sub(REPLACEMENT, text)


def markdown(value: object) -> str:
    """Return text that Markdown, and HTML inside it, shows unchanged, on one line."""
    text = visible(" ".join(str(value).split())).replace("&", "&amp;")
    return _MARKDOWN.sub(r"\\\1", text).replace(r"\<", "&lt;").replace(r"\>", "&gt;")


def latex(text: str) -> str:
    """Return text escaped for LaTeX, with control characters replaced by spaces."""
    return "".join(_LATEX.get(c, c if c.isprintable() else " ") for c in text)


def spreadsheet_cell(value: T) -> T | str:
    """Return a cell of a CSV file; text that a spreadsheet would execute as a formula begins with an apostrophe.

    Numbers are never changed, and neither is text that is only a number. `from_spreadsheet_cell` reverses this.
    """
    if not isinstance(value, str):
        return value
    return f"'{value}" if _FORMULA.match(value) and not _NUMBER.fullmatch(value) else storable(value)


def csv_line(cells: Iterable[object]) -> str:
    """Return a line of a CSV file, with its line feed.

    If lines end with a line feed, Python writes a carriage return without quotes, and readers then see two rows.
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n") + "\n"


def from_spreadsheet_cell(text: str) -> str:
    """Return the text that `spreadsheet_cell` escaped."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text[1:]) else text
