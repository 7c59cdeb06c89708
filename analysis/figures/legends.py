"""Legends below a figure that explain its lines and marks, so that the figure is understandable without its caption."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.canvas import WIDTH
from analysis.figures.palette import INK, MUTED

_PER_INCH = 14.2
"""Number of characters of small text per inch."""
_HANDLE = 6
"""Width of a line sample and the space around it, in characters."""
ROW = 0.2
"""Height of a legend row in inches."""
DELTA = "δ: smallest effect of interest"
REPORTED = "r: reported gain"


def below(figure: Figure, entries: Mapping[str, Line2D]) -> None:
    """Put a legend below the figure, in as many columns as fit, and make the figure taller to fit the legend."""
    columns = _columns(list(entries))
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + ROW * -(-len(entries) // columns))
    figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=columns, handlelength=2.0)


def _columns(texts: list[str]) -> int:
    """Return the largest number of columns that fit; columns are filled one after another."""
    for columns in range(len(texts), 1, -1):
        rows = -(-len(texts) // columns)
        widths = [max(map(len, texts[start : start + rows])) + _HANDLE for start in range(0, len(texts), rows)]
        if sum(widths) <= WIDTH * _PER_INCH:
            return columns
    return 1


def line(width: float, *, colour: str = INK, marker: str = "") -> Line2D:
    """Return the sample of a solid line, with a marker in its middle if `marker` is given."""
    style = {} if not marker else {"marker": marker, "markersize": 4}
    return Line2D([], [], color=colour, linewidth=width, **style)  # type: ignore[arg-type]


def dashed() -> Line2D:
    """Return the sample of a reference line, such as the smallest effect of interest."""
    return Line2D([], [], color=MUTED, linewidth=0.9, linestyle=(0, (3, 2)))


def band(colour: str) -> Line2D:
    """Return the sample of a shaded band."""
    return Line2D([], [], color=colour, alpha=0.2, linewidth=7, solid_capstyle="butt")


def upright(size: float = 9) -> Line2D:
    """Return the sample of a short vertical bar."""
    return Line2D([], [], color=INK, linestyle="none", marker="|", markersize=size, markeredgewidth=2)


def level(size: float = 9) -> Line2D:
    """Return the sample of a short horizontal bar."""
    return Line2D([], [], color=INK, linestyle="none", marker="_", markersize=size, markeredgewidth=2)


def hollow() -> Line2D:
    """Return the sample of a hollow marker."""
    return Line2D([], [], color=INK, linestyle="none", marker="o", markerfacecolor="none", markersize=5)
