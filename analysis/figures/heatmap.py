"""A heat map of a measure by the levels of two factors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from aimlib.errors import UsageError, counted
from analysis.figures.canvas import SMALL, labels, styled
from analysis.figures.level_means import basis, interaction_aliases, level_means, of_design
from analysis.figures.levels import factor_columns, group_texts
from analysis.figures.measured import Measure, explained, legend_above, measure_of, measured_runs, named_arms, sheet
from analysis.figures.palette import GRID, MUTED, PAPER
from analysis.results import Results, Studies
from analysis.wording import number_format

TITLE = "Two factors"
_LEVELS = 16
"""Maximum number of levels of a factor that get a row or column; these are the levels with the most runs."""


def heatmap(
    results: Results | Studies,
    rows: str,
    columns: str,
    *,
    value: str | None = None,
    alpha: float = 0.05,
    ax: Axes | None = None,
) -> Figure:
    """Draw the mean of a measure for every pair of levels of two factors, and return the figure.

    Parameters
    ----------
    rows, columns : columns of `runs`. If a column has too many numbers to be levels, they are divided into quarters.
    value : column of `runs`; see `measured.measure_of` for the default.
    ax : axes to draw on; None: a new figure with a title and a caption.

    Raises
    ------
    UsageError: a column is unknown, a factor has only one level or is used twice, or no run has a value.
    """
    if rows == columns:
        raise UsageError(f"heatmap: {rows!r} is used for both rows and columns; name two different factors")
    measure = measure_of(results, value)
    runs, beside = of_design(results, named_arms(results))
    factor_columns(results, runs, [rows, columns])
    summary = summarise(runs, rows, columns, measure, alpha)
    if summary.empty:
        raise UsageError(f"no run has {measure.short} yet; there is nothing to draw")
    figure = draw(summary, rows, columns, measure, ax)
    if ax is not None:
        return figure
    words = caption(summary, rows, columns, measure, alpha) + interaction_aliases(results, rows, columns) + beside
    return explained(figure, f"{TITLE}: {rows} and {columns}", words)


def summarise(runs: pd.DataFrame, rows: str, columns: str, measure: Measure, alpha: float = 0.05) -> pd.DataFrame:
    """Return the rows of `level_means` for two factors; pairs of levels that were not run do not have a row."""
    return level_means(runs, [rows, columns], measure, alpha)


def shown_levels(summary: pd.DataFrame, factor: str) -> list[str]:
    """Return the levels to draw, in the order of the levels: all, or those with the most runs."""
    counts = summary.groupby(factor, sort=False)["runs"].sum()
    kept = set(counts.sort_values(ascending=False, kind="stable").index[:_LEVELS])
    order = summary[factor] if factor == summary.columns[0] else _column_order(summary, factor)
    return [level for level in dict.fromkeys(order) if level in kept]


def _column_order(summary: pd.DataFrame, factor: str) -> list[str]:
    """Return the second factor's levels in an order that agrees with their order at each level of the first."""
    known: list[str] = []
    for _, part in summary.groupby(summary.columns[0], sort=False):
        place = 0
        for level in part[factor]:
            if level in known:
                place = known.index(level) + 1
            else:
                known.insert(place, level)
                place += 1
    return known


@styled
def draw(summary: pd.DataFrame, rows: str, columns: str, measure: Measure, ax: Axes | None = None) -> Figure:
    """Return the figure for a summary that has rows."""
    down, across = shown_levels(summary, rows), shown_levels(summary, columns)
    table = summary.pivot(index=rows, columns=columns, values="mean").reindex(index=down, columns=across)
    upright = _room(across) if _is_upright(across) else 0
    figure, axes = sheet(ax, 1.1 + 0.3 * len(down) + _LETTER * upright)
    values = table.to_numpy(dtype=float)
    axes.set_facecolor(PAPER)
    colours: Any = mpl.colormaps["cividis_r" if measure.lower_is_better else "cividis"]
    spread = np.nanmax(values) - np.nanmin(values)
    limits = (
        {} if spread > 0 else {"vmin": values[np.isfinite(values)][0] - 1, "vmax": values[np.isfinite(values)][0] + 1}
    )
    sns.heatmap(
        table,
        ax=axes,
        cmap=colours,
        annot=_numbers(values) if len(across) <= 10 else None,
        fmt="",
        annot_kws={"fontsize": SMALL},
        linewidths=0.6,
        linecolor=PAPER,
        xticklabels=False,  # seaborn would lay out the figure with the full names; `_name` shortens them
        yticklabels=False,
        cbar_kws={"label": measure.words, "pad": 0.02},
        **limits,
    )
    missing = np.argwhere(np.isnan(values))
    for row, column in missing:
        axes.add_patch(Rectangle((column, row), 1, 1, facecolor=PAPER, edgecolor=GRID, hatch="////", linewidth=0))
    _name(axes, down, across, rows, columns)
    if len(missing):
        handle = Patch(facecolor=PAPER, edgecolor=MUTED, hatch="////", linewidth=0.4)
        legend_above([axes], {"no run has a value": handle})
    return figure


def _numbers(values: Any) -> Any:
    """Return the texts in the cells, with one more digit than the spread of the values requires."""
    spread = float(np.nanmax(values) - np.nanmin(values)) or 1.0
    digits = int(np.clip(1 - np.floor(np.log10(spread)), 0, 4))
    return np.array([["" if np.isnan(each) else number_format.decimal(each, digits) for each in row] for row in values])


_UPRIGHT = 18
"""Maximum number of characters of a name that is rotated to run vertically."""
_LETTER = 0.07
"""Height of one character of a rotated name, in inches."""


def _width(across: list[str]) -> int:
    """Return the number of characters that fit below a column."""
    return max(4, 60 // len(across))


def _is_upright(across: list[str]) -> bool:
    return max(map(len, across)) > _width(across)


def _room(across: list[str]) -> int:
    """Return the number of characters of the longest rotated name."""
    return min(_UPRIGHT, max(map(len, across)))


def _name(axes: Axes, down: list[str], across: list[str], rows: str, columns: str) -> None:
    upright = _is_upright(across)
    texts = labels(across, _UPRIGHT if upright else _width(across), 1)
    axes.set_xticks([at + 0.5 for at in range(len(across))], [texts[name] for name in across], rotation=90 * upright)
    texts = labels(down, 22, 1)
    axes.set_yticks([at + 0.5 for at in range(len(down))], [texts[name] for name in down], rotation=0)
    axes.tick_params(length=0)
    axes.set_xlabel(labels([columns], 40, 1)[columns])
    axes.set_ylabel(labels([rows], 30, 1)[rows])


def caption(summary: pd.DataFrame, rows: str, columns: str, measure: Measure, alpha: float = 0.05) -> str:
    """Return what the cells are averages of, the best cell, and what is left out."""
    if summary.empty:
        return f"No run has {measure.short} yet."
    down, across = shown_levels(summary, rows), shown_levels(summary, columns)
    shown = summary[summary[rows].isin(down) & summary[columns].isin(across)]
    best = shown.sort_values("mean", ascending=measure.lower_is_better, kind="stable").iloc[0]
    better = "lowest" if measure.lower_is_better else "highest"
    row, column = (labels([str(best[name])], 40, 1)[str(best[name])] for name in (rows, columns))
    text = (
        f"{basis(shown, measure, alpha, '')} The {better} mean is {number_format.decimal(best['mean'])}"
        f"{f' {measure.unit}' if measure.unit else ''} at {rows} {row} and {columns} {column}."
    )
    lost = len(down) * len(across) - len(shown)
    if lost:
        text += f" For {counted(lost, 'pair')} of levels, no run has a value (hatched)."
    for factor, levels in ((rows, down), (columns, across)):
        every = summary[factor].nunique()
        if every > len(levels):
            text += f" Of {every} levels of {factor}, the {len(levels)} with the most runs are shown."
    return text


def strongest_pair(runs: pd.DataFrame, factors: Sequence[str], measure: Measure) -> tuple[str, str] | None:
    """Return the two factors with the largest share of level pairs run; if tied, those whose means vary most.

    None unless at least two factors have two or more levels.
    """
    own = measured_runs(runs, measure)
    texts = {name: group_texts(own[name]) for name in factors}
    best: tuple[float, float] = (0.0, 0.0)
    found = None
    for one, two in combinations([name for name in factors if texts[name].nunique() > 1], 2):
        means = own["measured"].groupby([texts[one], texts[two]]).mean()
        key = len(means) / (texts[one].nunique() * texts[two].nunique()), float(means.var(ddof=0))
        if found is None or key > best:
            best, found = key, (one, two)
    return found
