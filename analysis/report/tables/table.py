"""A table as a reader sees it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes
    ----------
    columns : headings; those in `numbers` are set flush right.
    note : a sentence below the table; may be empty.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[str] = frozenset()
    note: str = ""


def parsed(text: Any, otherwise: Any) -> Any:
    """Return the JSON in a cell; `otherwise` where it is empty or no JSON."""
    if not isinstance(text, str):
        return otherwise
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return otherwise
