"""Learning curves in small multiples: how training progresses at each level of a factor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from aimlib.errors import UsageError, counted, unknown_name
from analysis.figures.canvas import SMALL, labels, rule, styled, whole_numbers
from analysis.figures.levels import factor_columns, group_order, group_texts, is_continuous, with_named_levels
from analysis.figures.measured import explained, legend_above, measure_of, panels
from analysis.figures.palette import MUTED, Mark, marks
from analysis.reading.query import refuse_unknown
from analysis.results import Results, Studies

TITLE = "Learning curves by level"
_PANELS, _ACROSS = 12, 3
_HUES = 6
_WORDS = {
    "test_accuracy": "Test accuracy, %",
    "validation_accuracy": "Validation accuracy, %",
    "train_accuracy": "Training accuracy, %",
    "test_loss": "Test loss",
    "validation_loss": "Validation loss",
    "train_loss": "Training loss",
}
"""The columns of `epochs` that are curves, with their axis labels."""
_SPREAD = (0.05, 0.95)
_EVERY = "(all runs)"
_TYPES: dict[str, Any] = {
    "level": "str",
    "line": "str",
    "epoch": "int64",
    "n": "int64",
    "mean": "float64",
    "lower": "float64",
    "upper": "float64",
    "whole": "bool",
}


def curves_by_factor(
    results: Results | Studies,
    factor: str,
    hue: str | None = None,
    *,
    value: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw the learning curves for each level of a factor in a separate panel, and return the figure.

    Parameters
    ----------
    factor : column of `runs`. If the column has too many numbers to be levels, they are divided into quarters.
    hue : a second factor; each of its levels is a line in every panel.
    value : column of `epochs`. None means the test accuracy once the pairs for the verdict are settled, and the
        validation accuracy before that.
    ax : axes that the panels replace; None: a new figure with a title and a caption.

    Raises
    ------
    UsageError: a column is unknown, a factor has only one level, or no run has finished.
    """
    column = value or measure_of(results).column
    runs = with_named_levels(results, results.runs)
    factor_columns(results, runs, [factor, *([hue] if hue else [])])
    summary = summarise(runs, results.epochs, factor, hue, column)
    if summary.empty:
        raise UsageError(f"no run has finished with {column.replace('_', ' ')} yet; there is nothing to draw")
    figure = draw(summary, factor, hue, column, ax)
    if ax is not None:
        return figure
    return explained(figure, f"{TITLE}: {factor}", caption(summary, results.runs, factor, hue, column))


def summarise(
    runs: pd.DataFrame, epochs: pd.DataFrame, factor: str, hue: str | None = None, value: str = "validation_accuracy"
) -> pd.DataFrame:
    """Return level, line, epoch, n, mean, lower, upper and whole for the finished runs, with accuracies in percent.

    The rows for a level and line contain the mean of their runs at every epoch, with the range of the middle 90 % of
    these runs; `line` is the level of `hue`, or empty. `n` is the number of runs that reached the epoch, and `whole` is
    true if all of them did. The level ``(all runs)`` contains the mean of all runs.

    Raises
    ------
    UsageError: a column is unknown or is not a curve, or the hue has more than six levels.
    """
    if value not in _WORDS:
        raise UsageError(unknown_name("curve", value, _WORDS))
    refuse_unknown(runs, [factor, *([hue] if hue else [])])
    finished = runs[runs["status"] == "finished"]
    texts = {name: group_texts(finished[name]) for name in [factor, *([hue] if hue else [])]}
    if hue and texts[hue].nunique() > _HUES:
        raise UsageError(f"{hue!r} has {texts[hue].nunique()} levels; at most {_HUES} lines fit into a panel")
    key = ["directory", "run_id"] if "directory" in runs else ["run_id"]
    own = finished[key].assign(level=texts[factor], line=texts[hue] if hue else "")
    rows = epochs[[*key, "epoch"]].assign(value=(100 if value.endswith("accuracy") else 1) * epochs[value])
    rows = rows[rows["value"].notna()].merge(own, on=key)
    parts = [_curves(rows, ["level", "line"]), _curves(rows.assign(level=_EVERY, line=""), ["level", "line"])]
    found = pd.concat(parts)[list(_TYPES)].astype(_TYPES)
    order = {level: at for at, level in enumerate([*group_order(finished[factor]), _EVERY])}
    lines = {level: at for at, level in enumerate(group_order(finished[hue]) if hue else [""])}
    places = pd.DataFrame({"a": found["level"].map(order), "b": found["line"].map(lines), "c": found["epoch"]})
    return found.iloc[places.reset_index(drop=True).sort_values(["a", "b", "c"]).index].reset_index(drop=True)


def _curves(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    groups = rows.groupby([*by, "epoch"], sort=False)["value"]
    low, high = (groups.quantile(share) for share in _SPREAD)
    found = pd.DataFrame({"n": groups.size(), "mean": groups.mean(), "lower": low, "upper": high}).reset_index()
    return found.assign(whole=found["n"] == found.groupby(by)["n"].transform("max"))


@styled
def draw(
    summary: pd.DataFrame,
    factor: str,
    hue: str | None = None,
    value: str = "validation_accuracy",
    ax: Axes | None = None,
) -> Figure:
    """Return the figure for a summary that has rows: one panel per level, in place of `ax` if that is given."""
    levels = shown_levels(summary)
    across = min(_ACROSS, len(levels))
    down = -(-len(levels) // across)
    figure, axes = panels(ax, down, across, 0.7 + 1.75 * down)
    lines = list(dict.fromkeys(summary.loc[summary["level"] != _EVERY, "line"]))
    looks = marks(lines)
    kept = summary[summary["level"].isin([*levels, _EVERY])]
    low, high = float(kept["lower"].min()), float(kept["upper"].max())
    for at, level in enumerate(levels):
        own = summary[summary["level"] == level]
        _draw_panel(axes[at], own, summary[summary["level"] == _EVERY], looks, bool(hue))
        runs = int(own.groupby("line")["n"].max().sum())
        axes[at].set_title(f"{labels([level], 18, 1)[level]} (n = {runs})", fontsize=SMALL, loc="left")
        axes[at].set_ylim(low - 0.03 * (high - low), high + 0.03 * (high - low) or 1)
        axes[at].set_ylabel(_WORDS[value] if at % across == 0 else "")
        axes[at].set_xlabel("Epoch" if at + across >= len(levels) else "")
        whole_numbers(axes[at])
        axes[at].tick_params(labelleft=at % across == 0)
        rule(axes[at], "y")
    for spare in axes[len(levels) :]:
        spare.set_axis_off()
    legend_above(axes, _legend(looks, lines, hue), f"Panels: levels of {labels([factor], 40, 1)[factor]}")
    return figure


def shown_levels(summary: pd.DataFrame) -> list[str]:
    """Return the levels that get a panel: the twelve with the most runs, in the order of the levels."""
    own = summary[summary["level"] != _EVERY]
    runs = own.groupby(["level", "line"], sort=False)["n"].max().groupby(level="level", sort=False).sum()
    kept = set(runs.sort_values(ascending=False, kind="stable").index[:_PANELS])
    return [level for level in dict.fromkeys(own["level"]) if level in kept]


def _draw_panel(axes: Axes, own: pd.DataFrame, every: pd.DataFrame, looks: Mapping[str, Mark], several: bool) -> None:
    axes.plot(every["epoch"], every["mean"], color=MUTED, linewidth=1, linestyle=(0, (1, 1.5)), zorder=2)
    for line, rows in own.groupby("line", sort=False):
        look = looks[str(line)]
        if not several:
            axes.fill_between(rows["epoch"], rows["lower"], rows["upper"], color=look.colour, alpha=0.15, linewidth=0)
        whole, rest = rows[rows["whole"]], rows[rows["n"] >= rows["n"].max() / 2]
        axes.plot(rest["epoch"], rest["mean"], color=look.colour, linewidth=0.7, zorder=3)
        style: dict[str, Any] = {"dashes": look.dashes or (1, 0), "markevery": max(1, len(whole) // 6)}
        marker = look.marker if several else "none"
        axes.plot(
            whole["epoch"],
            whole["mean"],
            color=look.colour,
            linewidth=1.5,
            marker=marker,
            markersize=3.5,
            zorder=4,
            **style,
        )


def _legend(looks: Mapping[str, Mark], lines: Sequence[str], hue: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if hue:
        for line in lines:
            look = looks[line]
            handle = Line2D([], [], color=look.colour, marker=look.marker, markersize=3.5, linewidth=1.5)
            handle.set_dashes(look.dashes or (1, 0))
            name = f"{hue} = {line}"
            found[labels([name], 22, 1)[name]] = handle
    else:
        colour = looks[""].colour
        found["mean of the level"] = Line2D([], [], color=colour, linewidth=1.5)
        found["middle 90 % of these runs"] = Patch(facecolor=colour, alpha=0.15)
    found["mean of all runs"] = Line2D([], [], color=MUTED, linewidth=1, linestyle=(0, (1, 1.5)))
    return found


def caption(
    summary: pd.DataFrame, runs: pd.DataFrame, factor: str, hue: str | None = None, value: str = "validation_accuracy"
) -> str:
    """Return which runs the lines are averages of, and what is not shown."""
    if summary.empty:
        return "No run has finished yet."
    every = summary[summary["level"] == _EVERY]
    finished = runs[runs["status"] == "finished"]
    by = f"{factor} and {hue}" if hue else factor
    number = counted(int(every["n"].max()), "finished run")
    text = (
        f"{_WORDS[value].removesuffix(', %')} by epoch and by {by}: means of {number} from "
        f"{counted(finished['arm'].nunique(), 'arm')}, averaged over the levels of all other options."
    )
    if not summary["whole"].all():
        text += " A line is thin where some of its runs have stopped, and ends where half of them have stopped."
    lost = len(runs) - len(finished)
    if lost:
        text += f" {counted(lost, 'run')} that did not finish {'is' if lost == 1 else 'are'} left out."
    levels, shown = summary.loc[summary["level"] != _EVERY, "level"].nunique(), len(shown_levels(summary))
    if shown < levels:
        text += f" Of {levels} levels, the {shown} with the most runs are shown; the CSV file contains all levels."
    return text + (" Numbers are divided into quarters." if is_continuous(runs[factor]) else "")
