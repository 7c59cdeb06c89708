"""The full budget compared with early stopping: whether the stopping rule explains the difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aimlib.errors import counted
from analysis.figures.arm_names import arm_labels
from analysis.figures.canvas import new_figure, rule, styled
from analysis.figures.palette import INK, PAPER, Mark
from analysis.primary_measure import ACCURACY, PrimaryMeasure
from analysis.statistics.replay import NONE_TO_REPLAY, PATIENCE, replayed

TITLE = "Full budget and early stopping"
_TYPES: dict[str, Any] = {"arm": "str", "position": "int64", "seed": "int64", "stopped": "int64"} | {
    "full": "float64",
    "early": "float64",
}


def summarise(
    runs: pd.DataFrame, epochs: pd.DataFrame, arms: Sequence[str], measure: PrimaryMeasure = ACCURACY
) -> pd.DataFrame:
    """Return arm, position, seed, stopped (epoch), full and early (test accuracy, percent) for every run.

    Only runs that completed their full budget and have validation accuracies are used; see `statistics.replay`.
    """
    column, scale = measure.column, measure.scale
    early = replayed(runs, epochs, value=column).merge(runs[["run_id", column]], on="run_id", suffixes=("", "_full"))
    frame = early.assign(full=scale * early[f"{column}_full"], early=scale * early[column])
    frame["position"] = frame["arm"].map({arm: i for i, arm in enumerate(arms)})
    return frame[list(_TYPES)].astype(_TYPES).sort_values(["position", "seed"], ignore_index=True)


@styled
def draw(summary: pd.DataFrame, marks: Mapping[str, Mark], measure: PrimaryMeasure = ACCURACY) -> Figure:
    """Return the figure for a summary that has rows: one line per run from early stopping to the full budget."""
    arms = [arm for arm in marks if (summary["arm"] == arm).any()]
    height = max(0.46, 0.055 * summary.groupby("arm").size().max())
    figure = new_figure(1.3 + height * len(arms))
    axes = figure.subplots()
    for row, arm in enumerate(arms):
        rows, mark = summary[summary["arm"] == arm], marks[arm]
        places = [row + 0.7 * (number + 0.5) / len(rows) - 0.35 for number in range(len(rows))]
        axes.hlines(places, rows["early"], rows["full"], color=mark.colour, linewidth=1.1)
        style: dict[str, Any] = {"marker": mark.marker, "s": 22, "zorder": 3, "edgecolors": mark.colour}
        axes.scatter(rows["early"], places, facecolors=PAPER, linewidths=1, **style)
        axes.scatter(rows["full"], places, facecolors=mark.colour, linewidths=0.5, **style)
    short = arm_labels(list(marks), 26)
    axes.set_yticks(range(len(arms)), [short[arm] for arm in arms])
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_xlabel(measure.axis("at the selected epoch"))
    rule(axes)
    handles = [
        Line2D([], [], linestyle="none", marker="o", markersize=5, color=INK, markerfacecolor=face)
        for face in (INK, PAPER)
    ]
    figure.legend(
        handles, ["full budget", f"stopped after {PATIENCE} epochs without a gain"], loc="outside lower center", ncols=2
    )
    return figure


def caption(summary: pd.DataFrame, measure: PrimaryMeasure = ACCURACY) -> str:
    """Return how many runs early stopping would have changed, and the effect on accuracy."""
    if summary.empty:
        return f"Early stopping cannot be replayed: {NONE_TO_REPLAY}."
    changed = int((summary["full"] != summary["early"]).sum())
    lost = summary["full"] - summary["early"]
    mean, largest = (measure.in_unit(measure.decimal(each)) for each in (abs(lost.mean()), lost.abs().max()))
    name = "accuracy" if measure.is_accuracy else measure.words
    said = f"{'lowers' if lost.mean() > 0 else 'raises'} the {name} by {mean} on average, by {largest} at most"
    if not lost.any():
        said = f"does not change any {name}"
    return (
        f"Early stopping with a patience of {PATIENCE} epochs, replayed on {counted(len(summary), 'run')}, changes the "
        f"reported epoch for {changed} and {said}."
    )
