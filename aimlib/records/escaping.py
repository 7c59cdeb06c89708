"""Escape text of unknown origin for the place where it is shown, with one function per kind of place.

Names of arms, classes and files, and error messages, come from unknown people and programs. Such text is stored
unchanged, except for characters that a file cannot contain, and is escaped where it is shown.
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
"""Maximum number of characters of an error message that are stored."""
LONGEST_TRACEBACK = 40_000
LONGEST_LINE = 2_000
"""Maximum number of characters of a traceback line that are stored."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_DIRECTION = "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_FOR_TERMINALS = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff{_DIRECTION}]")
"""Characters that a terminal interprets instead of showing: control characters and text direction marks."""
_FOR_PAGES = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
"""Control characters, lone surrogates, and marks that reverse the text direction."""
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
    """Return text that UTF-8 can encode; if the text has more than `limit` characters, its middle is left out."""
    if limit is not None:
        text = shortened(text, limit)
    return _SURROGATE.sub(REPLACEMENT, text)


def shortened(text: str, limit: int) -> str:
    """Return text; if it has more than `limit` characters, replace its middle by the number of characters left out."""
    if len(text) <= limit:
        return text
    head, tail = limit * 2 // 3, limit - limit * 2 // 3
    return f"{text[:head]} ... {len(text) - limit:,} characters left out ... {text[-tail:]}"


def printable(text: str) -> str:
    """Return text for a terminal or a log, in which line feeds and tabs are the only control characters."""
    return _FOR_TERMINALS.sub(REPLACEMENT, text)


def on_one_line(text: str) -> str:
    """Return text for a cell or a line, without control characters, line breaks or text direction marks."""
    line = " ".join(text.split())
    if line.isprintable():  # nearly all texts are printable, and tables can have 100,000 cells
        return line
    return "".join(sign if sign.isprintable() else REPLACEMENT for sign in line)


def visible(text: str) -> str:
    """Return text without control characters, which XML does not allow; the HTML template must still escape it."""
    return _FOR_PAGES.sub(REPLACEMENT, text)


def markdown(value: object) -> str:
    """Return text, escaped and on one line, that Markdown and HTML within Markdown show as it was."""
    text = visible(" ".join(str(value).split())).replace("&", "&amp;")
    return _MARKDOWN.sub(r"\\\1", text).replace(r"\<", "&lt;").replace(r"\>", "&gt;")


def latex(text: str) -> str:
    """Return text, escaped for LaTeX, with control characters replaced by spaces."""
    return "".join(_LATEX.get(c, c if c.isprintable() else " ") for c in text)


def spreadsheet_cell(value: T) -> T | str:
    """Return a value for a CSV cell; text that a spreadsheet would execute as a formula gets a leading apostrophe.

    Numbers, and texts that consist of a number, are never changed. `from_spreadsheet_cell` reverses the escaping.
    """
    if not isinstance(value, str):
        return value
    return f"'{value}" if _FORMULA.match(value) and not _NUMBER.fullmatch(value) else storable(value)


def csv_line(cells: Iterable[object]) -> str:
    """Return a line of a CSV file, including its line feed.

    If lines end with a line feed, Python's `csv` module does not quote a carriage return, and readers then see two
    rows.
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n") + "\n"


def from_spreadsheet_cell(text: str) -> str:
    """Return the original text that `spreadsheet_cell` escaped."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text[1:]) else text
