"""The ranking: how far every arm is behind the first, and which arms the pairs do not separate from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import stats

from aimlib.errors import UsageError, counted
from analysis.figures.arm_names import arm_labels, names_note
from analysis.figures.canvas import rule, styled
from analysis.figures.measured import (
    Measure,
    explained,
    left_out,
    legend_above,
    measure_of,
    measured_runs,
    named_arms,
    sheet,
)
from analysis.figures.palette import INK, MUTED, PAPER
from analysis.results import Results, Studies
from analysis.statistics.ranking import ranking as ranked
from analysis.wording import number_format

TITLE = "Ranking"
FIRST, LAST = 20, 5
"""With more than 30 arms, only the first `FIRST` and the last `LAST` arms are drawn."""
_ALL = 30


def ranking(
    results: Results | Studies, *, value: str | None = None, alpha: float = 0.05, ax: Axes | None = None
) -> Figure:
    """Draw the arms from best to worst with their paired differences from the first arm, and return the figure.

    Parameters
    ----------
    value : column of `runs`; see `measured.measure_of` for the default.
    alpha : joint error rate of all intervals.
    ax : axes to draw on; None: a new figure with a title and a caption.

    Raises
    ------
    UsageError: fewer than two arms have a value.
    """
    measure = measure_of(results, value)
    runs = named_arms(results)
    summary = summarise(runs, measure, alpha)
    if len(summary) < 2:
        raise UsageError(f"a ranking needs at least two arms with {measure.short}; this study has only {len(summary)}")
    figure = draw(summary, measure, ax)
    if ax is not None:
        return figure
    return explained(figure, TITLE, caption(summary, measure, alpha) + left_out(results, runs, summary))


def summarise(runs: pd.DataFrame, measure: Measure, alpha: float = 0.05) -> pd.DataFrame:
    """Return the frame from `statistics.ranking` for the measure, with the best arm first.

    `behind` is positive for an arm that is worse than the first. The columns `lower` and `upper` are the limits of the
    unadjusted interval for `behind`, for this arm alone.
    """
    own = measured_runs(runs, measure)
    sign = -1.0 if measure.lower_is_better else 1.0
    table = own.pivot_table(index="seed", columns="arm", values="measured", sort=False)
    found = ranked(sign * table, alpha)
    freedom = np.maximum(found["pairs"] - 1, 1)
    adjusted, alone = (stats.t.ppf(1 - level / 2, freedom) for level in (found["alpha"], alpha))
    margin = (found["behind_upper"] - found["behind"]) * alone / adjusted
    found = found.assign(lower=found["behind"] - margin, upper=found["behind"] + margin)
    return found.assign(mean=sign * found["mean"])


def shown(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the rows to draw: all, or if there are many, the first and the last."""
    return summary if len(summary) <= _ALL else pd.concat([summary[:FIRST], summary[-LAST:]])


@styled
def draw(summary: pd.DataFrame, measure: Measure, ax: Axes | None = None) -> Figure:
    """Return the figure for a summary that has rows."""
    rows = shown(summary)
    cut = len(rows) < len(summary)
    places = np.arange(len(rows)) + (cut * (np.arange(len(rows)) >= FIRST))
    figure, axes = sheet(ax, 1.0 + 0.2 * (len(rows) + cut))
    low, high = _limits(rows)
    axes.set_xlim(low, high)
    for row, place in zip(rows.to_dict("records"), places, strict=True):
        _draw_row(axes, row, float(place), (low, high))
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
    texts = arm_labels(rows["arm"].tolist(), 42, 1)
    names = [f"{rank}  {texts[arm]}" for rank, arm in zip(rows["rank"], rows["arm"], strict=True)]
    gap = ([FIRST], [f"… {counted(len(summary) - len(rows), 'further arm')} …"]) if cut else ([], [])
    axes.set_yticks([*places, *gap[0]], [*names, *gap[1]])
    axes.set_ylim(len(rows) + cut - 0.4, -0.6)
    unit = "pp" if measure.unit == "%" else measure.unit
    axes.set_xlabel(f"Behind the first arm, paired{f', {unit}' if unit else ''}{names_note(summary['arm'].tolist())}")
    rule(axes)
    _print_means(axes, rows, places, measure)
    legend_above([axes], _legend(rows))
    return figure


def _limits(rows: pd.DataFrame) -> tuple[float, float]:
    """Return limits that contain all differences and the intervals that do not dwarf them."""
    behind = rows["behind"].to_numpy(dtype=float)
    low, high = min(0.0, float(np.nanmin(behind))), float(np.nanmax(behind))
    span = (high - low) or 1.0
    for lower, upper in rows[["lower", "upper"]].to_numpy(dtype=float)[1:]:
        if upper - lower <= 3 * span:
            low, high = min(low, lower), max(high, upper)
    room = 0.05 * ((high - low) or 1.0)
    return low - room, high + room


def _draw_row(axes: Axes, row: dict[Any, Any], place: float, limits: tuple[float, float]) -> None:
    first = row["behind"] == 0 and row["rank"] == 1
    colour = INK if row["tied"] else MUTED
    lower, upper = row["lower"], row["upper"]
    if lower <= upper and not first:
        axes.plot([max(lower, limits[0]), min(upper, limits[1])], [place, place], color=colour, linewidth=1.2, zorder=2)
        for end, edge, arrow in ((lower, limits[0], "<"), (upper, limits[1], ">")):
            if end < edge if arrow == "<" else end > edge:
                axes.plot([edge], [place], marker=arrow, color=colour, markersize=4, clip_on=False, zorder=3)
    face = INK if row["tied"] else PAPER
    style: dict[str, Any] = {"markerfacecolor": face, "markeredgecolor": colour, "linestyle": "none", "zorder": 4}
    axes.plot([row["behind"]], [place], marker="D" if first else "o", markersize=5, **style)


def _print_means(axes: Axes, rows: pd.DataFrame, places: Any, measure: Measure) -> None:
    twin = axes.twinx()
    twin.set_ylim(axes.get_ylim())
    unit = f" {measure.unit}" if measure.unit else ""
    means = [number_format.decimal(mean) for mean in rows["mean"]]
    twin.set_yticks(places, [f"{mean}{unit}  n = {n}" for mean, n in zip(means, rows["n"], strict=True)])
    twin.tick_params(length=0)
    twin.spines[:].set_visible(False)


def _legend(rows: pd.DataFrame) -> dict[str, Any]:
    def dot(marker: str, face: str, colour: str) -> Line2D:
        style: dict[str, Any] = {"markerfacecolor": face, "linestyle": "none", "markersize": 5}
        return Line2D([], [], marker=marker, color=colour, **style)

    handles: dict[str, Any] = {"first": dot("D", INK, INK)}
    if rows["tied"][1:].any():
        handles["not distinguishable from the first"] = dot("o", INK, INK)
    if (~rows["tied"]).any():
        handles["behind"] = dot("o", PAPER, MUTED)
    return handles


def caption(summary: pd.DataFrame, measure: Measure, alpha: float = 0.05) -> str:
    """Return how many arms may be as good as the first, at which level, and what is left out."""
    if summary.empty:
        return f"No run has {measure.short} yet."
    tied = int(summary["tied"].sum()) - 1
    text = f"{counted(len(summary), 'arm')}, ordered by mean {measure.short} (right). "
    if int(summary["pairs"][1:].max() if len(summary) > 1 else 0) < 2:
        return text + "A single seed does not separate any arms." + _omission(summary)
    level = number_format.level(alpha)
    text += (
        f"The pairs with the same seed do not separate {counted(tied, 'arm')} from the first arm. The level is "
        f"adjusted for all pairs of arms, because any arm may come first ({level} jointly). Bars: {level} t interval "
        "for the paired difference, for each arm individually. The mean of the first arm is biased upwards, because "
        "it is the best of many."
    )
    if measure.blinded:
        text += " The test accuracy is not shown before the pairs for the verdict are settled."
    return text + _omission(summary)


def _omission(summary: pd.DataFrame) -> str:
    drawn = len(shown(summary))
    if drawn == len(summary):
        return ""
    return f" Of {len(summary)} arms, the first {FIRST} and the last {LAST} are drawn."
