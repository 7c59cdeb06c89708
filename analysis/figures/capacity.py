"""Accuracy against size and cost: whether capacity alone explains the accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from aimlib.errors import counted
from analysis.figures.arm_names import arm_labels
from analysis.figures.canvas import SMALL, new_figure, rule, styled
from analysis.figures.palette import Mark
from analysis.primary_measure import ACCURACY, PrimaryMeasure
from analysis.statistics.interval import t_interval
from analysis.statistics.paired import OUTCOMES
from analysis.wording import number_format

TITLE = "Accuracy against size and cost"
_PANELS = {"parameters": "Parameters, M", "multiply_adds": "Multiply-adds, M", "seconds": "Seconds per epoch"}
_TIMES = {"parameters": "parameters", "multiply_adds": "multiply-adds", "seconds": "time per epoch"}
_TYPES: dict[str, Any] = (
    {"arm": "str", "n": "int64"}
    | dict.fromkeys(("accuracy", "lower", "upper"), "float64")
    | dict.fromkeys(_PANELS, "float64")
)


def summarise(
    runs: pd.DataFrame, arms: Sequence[str], alpha: float = 0.05, measure: PrimaryMeasure = ACCURACY
) -> pd.DataFrame:
    """Return arm, n, accuracy, lower, upper (percent), parameters, multiply_adds (millions), seconds (per epoch).

    Means are over the runs of an arm that have an accuracy (or a different measure, in its own unit). Time is a run's
    wall time divided by its number of epochs.
    """
    rows = runs[runs["status"].isin(OUTCOMES) & runs[measure.column].notna()]
    found, by_arm = [], dict(iter(rows[["arm", measure.column, "epochs_run", *_PANELS]].groupby("arm")))
    for arm in arms:
        if arm in by_arm:
            own = by_arm[arm]
            i = t_interval(measure.values(own), alpha)
            ran = own["epochs_run"].astype("float64")
            pace = (own["seconds"] / ran.where(ran > 0)).mean()
            sizes = [float(own[name].astype("float64").mean()) / 1e6 for name in ("parameters", "multiply_adds")]
            found.append((arm, i.n, i.mean, i.lower, i.upper, *sizes, pace))
    return pd.DataFrame(found, columns=list(_TYPES)).astype(_TYPES)


@styled
def draw(summary: pd.DataFrame, marks: Mapping[str, Mark], measure: PrimaryMeasure = ACCURACY) -> Figure:
    """Return the figure for a summary that has rows: one panel each for parameters, multiply-adds and time."""
    short = arm_labels(list(marks), 22)
    columns = max(1, min(len(summary), 88 // (max(len(short[arm].split("\n")[0]) for arm in summary["arm"]) + 7)))
    lines = max(short[arm].count("\n") + 1 for arm in summary["arm"])
    figure = new_figure(2.5 + (0.1 + 0.13 * lines) * -(-len(summary) // columns))
    panels = figure.subplots(1, 3, sharey=True)
    for axes, (name, words) in zip(panels, _PANELS.items(), strict=True):
        for row in summary.to_dict("records"):
            mark = marks[row["arm"]]
            if row["n"] > 2:
                axes.vlines(row[name], row["lower"], row["upper"], color=mark.colour, linewidth=1)
            axes.plot(
                [row[name]], [row["accuracy"]], marker=mark.marker, color=mark.colour, markersize=6, linestyle="none"
            )
        axes.set_xlabel(words)
        axes.margins(x=0.15)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        rule(axes, "y")
    panels[0].set_ylabel(measure.axis())
    handles = [
        Line2D([], [], linestyle="none", marker=marks[arm].marker, color=marks[arm].colour, markersize=6)
        for arm in summary["arm"]
    ]
    figure.legend(handles, [short[arm] for arm in summary["arm"]], loc="outside lower center", ncols=columns)
    panels[0].set_title("Vertical lines: intervals for the means", fontsize=SMALL)
    return figure


def caption(summary: pd.DataFrame, measure: PrimaryMeasure = ACCURACY) -> str:
    """Return the best arm, and how its size compares with that of the smallest arm."""
    if summary.empty:
        value = "an accuracy" if measure.is_accuracy else f"a value for the {measure.words}"
        return f"No run has {value} yet."
    values = summary["accuracy"].to_numpy()
    best = summary.to_dict("records")[int(values.argmin() if measure.lower_is_better else values.argmax())]
    first = "the most accurate" if measure.is_accuracy else f"the arm with the {measure.better[:-2]}est {measure.words}"
    ratios = {words: float(best[name]) / float(summary[name].min()) for name, words in _TIMES.items()}
    known = [f"{number_format.decimal(ratio)} times the {words}" for words, ratio in ratios.items() if ratio == ratio]  # noqa: PLR0124
    return (
        f"Means for {counted(len(summary), 'arm')}. Compared with the smallest value of any arm, {first}, "
        f"{best['arm']}, has {number_format.listing(known)}."
    )
