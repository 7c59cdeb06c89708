"""A strip plot: every run, including failed runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aimlib.errors import counted
from analysis.figures.arm_names import arm_labels
from analysis.figures.canvas import new_figure, rule, styled
from analysis.figures.palette import INK, MUTED, PAPER, Mark
from analysis.primary_measure import ACCURACY, PrimaryMeasure
from analysis.statistics.outcomes import KINDS
from analysis.wording import number_format

TITLE = "All runs"
_MANY = 12
"""With more arms than this, each row is one line high."""
_FAR = 2
"""The chance line is left out if it is more than this many times the span of all runs below the lowest run."""
_TYPES: dict[str, Any] = {
    "arm": "str",
    "position": "int64",
    "seed": "int64",
    "outcome": "str",
    "accuracy": "float64",
    "chance": "float64",
}


def summarise(
    judged: pd.DataFrame, missing: pd.DataFrame, arms: Sequence[str], values: pd.Series | None = None
) -> pd.DataFrame:
    """Return arm, position, seed, outcome, accuracy and chance (percent) for every planned run.

    Parameters
    ----------
    judged : the frame from `statistics.outcomes`.
    missing : planned runs without a row.
    values : values of a different measure for the judged runs, by run id; such a measure has no chance level.
    """
    rows = judged[["arm", "seed", "outcome"]].assign(accuracy=100 * judged["accuracy"], chance=100 * judged["chance"])
    if values is not None:
        rows = rows.assign(accuracy=judged["run_id"].map(values).astype("float64"), chance=np.nan)
    absent = missing[["arm", "seed"]].assign(outcome="missing", accuracy=np.nan, chance=np.nan)
    frame = pd.concat([part for part in (rows, absent) if len(part)] or [rows])
    frame["position"] = frame["arm"].map({arm: i for i, arm in enumerate(arms)})
    return frame[list(_TYPES)].astype(_TYPES).sort_values(["position", "seed"], ignore_index=True)


@styled
def draw(summary: pd.DataFrame, marks: Mapping[str, Mark], measure: PrimaryMeasure = ACCURACY) -> Figure:
    """Return the figure for a summary: one row per arm, with its seeds from top to bottom."""
    arms = list(marks)
    many = len(arms) > _MANY
    figure = new_figure(1.3 + (0.24 if many else 0.46) * len(arms))
    axes = figure.subplots()
    offsets = _offsets(summary["seed"])
    for arm, rows in summary[summary["accuracy"].notna()].groupby("arm", sort=False):
        _points(axes, rows.assign(y=rows["position"] + rows["seed"].map(offsets)), marks[str(arm)])
    axes.set_yticks(range(len(arms)), list(arm_labels(arms, *((40, 1) if many else (28, 2))).values()))
    axes.set_ylim(len(arms) - 0.4, -0.6)
    axes.set_xlabel(measure.axis("at the selected epoch"))
    rule(axes)
    for chance in _chance_in_sight(summary):
        axes.axvline(chance, color=MUTED, linewidth=0.9, linestyle=(0, (3, 2)), zorder=1)
    _counts(axes, summary, arms)
    figure.legend(*_legend(summary), loc="outside lower center", ncols=4, handlelength=1.6)
    return figure


def _chance_in_sight(summary: pd.DataFrame) -> list[float]:
    """Return the chance levels that get a line: those close enough to the runs to fit on the axis."""
    low, high = summary["accuracy"].min(), summary["accuracy"].max()
    known = summary["chance"].dropna().unique()
    return [float(chance) for chance in known if not low - chance > _FAR * max(high - low, 1.0)]


def _offsets(seeds: pd.Series) -> dict[int, float]:
    """Return the height of each seed within a row, which is the same in every row."""
    known = sorted(set(seeds))
    return dict(zip(known, np.linspace(-0.26, 0.26, len(known)) if len(known) > 1 else [0.0], strict=True))


def _points(axes: Axes, rows: pd.DataFrame, mark: Mark) -> None:
    trained, chance = rows[rows["outcome"] == "trained"], rows[rows["outcome"] == "at chance"]
    style: dict[str, Any] = {"marker": mark.marker, "s": 24, "zorder": 3}
    axes.scatter(trained["accuracy"], trained["y"], c=mark.colour, edgecolors=PAPER, linewidths=0.5, **style)
    axes.scatter(chance["accuracy"], chance["y"], facecolors=PAPER, edgecolors=mark.colour, linewidths=1.1, **style)
    other = rows[~rows["outcome"].isin(["trained", "at chance"])]
    axes.scatter(other["accuracy"], other["y"], c=mark.colour, marker="x", s=26, linewidths=1.2, zorder=3)


def _counts(axes: Axes, summary: pd.DataFrame, arms: list[str]) -> None:
    """Write the number of runs with each outcome other than trained at the right edge."""
    twin = axes.twinx()
    twin.set_ylim(axes.get_ylim())
    words = []
    for arm in arms:
        outcome = summary.loc[summary["arm"] == arm, "outcome"]
        counts = {kind: int((outcome == kind).sum()) for kind in KINDS}
        parts = [f"{number} {kind}" for kind, number in counts.items() if number]
        lines = [", ".join(parts[:4])] if len(arms) > _MANY else [", ".join(parts[:2]), ", ".join(parts[2:4])]
        words.append("\n".join(lines).strip())
    twin.set_yticks(range(len(arms)), words)
    twin.tick_params(length=0)
    twin.spines[:].set_visible(False)


def _legend(summary: pd.DataFrame) -> tuple[list[Line2D], list[str]]:
    def dot(marker: str, face: str) -> Line2D:
        return Line2D([], [], linestyle="none", marker=marker, color=INK, markerfacecolor=face, markersize=5)

    entries = {"trained": dot("o", INK)}
    if (summary["outcome"] == "at chance").any():
        entries["at chance"] = dot("o", PAPER)
    if summary.loc[summary["accuracy"].notna(), "outcome"].isin(["diverged", "failed", "pruned"]).any():
        entries["diverged, failed or pruned"] = dot("x", INK)
    if _chance_in_sight(summary):
        entries["chance level"] = Line2D([], [], color=MUTED, linewidth=0.9, linestyle=(0, (3, 2)))
    return list(entries.values()), list(entries)


def caption(summary: pd.DataFrame, largest: str = "") -> str:
    """Return how many runs were planned, and their outcomes.

    Parameters
    ----------
    largest : the definition of the chance level in words, if it is not 1 / classes.
    """
    counts = [(int((summary["outcome"] == kind).sum()), kind) for kind in KINDS]
    found = number_format.listing([f"{number} {kind}" for number, kind in counts if number])
    text = f"{counted(len(summary), 'planned run')}: {found or 'none has a result'}."
    hidden = sorted(set(summary["chance"].dropna().unique()) - set(_chance_in_sight(summary)))
    if hidden and summary["accuracy"].notna().any():
        values = number_format.listing([number_format.decimal(chance) for chance in hidden])
        text += f" The chance level is {values} %{f' ({largest})' if largest else ''}, far to the left of the axis."
    return text
