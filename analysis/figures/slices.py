"""Slices of a search: each dimension plotted against the measure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from aimlib.errors import UsageError, counted
from analysis.figures.canvas import labels, rule, styled
from analysis.figures.levels import (
    factor_columns,
    is_continuous,
    is_logarithmic,
    name_levels,
    number_text,
    scale_of,
    separation,
)
from analysis.figures.measured import Measure, explained, legend_above, measure_of, named_arms, panels
from analysis.figures.palette import INK, MUTED, PAPER, Mark, marks
from analysis.reading.query import refuse_unknown
from analysis.results import Results, Studies
from analysis.statistics.paired import OUTCOMES
from analysis.wording import number_format

TITLE = "Each option against the measure"
_PANELS, _ACROSS = 9, 3
_BANDS = 24
"""With at least this many trials, a panel also shows the median and the middle half."""
_DOTS = 1000
"""With more trials than this, only the bands are drawn."""
_BINS = 8
_BAND = "#b8bcc4"
_TRIAL = re.compile(r"^(?P<arm>.+)_\d{4,}$")
_TYPES: dict[str, Any] = {"searched": "str", "arm": "str", "n": "int64", "mean": "float64", "stopped": "bool"}


def slices(
    results: Results | Studies,
    dimensions: Sequence[str] = (),
    *,
    value: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Plot each option of a search, or of any study, against the measure, and return the figure.

    Parameters
    ----------
    results : results from the ``screening`` directory of a search, whose arms are the trials.
    dimensions : columns of `runs`, with one panel each. By default, these are the options in which trials differ,
        limited to the nine whose levels differ most in the measure.
    value : column of `runs`; see `measured.measure_of` for the default.
    ax : axes that the panels replace; None: a new figure with a title and a caption.

    Raises
    ------
    UsageError: a column is unknown, no option differs, or no run has a value for the measure.
    """
    measure = measure_of(results, value)
    runs = named_arms(results)
    columns = factor_columns(results, runs, dimensions)
    summary = summarise(runs, columns, measure)
    if summary.empty:
        raise UsageError(f"no run has {measure.short} yet; there is nothing to draw")
    figure = draw(summary, measure, ax, dimensions)
    return figure if ax is not None else explained(figure, TITLE, caption(summary, measure, runs, dimensions))


def summarise(runs: pd.DataFrame, dimensions: Sequence[str], measure: Measure) -> pd.DataFrame:
    """Return one row per trial, in order: searched, arm, n, mean, stopped, and the dimensions.

    `searched` is the arm that was searched in the trial, `n` is the number of the trial's runs with a value, and `mean`
    is the measure's mean over these runs. For a trial that was stopped early, `stopped` is true, and `mean` is the
    value that the trial had reached.

    Raises
    ------
    UsageError: a dimension is not a column.
    """
    refuse_unknown(runs, dimensions)
    kept = runs[runs["status"].isin((*OUTCOMES, "pruned")) & runs[measure.column].notna()]
    values = measure.scale * kept[measure.column].astype("float64")
    groups = values.groupby(kept["arm"], sort=False)
    found = pd.DataFrame({"n": groups.size(), "mean": groups.mean()}).rename_axis("arm").reset_index()
    stopped = (kept["status"] == "pruned").groupby(kept["arm"], sort=False).any()
    found["stopped"] = found["arm"].map(stopped).astype("bool")
    found["searched"] = [match["arm"] if (match := _TRIAL.match(arm)) else "" for arm in found["arm"]]
    found = found.merge(kept.drop_duplicates("arm")[["arm", *dimensions]], on="arm", how="left")
    return found[[*_TYPES, *dimensions]].astype(_TYPES)


def shown_dimensions(summary: pd.DataFrame, wanted: Sequence[str] = ()) -> list[str]:
    """Return the dimensions that get a panel: the requested ones, or the nine whose levels differ most."""
    every = [name for name in summary.columns if name not in _TYPES]
    whole = summary[~summary["stopped"]]
    shares = {str(name): separation(whole[str(name)], whole["mean"]) for name in every}
    return list(wanted) or sorted(shares, key=lambda name: -shares[name])[:_PANELS]


@styled
def draw(summary: pd.DataFrame, measure: Measure, ax: Axes | None = None, dimensions: Sequence[str] = ()) -> Figure:
    """Return the figure for a summary that has rows: one panel per dimension, in place of `ax` if that is given."""
    names = shown_dimensions(summary, dimensions)
    across = min(_ACROSS, len(names))
    down = -(-len(names) // across)
    figure, axes = panels(ax, down, across, 0.6 + 2.0 * down)
    looks = marks(list(dict.fromkeys(summary["searched"])))
    limits = _limits(summary)
    for at, name in enumerate(names):
        _draw_panel(axes[at], summary, name, looks)
        axes[at].set_ylim(*limits)
        axes[at].set_ylabel(measure.words if at % across == 0 else "")
        axes[at].tick_params(labelleft=at % across == 0)
        rule(axes[at], "y")
    for spare in axes[len(names) :]:
        spare.set_axis_off()
    legend_above(axes, _legend(summary, looks))
    return figure


def _limits(summary: pd.DataFrame) -> tuple[float, float]:
    low, high = float(summary["mean"].min()), float(summary["mean"].max())
    room = 0.06 * (high - low) or 0.5
    return low - room, high + room


def _draw_panel(axes: Axes, summary: pd.DataFrame, name: str, looks: Mapping[str, Mark]) -> None:
    if is_continuous(summary[name]):
        rows = summary[summary[name].notna()]
        places = rows[name].astype("float64").to_numpy()
        _number_axis(axes, rows[name])
        _draw_running_median(axes, places[~rows["stopped"]], rows.loc[~rows["stopped"], "mean"].to_numpy())
    else:
        rows = summary
        scale = scale_of(summary[name])
        places = scale.places(rows[name]) / scale.step
        whole = ~rows["stopped"].to_numpy()
        _draw_medians(axes, places[whole], rows.loc[whole, "mean"].to_numpy(), len(summary))
        name_levels(axes, [(at / scale.step, text) for at, text in scale.ticks], 28)
        axes.set_xlim(0, 1 / scale.step)
        axes.tick_params(axis="x", length=0)
        places = places + _jitter(len(rows))
    if len(summary) <= _DOTS:
        _draw_trials(axes, rows, places, looks)
    axes.set_xlabel(labels([name], 30, 1)[name])


def _draw_trials(axes: Axes, rows: pd.DataFrame, places: npt.NDArray[Any], looks: Mapping[str, Mark]) -> None:
    size, alpha = (16, 0.9) if len(rows) <= 60 else (6, 0.6)
    for searched, mark in looks.items():
        own = (rows["searched"] == searched).to_numpy()
        for stopped in (False, True):
            here = own & (rows["stopped"].to_numpy() == stopped)
            face = PAPER if stopped else mark.colour
            style: dict[str, Any] = {"facecolors": face, "edgecolors": mark.colour, "linewidths": 0.6, "zorder": 3}
            axes.scatter(places[here], rows["mean"][here], marker=mark.marker, s=size, alpha=alpha, **style)


def _jitter(number: int) -> npt.NDArray[Any]:
    """Return offsets within a level that are deterministic and evenly spread (the golden ratio sequence)."""
    return 0.5 * (np.arange(1, number + 1) * 0.6180339887498949 % 1.0) - 0.25


def _draw_running_median(axes: Axes, places: npt.NDArray[Any], values: npt.NDArray[Any]) -> None:
    if len(values) < _BANDS:
        return
    order = np.argsort(places, kind="stable")
    parts = np.array_split(order, _BINS)
    middles = [float(np.median(places[part])) for part in parts]
    low, middle, high = np.array([np.quantile(values[part], [0.25, 0.5, 0.75]) for part in parts]).T
    axes.fill_between(middles, low, high, color=_BAND, alpha=0.6, linewidth=0, zorder=1.5)
    axes.plot(middles, middle, color=INK, linewidth=1.4, zorder=4)


def _draw_medians(axes: Axes, places: npt.NDArray[Any], values: npt.NDArray[Any], trials: int) -> None:
    if trials < _BANDS:
        return
    for place in np.unique(places):
        own = values[places == place]
        low, middle, high = np.quantile(own, [0.25, 0.5, 0.75])
        axes.fill_between([place - 0.34, place + 0.34], low, high, color=_BAND, alpha=0.6, linewidth=0, zorder=1.5)
        axes.plot([place - 0.34, place + 0.34], [middle, middle], color=INK, linewidth=1.6, zorder=4)


def _number_axis(axes: Axes, values: pd.Series) -> None:
    low, high = float(values.min()), float(values.max())
    if is_logarithmic(values):
        axes.set_xscale("log")
        axes.set_xlim(low * (low / high) ** 0.06, high * (high / low) ** 0.06)
        axes.xaxis.set_major_locator(LogLocator(numticks=5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: number_text(place)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        return
    room = 0.06 * (high - low)
    axes.set_xlim(low - room, high + room)
    axes.xaxis.set_major_locator(MaxNLocator(4))


def _legend(summary: pd.DataFrame, looks: Mapping[str, Mark]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    plain: dict[str, Any] = {"linestyle": "none", "markersize": 4}
    if len(summary) <= _DOTS:
        short = labels(list(looks), 20, 1)
        for searched, mark in looks.items():
            words = "trial" if searched or len(looks) > 1 else "arm"
            words = f"{words} of {short[searched]}" if len(looks) > 1 and searched else words
            found[words] = Line2D([], [], marker=mark.marker, color=mark.colour, **plain)
        if summary["stopped"].any():
            found["stopped early"] = Line2D([], [], marker="o", color=MUTED, markerfacecolor=PAPER, **plain)
    if len(summary) >= _BANDS:
        found["median"] = Line2D([], [], color=INK, linewidth=1.5)
        found["middle half"] = Patch(facecolor=_BAND, alpha=0.6)
    return found


def caption(summary: pd.DataFrame, measure: Measure, runs: pd.DataFrame, dimensions: Sequence[str] = ()) -> str:
    """Return what a dot means, the best trial, and what is not shown.

    Parameters
    ----------
    runs : all runs, for the number of trials without a value.
    """
    if summary.empty:
        return f"No run has {measure.short} yet."
    noun = "trial" if (summary["searched"] != "").any() else "arm"
    whole = summary[~summary["stopped"]]
    text = f"{measure.short[:1].upper()}{measure.short[1:]} of {counted(len(summary), noun)}, averaged over runs"
    low, high = int(summary["n"].min()), int(summary["n"].max())
    text += f" ({low if low == high else f'{low} to {high}'})."
    if len(whole):
        at = whole["mean"].argmin() if measure.lower_is_better else whole["mean"].argmax()
        best = whole.iloc[at]
        unit = f" {measure.unit}" if measure.unit else ""
        name = labels([best["arm"]], 60, 1)[best["arm"]]
        text += f" Best: {name}, {number_format.decimal(best['mean'])}{unit}."
    if summary["stopped"].any():
        stopped = int(summary["stopped"].sum())
        text += f" {counted(stopped, noun)} stopped early (hollow; not part of the medians)."
    if len(summary) > _DOTS:
        text += f" Individual {noun}s are not drawn; the CSV file contains all of them."
    lost = runs["arm"].nunique() - len(summary)
    if lost:
        text += f" {counted(lost, noun)} without a value {'is' if lost == 1 else 'are'} not shown."
    every = [name for name in summary.columns if name not in _TYPES]
    partly = [name for name in every if is_continuous(summary[name]) and summary[name].isna().any()]
    if partly:
        one, options = "An arm" if noun == "arm" else "A trial", number_format.listing(partly)
        text += f" {one} without a value for {options} is not shown in that panel."
    left = [name for name in every if name not in shown_dimensions(summary, dimensions)]
    if left:
        text += f" Options without a panel, because their levels differ less: {number_format.listing(left)}."
    return text
