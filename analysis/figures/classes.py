"""Difference per class: whether a few classes account for it."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from aimlib.errors import counted
from analysis import number_format
from analysis.figures.canvas import labels, new_figure, rule, styled
from analysis.figures.palette import INK, MUTED, Mark

TITLE = "Difference per class"
_NAMED = 24
"""Number of classes up to which all are named; of more, the first and the last few."""


@styled
def draw(summary: pd.DataFrame, mark: Mark) -> Figure:
    """Return the figure of a frame of `class_differences` that has rows: raw (faint) and shrunken, sorted."""
    count = len(summary)
    step = 0.19 if count <= _NAMED else 3.6 / count
    figure = new_figure(1.0 + step * count)
    axes = figure.subplots()
    places = range(count)
    axes.axvline(0, color=INK, linewidth=0.9)
    axes.hlines(places, summary["raw"], summary["shrunken"], color=MUTED, linewidth=0.5)
    size = 22 if count <= _NAMED else 7
    axes.scatter(summary["raw"], places, s=size / 2, color=MUTED, marker="o", linewidths=0, zorder=2)
    axes.scatter(summary["shrunken"], places, s=size, color=mark.colour, marker=mark.marker, linewidths=0, zorder=3)
    names = labels(summary["class_name"].tolist(), 30, 1)
    shown = list(places) if count <= _NAMED else [0, count // 4, count // 2, 3 * count // 4, count - 1]
    axes.set_yticks(shown, [names[summary["class_name"].iloc[i]] for i in shown])
    axes.set_ylim(-0.8, count - 0.2)
    axes.set_xlabel("Difference in test accuracy, pp")
    rule(axes)
    return figure


def caption(summary: pd.DataFrame, name: str) -> str:
    """Return one sentence: how many classes gain, and the range of the shrunken differences."""
    if summary.empty:
        return "No predictions of both arms are on record."
    shown = summary["shrunken"].abs() > 1.96 * summary["posterior_sd"]
    clear = shown & (summary["posterior_sd"] > 0)
    up, down = (int((clear & (sign * summary["shrunken"] > 0)).sum()) for sign in (1, -1))
    span = number_format.interval(summary["shrunken"].iloc[0], summary["shrunken"].iloc[-1])
    told = f"The 95 % posterior interval lies above 0 in {up} and below 0 in {down}"
    if not (summary["posterior_sd"] > 0).any():
        told = "Classes differ by no more than noise, so each has the mean of all"
    return (
        f"{name} in {counted(len(summary), 'class', 'classes')}: {span} pp after shrinkage towards the mean of all "
        f"(coloured; without shrinkage: grey). {told}."
    )
