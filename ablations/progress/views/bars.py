"""Bars made of letters: what is done, in work, failed and left differ in their signs, not in colour alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.text import Text


@dataclass(frozen=True)
class Signs:
    """Signs of a bar, and of what else is drawn."""

    done: str = "━"
    work: str = "╍"
    failed: str = "×"
    left: str = "─"
    dot: str = "·"


PLAIN = Signs("#", "=", "x", "-", "|")
"""For terminals whose encoding has nothing but ASCII."""

STYLES = {"done": "green", "work": "yellow", "failed": "red", "left": "bright_black"}


def bar(width: int, total: float, parts: Iterable[tuple[str, float]], signs: Signs) -> Text:
    """Return a bar of so many cells.

    Parameters
    ----------
    total : what the whole bar stands for.
    parts : kind (done, work, failed) and amount of each part, from the left. What there is some of gets a cell, and
        only what is whole fills the bar.
    """
    drawn = Text()
    left = width
    for kind, amount in parts:
        cells = round(width * amount / total) if total else 0
        if amount > 0:
            cells = max(1, cells)
        if amount < total:
            cells = min(cells, width - 1)
        cells = max(0, min(cells, left))
        drawn.append(getattr(signs, kind) * cells, STYLES[kind])
        left -= cells
    return drawn.append(signs.left * left, STYLES["left"])
