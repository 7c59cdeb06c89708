"""An interaction plot: how the effect of one factor changes with the level of a second factor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aimlib.errors import UsageError
from analysis.figures.canvas import labels, rule, styled
from analysis.figures.heatmap import shown_levels, summarise
from analysis.figures.level_means import basis, interaction_aliases, of_design
from analysis.figures.levels import factor_columns, name_levels
from analysis.figures.measured import Measure, explained, legend_above, measure_of, named_arms, sheet
from analysis.figures.palette import marks
from analysis.results import Results, Studies

TITLE = "Interaction"
MOST_LINES = 6
_BESIDE = 0.36
"""Range over which the lines are offset, as a share of the distance between levels, so that bars do not overlap."""

__all__ = ["MOST_LINES", "TITLE", "caption", "draw", "interaction", "summarise"]


def interaction(
    results: Results | Studies,
    factor: str,
    hue: str,
    *,
    value: str | None = None,
    alpha: float = 0.05,
    ax: Axes | None = None,
) -> Figure:
    """Draw the mean of a measure by the levels of a factor, with one line per level of a second factor.

    Parallel lines mean that the two factors do not interact.

    Parameters
    ----------
    factor, hue : columns of `runs`. If a column has too many numbers to be levels, they are divided into quarters.
    value : column of `runs`; see `measured.measure_of` for the default.
    ax : axes to draw on; None: a new figure with a title and a caption.

    Raises
    ------
    UsageError: a column is unknown, a factor has only one level or is used twice, the hue has more than six levels, or
        no run has a value.
    """
    if factor == hue:
        raise UsageError(f"interaction: {factor!r} is used for both factor and hue; name two different factors")
    measure = measure_of(results, value)
    runs, beside = of_design(results, named_arms(results))
    factor_columns(results, runs, [factor, hue])
    summary = summarise(runs, factor, hue, measure, alpha)
    if summary.empty:
        raise UsageError(f"no run has {measure.short} yet; there is nothing to draw")
    if summary[hue].nunique() > MOST_LINES:
        raise UsageError(
            f"{hue!r} has {summary[hue].nunique()} levels; at most {MOST_LINES} lines can be distinguished: use it as "
            f"the factor, or draw heatmap(results, {factor!r}, {hue!r})"
        )
    figure = draw(summary, factor, hue, measure, ax)
    if ax is not None:
        return figure
    words = caption(summary, factor, hue, measure, alpha) + interaction_aliases(results, factor, hue) + beside
    return explained(figure, f"{TITLE} of {factor} and {hue}", words)


@styled
def draw(summary: pd.DataFrame, factor: str, hue: str, measure: Measure, ax: Axes | None = None) -> Figure:
    """Return the figure for a summary that has rows."""
    levels, lines = shown_levels(summary, factor), list(dict.fromkeys(summary[hue]))
    figure, axes = sheet(ax, 3.0)
    looks = marks(lines)
    offsets = np.linspace(-0.5, 0.5, len(lines)) * (_BESIDE if len(lines) > 1 else 0)
    handles: dict[str, Any] = {}
    for line, offset in zip(lines, offsets, strict=True):
        rows = summary[(summary[hue] == line) & summary[factor].isin(levels)].set_index(factor)[
            ["mean", "lower", "upper"]
        ]
        rows = rows.reindex(levels)  # the line has a gap at a pair of levels that was not run
        look, places = looks[line], np.arange(len(levels)) + offset
        style: dict[str, Any] = {"color": look.colour, "dashes": look.dashes or (1, 0)}
        axes.plot(places, rows["mean"], marker=look.marker, markersize=5, linewidth=1.2, zorder=3, **style)
        axes.vlines(places, rows["lower"], rows["upper"], color=look.colour, linewidth=1, zorder=2)
        handle = Line2D([], [], color=look.colour, marker=look.marker, markersize=5, linewidth=1.2)
        handle.set_dashes(look.dashes or (1, 0))
        name = f"{hue} = {line}"
        handles[labels([name], 30, 1)[name]] = handle
    name_levels(axes, list(enumerate(levels)), 80)
    axes.set_xlim(-0.5, len(levels) - 0.5)
    axes.set_xlabel(labels([factor], 60, 1)[factor])
    axes.set_ylabel(measure.words)
    rule(axes, "y")
    legend_above([axes], handles)
    return figure


def caption(summary: pd.DataFrame, factor: str, hue: str, measure: Measure, alpha: float = 0.05) -> str:
    """Return what the points are averages of, and what is left out."""
    if summary.empty:
        return f"No run has {measure.short} yet."
    levels = shown_levels(summary, factor)
    shown = summary[summary[factor].isin(levels)]
    text = f"{basis(shown, measure, alpha, 'Bars')} Parallel lines mean that the factors do not interact."
    if len(shown) < len(levels) * shown[hue].nunique():
        text += " A line has a gap where no run of a pair of levels has a value."
    if summary[factor].nunique() > len(levels):
        text += f" Of {summary[factor].nunique()} levels of {factor}, the {len(levels)} with the most runs are shown."
    return text
