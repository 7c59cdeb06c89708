"""The color, marker and dashes of every arm: the same in all figures, distinct in gray and for color-blind readers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

INK, MUTED, GRID, PAPER = "#16181d", "#61656d", "#d9dbdf", "#fefefe"
"""Colors of text and axes, secondary text, grid lines, background. Inline SVG replaces them with the page's colors."""

# Okabe and Ito (2008) without yellow, which is hard to see on white; black is the page's ink. Ordered so that
# neighbors also differ in lightness.
_COLOURS = (INK, "#d55e00", "#56b4e9", "#009e73", "#e69f00", "#0072b2", "#cc79a7")
_MARKERS = ("o", "D", "s", "^", "v", "P", "X", "<", ">", "p", "h", "d")
_DASHES: tuple[tuple[float, ...], ...] = ((), (4, 1.5), (1.2, 1.2), (5, 1.2, 1.2, 1.2))


@dataclass(frozen=True)
class Mark:
    """An arm's appearance: hexadecimal color, matplotlib marker, and dashes in line widths (empty: solid)."""

    colour: str
    marker: str
    dashes: tuple[float, ...]


def marks(arms: Sequence[str]) -> dict[str, Mark]:
    """Return the mark of every arm; `arms` are in the plan's order, and marks repeat after 84 arms."""
    return {
        arm: Mark(
            _COLOURS[i % len(_COLOURS)],
            _MARKERS[i % len(_MARKERS)],
            _DASHES[i // len(_COLOURS) % len(_DASHES)],
        )
        for i, arm in enumerate(arms)
    }
