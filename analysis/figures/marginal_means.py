"""Marginal means: the mean of a measure at every level of a factor, averaged over all other factors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aimlib.errors import UsageError, counted
from analysis.figures.canvas import SMALL, labels, rule, styled
from analysis.figures.level_means import NUMBERS, aliases, basis, is_unbalanced, level_means, of_design
from analysis.figures.levels import factor_columns
from analysis.figures.measured import Measure, explained, legend_above, measure_of, measured_runs, named_arms, sheet
from analysis.figures.palette import INK, MUTED
from analysis.results import Results, Studies
from analysis.wording import number_format

TITLE = "Marginal means"
_LEVELS, _ROWS = 12, 60
_TYPES: dict[str, Any] = {"factor": "str", "level": "str"} | NUMBERS | {"overall": "float64", "balanced": "bool"}


def marginal_means(
    results: Results | Studies,
    factors: str | Sequence[str] = (),
    *,
    value: str | None = None,
    alpha: float = 0.05,
    ax: Axes | None = None,
) -> Figure:
    """Draw the mean of a measure at every level of the factors, with one group of rows per factor; return the figure.

    Parameters
    ----------
    factors : columns of `runs`; by default, the study's factors, or all options in which arms differ. If a column has
        too many numbers to be levels, they are divided into quarters.
    value : column of `runs`; see `measured.measure_of` for the default.
    ax : axes to draw on; None: a new figure with a title and a caption.

    Raises
    ------
    UsageError: a column is unknown, no factor has two levels, or no run has a value.
    """
    measure = measure_of(results, value)
    runs, beside = of_design(results, named_arms(results))
    columns = factor_columns(results, runs, [factors] if isinstance(factors, str) else factors)
    summary = summarise(runs, columns, measure, alpha)
    if summary.empty:
        raise UsageError(f"no run has {measure.short} yet; there is nothing to draw")
    figure = draw(summary, measure, ax)
    words = caption(summary, measure, alpha) + aliases(results, *columns) + beside
    return figure if ax is not None else explained(figure, TITLE, words)


def summarise(runs: pd.DataFrame, factors: Sequence[str], measure: Measure, alpha: float = 0.05) -> pd.DataFrame:
    """Return one row per factor and level.

    Returns
    -------
    factor, level, arms, runs, n (seeds), mean, lower, upper, overall (mean of all these runs), balanced (whether all
    levels of the factor were run with the same combinations of the other factors).
    """
    overall = float(measured_runs(runs, measure)["measured"].mean())
    parts = [
        level_means(runs, [factor], measure, alpha)
        .rename(columns={factor: "level"})
        .assign(factor=factor, overall=overall, balanced=not is_unbalanced(runs, factor, factors, measure))
        for factor in factors
    ]
    whole = pd.concat(parts) if parts else pd.DataFrame(columns=list(_TYPES))
    return whole[list(_TYPES)].astype(_TYPES).reset_index(drop=True)


def shown(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the rows to draw: for each factor, the levels with the most runs; of many factors, only the first."""
    many = summary.groupby("factor", sort=False)["runs"].rank(method="first", ascending=False) > _LEVELS
    kept = summary[~many]
    rows = kept.groupby("factor", sort=False).size().cumsum()
    first = rows.index[(rows <= _ROWS) | (np.arange(len(rows)) == 0)]
    return kept[kept["factor"].isin(first)].reset_index(drop=True)


@styled
def draw(summary: pd.DataFrame, measure: Measure, ax: Axes | None = None) -> Figure:
    """Return the figure for a summary that has rows."""
    rows = shown(summary)
    groups = rows["factor"].ne(rows["factor"].shift()).cumsum().to_numpy()
    places = np.arange(len(rows)) + 1.1 * groups
    figure, axes = sheet(ax, 0.8 + 0.19 * float(places[-1]))
    axes.hlines(places, rows["lower"], rows["upper"], color=INK, linewidth=1.2, zorder=2)
    axes.plot(rows["mean"], places, "o", color=INK, markersize=5, zorder=3)
    axes.axvline(float(rows["overall"].iloc[0]), color=MUTED, linewidth=0.9, linestyle=(0, (3, 2)), zorder=1)
    texts = labels(rows["level"].drop_duplicates().tolist(), 26, 1)
    axes.set_yticks(places, [texts[level] for level in rows["level"]])
    axes.set_ylim(float(places[-1]) + 0.7, -0.2)
    names = labels(rows["factor"].drop_duplicates().tolist(), 40, 1)
    for number in np.unique(groups):
        at = int(np.flatnonzero(groups == number)[0])
        name = names[rows["factor"].iloc[at]] + ("" if rows["balanced"].iloc[at] else " (unbalanced)")
        where: Any = {"xycoords": ("axes fraction", "data"), "xytext": (3, 0), "textcoords": "offset points"}
        axes.annotate(name, (0, places[at] - 0.95), va="center", fontsize=SMALL, fontweight="bold", **where)
    axes.set_xlabel(measure.words)
    axes.margins(x=0.06)
    rule(axes)
    handles = {
        "mean at the level": Line2D([], [], color=INK, marker="o", markersize=5, linewidth=1.2),
        "mean of all runs": Line2D([], [], color=MUTED, linewidth=0.9, linestyle=(0, (3, 2))),
    }
    legend_above([axes], handles)
    return figure


def caption(summary: pd.DataFrame, measure: Measure, alpha: float = 0.05) -> str:
    """Return what the points are averages of, which factor's levels differ most, and what is left out."""
    if summary.empty:
        return f"No run has {measure.short} yet."
    first = summary[summary["factor"] == summary["factor"].iloc[0]]
    spans = summary.groupby("factor", sort=False)["mean"].agg(lambda means: means.max() - means.min())
    unit = " pp" if measure.unit == "%" else f" {measure.unit}" if measure.unit else ""
    text = (
        f"{basis(first, measure, alpha, 'Bars')} The means at the levels of {spans.idxmax()} differ most, by "
        f"{number_format.decimal(spans.max())}{unit}."
    )
    if not summary["balanced"].all():
        text += (
            " The levels of an unbalanced factor were run with different combinations of the other factors, so their "
            "means also differ for that reason. The table of effects compares levels with all else equal."
        )
    drawn = shown(summary)
    if len(drawn) < len(summary):
        text += (
            f" {len(drawn)} of {counted(len(summary), 'level')} are shown: for each factor, those with the most runs"
            f"{', and only for the first factors' if drawn['factor'].nunique() < len(spans) else ''}."
        )
    return text
