"""What all figures of a sweep share: the measure, the values of every arm, and the axes on which they are drawn."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.transforms import ScaledTranslation

from aimlib import records
from aimlib.errors import counted
from analysis.figures.canvas import SMALL, new_figure, printable
from analysis.figures.palette import MUTED
from analysis.reading.query import refuse_text, refuse_unknown
from analysis.results import Results, Studies
from analysis.statistics.blinding import is_screening, verdict_is_due
from analysis.statistics.interval import t_interval
from analysis.statistics.paired import OUTCOMES

_OF_SELECTED_EPOCH = ("test_accuracy", "validation_accuracy", "test_loss", "validation_loss", "test_top5_accuracy")
_COSTS = ("loss", "seconds", "parameters", "multiply_adds", "bytes")
_CHARACTERS = 92
"""Number of characters of small text that fit on a line across a figure."""
_LEGEND_SPACING = 1.5
"""Line spacing of the text that reserves space for a legend, whose rows are 12.4 points apart at this font size."""
_LINE = 0.145
"""Height of a line of the caption, in inches."""


@dataclass(frozen=True)
class Measure:
    """The measure that a figure shows for every run.

    Attributes
    ----------
    column : column of `Results.runs`.
    words : axis label, with the unit.
    short : the measure's name for use within a sentence, with the epoch and without the unit.
    unit : unit of the values as drawn, as in "72.1 %"; empty for numbers without a unit.
    scale : factor by which the stored values are multiplied.
    lower_is_better : true for losses and costs.
    blinded : whether the measure was chosen because test accuracies must not be shown yet.
    """

    column: str
    words: str
    short: str
    unit: str
    scale: float
    lower_is_better: bool
    blinded: bool = False

    @property
    def difference(self) -> str:
        """Unit of differences: percentage points if the values are drawn in percent."""
        return "pp" if self.unit == "%" else self.unit

    @property
    def best(self) -> str:
        """Which mean is the best: the highest or the lowest."""
        return "lowest" if self.lower_is_better else "highest"

    def heading(self, name: str) -> str:
        """Return the heading for a column of differences, with their unit."""
        return f"{name}, {self.difference}" if self.difference else name


def measure_of(results: Results | Studies, value: str | None = None) -> Measure:
    """Return the measure that a figure shows.

    Parameters
    ----------
    value : column of `runs`. None means the test accuracy once the pairs for the verdict are settled and, before that,
        the validation accuracy, so that no test results are revealed. For a search, it always means the validation
        accuracy.

    Raises
    ------
    UsageError: `value` is not a column of numbers.
    """
    due = all(not is_screening(each.directory) and verdict_is_due(each.plan, each.runs) for each in _studies(results))
    column = value or ("test_accuracy" if due else "validation_accuracy")
    refuse_unknown(results.runs, [column])
    refuse_text(results.runs, column)
    known = {each.name: each for each in records.RUN_COLUMNS}
    unit = known[column].unit if column in known else ""
    accuracy = column.endswith(("accuracy", "f1"))
    unit = "%" if accuracy else "" if unit in ("", "fraction", column) else unit
    name = column.replace("_", " ")
    words = name[:1].upper() + name[1:] + (f", {unit}" if unit else "")
    short = f"{name} at the selected epoch" if column in _OF_SELECTED_EPOCH else name
    blinded = value is None and not due
    return Measure(column, words, short, unit, 100.0 if accuracy else 1.0, column.endswith(_COSTS), blinded)


def _studies(results: Results | Studies) -> list[Results]:
    return list(results.results.values()) if isinstance(results, Studies) else [results]


def measured_runs(runs: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """Return the runs that were not pruned and have a value for the measure, with that value in column `measured`."""
    kept = runs[runs["status"].isin(OUTCOMES) & runs[measure.column].notna()]
    return kept.assign(measured=measure.scale * kept[measure.column].astype("float64"))


def by_arm(runs: pd.DataFrame, measure: Measure, alpha: float = 0.05) -> pd.DataFrame:
    """Return arm, n, mean, lower and upper: the mean of the measure over each arm's runs, with its t interval.

    Arms are in the order of their first run; arms without a measured run are left out.
    """
    found = [
        (arm, i.n, i.mean, i.lower, i.upper)
        for arm, values in measured_runs(runs, measure).groupby("arm", sort=False)["measured"]
        for i in [t_interval(values, alpha)]
    ]
    types: dict[str, Any] = {"arm": "str", "n": "int64"} | dict.fromkeys(("mean", "lower", "upper"), "float64")
    return pd.DataFrame(found, columns=list(types)).astype(types)


def sheet(ax: Axes | None, height: float) -> tuple[Figure, Axes]:
    """Return the caller's axes with their figure, or new axes of column width that are `height` inches high."""
    if ax is None:
        figure = new_figure(height)
        return figure, figure.subplots()
    return whole_figure(ax), ax


def whole_figure(ax: Axes) -> Figure:
    """Return the entire figure that contains the axes, not a subfigure."""
    figure: Figure | SubFigure | None = ax.figure
    while isinstance(figure, SubFigure):
        figure = figure.figure
    return cast("Figure", figure)


def panels(ax: Axes | None, rows: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """Return `rows` × `columns` axes in reading order: on a new figure, or in place of the caller's axes."""
    if ax is None:
        figure = new_figure(height)
        return figure, [*figure.subplots(rows, columns, squeeze=False).flat]
    if rows * columns == 1:
        return whole_figure(ax), [ax]
    place = ax.get_subplotspec()
    ax.set_axis_off()
    if place is None:
        width, depth = 1 / columns, 1 / rows
        spots = [(c * width, 1 - (r + 1) * depth) for r in range(rows) for c in range(columns)]
        return whole_figure(ax), [ax.inset_axes((x, y, 0.8 * width, 0.7 * depth)) for x, y in spots]
    grid = place.subgridspec(rows, columns)
    parent = ax.figure
    return whole_figure(ax), [parent.add_subplot(grid[r, c]) for r in range(rows) for c in range(columns)]


def explained(figure: Figure, title: str, caption: str) -> Figure:
    """Write the title above and the caption below a new figure, and make the figure taller to fit them."""
    lines = textwrap.wrap(printable(caption), _CHARACTERS)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + _LINE * (len(lines) + 2))
    literal: Any = {"x": 0.01, "ha": "left", "parse_math": False}  # arm names may contain a dollar sign
    figure.suptitle(printable(title), fontsize=10, fontweight="bold", **literal)
    figure.supxlabel("\n".join(lines), fontsize=SMALL, color=MUTED, **literal)
    return figure


def named_arms(results: Results | Studies) -> pd.DataFrame:
    """Return the runs; if several studies have arms with the same name, these are called ``directory: arm``."""
    runs = results.runs
    if "directory" not in runs or not len(runs):
        return runs
    places = runs.groupby("arm")["directory"].transform("nunique")
    return runs.assign(arm=runs["arm"].mask(places > 1, runs["directory"] + ": " + runs["arm"]))


def left_out(results: Results | Studies, runs: pd.DataFrame, summary: pd.DataFrame) -> str:
    """Return a sentence on the planned arms that are not shown because they lack a value; empty if all have one.

    Parameters
    ----------
    runs : the frame from `named_arms`.
    summary : a frame with the column `arm`.
    """
    planned = runs["arm"].nunique() if isinstance(results, Studies) else len(results.plan.arms)
    lost = planned - summary["arm"].nunique()
    return f" {counted(lost, 'arm')} without a value {'is' if lost == 1 else 'are'} not shown." if lost > 0 else ""


def without_wide_intervals(rows: pd.DataFrame, also: pd.Series) -> tuple[float, float]:
    """Return axis limits that contain all means, and every interval that would not dwarf the means.

    Parameters
    ----------
    rows : mean, lower, upper; unknown intervals are NaN.
    also : further means to include.
    """
    means = pd.concat([rows["mean"], also]).to_numpy(dtype=float)
    low, high = float(np.nanmin(means)), float(np.nanmax(means))
    widths = (rows["upper"] - rows["lower"]).to_numpy(dtype=float)
    usual = np.nanmedian(widths) if np.isfinite(widths).any() else 0.0
    kept = rows[widths <= max(2 * (high - low), 2 * usual)]
    if len(kept):
        low, high = min(low, float(kept["lower"].min())), max(high, float(kept["upper"].max()))
    room = 0.06 * (high - low) or 0.01 * abs(high) or 1.0
    return low - room, high + room


def bars(axes: Axes, rows: pd.DataFrame, at: str, limits: tuple[float, float], colour: str) -> None:
    """Draw every row's interval vertically at column `at`, with an arrowhead where the interval is cut off."""
    for place, lower, upper in rows[[at, "lower", "upper"]].to_numpy(dtype=float):
        if not lower <= upper:
            continue
        ends = [max(lower, limits[0]), min(upper, limits[1])]
        axes.plot([place, place], ends, color=colour, linewidth=0.9, zorder=3)
        for end, edge, arrow in ((lower, limits[0], "v"), (upper, limits[1], "^")):
            if end < edge if arrow == "v" else end > edge:
                axes.plot([place], [edge], marker=arrow, color=colour, markersize=4, clip_on=False, zorder=3)


def legend_above(axes: Sequence[Axes], handles: Mapping[str, Any], title: str = "") -> None:
    """Put a legend above the first of several axes and its title, without making the axes wider.

    A blank title on the right reserves the space. There are as many columns as fit into the width of the figure.
    """
    if not handles:
        return
    first = axes[0]
    inches = whole_figure(first).get_size_inches()[0]
    columns = max(1, min(len(handles), int(inches * 14.2) // (max(map(len, handles)) + 6)))
    rows = -(-len(handles) // columns) + bool(title)
    known = bool(first.get_title(loc="left") or first.get_title(loc="center"))
    above = ScaledTranslation(0, (1.5 * SMALL if known else 0) / 72, whole_figure(first).dpi_scale_trans)
    first.set_title("\n".join([" "] * (rows + known)), fontsize=SMALL, loc="right", linespacing=_LEGEND_SPACING)
    place: dict[str, Any] = {
        "loc": "lower left",
        "bbox_to_anchor": (0, 1),
        "bbox_transform": first.transAxes + above,
        "borderaxespad": 0.2,
    }
    legend = first.legend(list(handles.values()), list(handles), ncols=columns, handlelength=1.8, **place)
    if title:
        legend.set_title(title)
        legend.get_title().set_fontsize(SMALL)
        legend.set_alignment("left")
    legend.set_in_layout(False)
