"""A slopegraph by seed: whether every pair improves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from aimlib.errors import counted
from analysis.figures import legends
from analysis.figures.arm_names import arm_labels
from analysis.figures.canvas import new_figure, rule, styled
from analysis.figures.palette import INK, MUTED, PAPER, Mark
from analysis.primary_measure import ACCURACY, PrimaryMeasure
from analysis.statistics.paired import OUTCOMES

TITLE = "Accuracy by arm, seed by seed"
_FEW = 4
"""Up to this many arms are placed side by side, with sloping lines; more arms are listed from top to bottom."""
_MANY = 12
"""With more arms than this, each row is one line high, and no lines connect the runs with the same seed."""


def summarise(runs: pd.DataFrame, arms: Sequence[str], measure: PrimaryMeasure = ACCURACY) -> pd.DataFrame:
    """Return arm, position, seed, status and accuracy (percent) or a different measure, for every run that has a value.

    `position` numbers the arms that have a value, in the given order, from 0.
    """
    rows = runs[runs["status"].isin(OUTCOMES) & runs[measure.column].notna()]
    shown = [arm for arm in arms if (rows["arm"] == arm).any()]
    frame = rows[["arm", "seed", "status"]].copy()
    frame.insert(1, "position", rows["arm"].map({arm: i for i, arm in enumerate(shown)}).astype("int64"))
    frame["accuracy"] = measure.values(rows)
    return frame.sort_values(["position", "seed"], ignore_index=True)


@styled
def draw(summary: pd.DataFrame, marks: Mapping[str, Mark], measure: PrimaryMeasure = ACCURACY) -> Figure:
    """Return the figure for a summary that has rows: one line per seed, and a bar at each mean."""
    arms = list(summary.drop_duplicates("arm")["arm"])
    across = len(arms) <= _FEW
    many = len(arms) > _MANY
    figure = new_figure(3.4 if across else 1.0 + (0.2 if many else 0.4) * len(arms))
    axes = figure.subplots()
    x, y = ("position", "accuracy") if across else ("accuracy", "position")
    if not many:
        _lines(axes, summary, x, y)
    for arm, rows in summary.groupby("arm", sort=False):
        _points(axes, rows, x, y, marks[str(arm)])
        _mean(axes, rows, across)
    width, lines = (60 // max(len(arms), 3), 3) if across else (40, 1) if many else (30, 2)
    _name_axes(axes, arms, arm_labels(list(marks), width, lines), across, measure)
    seed = {} if many or summary["arm"].nunique() < 2 else {"runs of one seed": legends.line(0.8, colour=MUTED)}
    ill = {"diverged": legends.hollow()} if (summary["status"] != "finished").any() else {}
    legends.below(figure, {"mean": legends.level() if across else legends.upright(), **seed, **ill})
    return figure


def _lines(axes: Axes, summary: pd.DataFrame, x: str, y: str) -> None:
    rows = summary.sort_values("seed", kind="stable")
    ends = np.flatnonzero(np.diff(rows["seed"])) + 1
    lines = np.split(rows[[x, y]].to_numpy(dtype=float), ends)
    axes.add_collection(LineCollection(lines, colors=INK, alpha=0.35, linewidths=0.8, capstyle="projecting"))


def _points(axes: Axes, rows: pd.DataFrame, x: str, y: str, mark: Mark) -> None:
    well = rows[rows["status"] == "finished"]
    axes.scatter(well[x], well[y], s=26, c=mark.colour, marker=mark.marker, edgecolors=PAPER, linewidths=0.6, zorder=3)
    ill = rows[rows["status"] != "finished"]
    axes.scatter(
        ill[x],
        ill[y],
        s=30,
        facecolors=PAPER,
        edgecolors=mark.colour,
        marker=mark.marker,
        linewidths=1,
        zorder=3,
    )


def _mean(axes: Axes, rows: pd.DataFrame, across: bool) -> None:
    position, mean = rows["position"].iloc[0], rows["accuracy"].mean()
    ends = np.array([position - 0.14, position + 0.14]) if across else np.array([position - 0.3, position + 0.3])
    level = np.array([mean, mean])
    axes.plot(*((ends, level) if across else (level, ends)), color=INK, linewidth=2, solid_capstyle="butt", zorder=2)


def _name_axes(axes: Axes, arms: list[str], short: Mapping[str, str], across: bool, measure: PrimaryMeasure) -> None:
    places, names = range(len(arms)), [short[arm] for arm in arms]
    if across:
        axes.set_xticks(places, names)
        axes.set_xlim(-0.4, max(len(arms) - 0.6, 0.4))
    else:
        axes.set_yticks(places, names)
        axes.set_ylim(len(arms) - 0.4, -0.6)
    rule(axes, "y" if across else "x")
    words = measure.axis("at the selected epoch")
    axes.set(xlabel="" if across else words, ylabel=words if across else "")


def caption(
    summary: pd.DataFrame, treatment: str | None, control: str | None, measure: PrimaryMeasure = ACCURACY
) -> str:
    """Return in how many pairs the treatment is better than the control."""
    if summary.empty:
        value = "an accuracy" if measure.is_accuracy else f"a value for the {measure.words}"
        return f"No run has {value} yet."
    table = summary.pivot_table(index="seed", columns="arm", values="accuracy")
    if treatment not in table or control not in table:
        arms = counted(summary["arm"].nunique(), "arm")
        return f"{arms}, {counted(summary['seed'].nunique(), 'seed')}. {_marks(summary)}."
    difference = (table[treatment] - table[control]).dropna() * (-1 if measure.lower_is_better else 1)
    ahead = "is more accurate than" if measure.is_accuracy else "is better than"
    pairs = counted(len(difference), "pair")
    return (
        f"{treatment} {ahead} {control} in {int((difference > 0).sum())} of {pairs}. "
        f"{_marks(summary)}, and hollow markers are runs that diverged."
    )


def _marks(summary: pd.DataFrame) -> str:
    """Return what is drawn for each seed and each arm."""
    return f"Each {'marker is a run' if summary['arm'].nunique() > _MANY else 'line is a seed'}, bars are means"
