"""The difference per class, which shows whether a few classes account for the overall difference."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aimlib.errors import counted
from analysis.figures.canvas import labels, new_figure, rule, styled
from analysis.figures.palette import INK, MUTED, Mark
from analysis.wording import number_format

TITLE = "Difference per class"
_NAMED = 24
"""With at most this many classes, every class is labeled; with more classes, only five are labeled."""


@styled
def draw(summary: pd.DataFrame, mark: Mark) -> Figure:
    """Return the figure for a non-empty frame from `class_differences`: raw (gray) and shrunken (colored), sorted."""
    count = len(summary)
    step = 0.19 if count <= _NAMED else 3.6 / count
    figure = new_figure(1.25 + step * count)
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
    dots: dict[str, Line2D] = {
        "before shrinkage": Line2D([], [], linestyle="none", marker="o", color=MUTED, markersize=4)
    }
    if summary["shrunken"].notna().any():
        after = Line2D([], [], linestyle="none", marker=mark.marker, color=mark.colour, markersize=5)
        dots["after shrinkage"] = after
    figure.legend(list(dots.values()), list(dots), loc="outside lower center", ncols=2)
    return figure


def caption(summary: pd.DataFrame, name: str) -> str:
    """Return the range of the shrunken differences, and in how many classes they clearly differ from 0."""
    if summary.empty:
        return "No predictions are recorded for both arms."
    if not summary["shrunken"].notna().any():
        return _unshrunken(summary, name)
    span = number_format.interval(summary["shrunken"].iloc[0], summary["shrunken"].iloc[-1])
    return (
        f"{name} in {counted(len(summary), 'class', 'classes')}: {span} pp after shrinkage toward the overall "
        f"mean (colored; before shrinkage: gray). {_found(summary)}.{_reversed(summary)}"
    )


def _found(summary: pd.DataFrame) -> str:
    """Return in how many classes the posterior interval excludes 0, or why there is none."""
    shown = summary["shrunken"].abs() > 1.96 * summary["posterior_sd"]
    clear = shown & (summary["posterior_sd"] > 0)
    up, down = (int((clear & (sign * summary["shrunken"] > 0)).sum()) for sign in (1, -1))
    if (summary["posterior_sd"] > 0).any():
        return f"The 95 % posterior interval lies above 0 in {up} and below 0 in {down}"
    if summary["se"].eq(0).all() and summary["shrunken"].nunique() > 1:
        return "Seeds and images of a class do not differ at all, so there are no intervals"
    return "Differences between classes are no larger than noise, so each class is assigned the overall mean"


def _unshrunken(summary: pd.DataFrame, name: str) -> str:
    """Return the range of differences whose noise is not known."""
    ends = number_format.interval(summary["raw"].min(), summary["raw"].max())
    return (
        f"{name} in {counted(len(summary), 'class', 'classes')}: {ends} pp. With one test image of each class, noise "
        f"cannot be told from differences between classes, so they are not shrunken.{_reversed(summary)}"
    )


def _reversed(summary: pd.DataFrame) -> str:
    """Return a sentence if most classes or their mean have the opposite sign to the mean over all images.

    Both arms have the same test images, so this cannot apply to all classes.
    """
    raw, images = summary["raw"].to_numpy(float), summary["images"].to_numpy(float)
    whole, mean = float(raw @ images / images.sum()), float(raw.mean())
    against = int((raw * np.sign(whole) < 0).sum())
    if 2 * against <= len(raw) and mean * whole >= 0:
        return ""
    return (
        f" The difference over all images is {number_format.points(whole)} pp, but {against} of "
        f"{counted(len(raw), 'class', 'classes')} lie on the opposite side of 0 before shrinkage. The mean over "
        f"classes, with equal weights, is {number_format.points(mean)} pp."
    )
