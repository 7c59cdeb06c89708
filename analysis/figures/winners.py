"""Screening compared with fresh seeds: how much of a winner's lead was luck."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aimlib.errors import counted
from analysis.figures.arm_names import arm_labels
from analysis.figures.canvas import new_figure, rule, styled
from analysis.figures.palette import MUTED, Mark
from analysis.statistics.searches import winners
from analysis.wording import number_format

TITLE = "Winners of the search on fresh seeds"


def summarise(screened: pd.DataFrame, confirmed: pd.DataFrame) -> pd.DataFrame:
    """Return the frame from `statistics.searches.winners`."""
    return winners(screened, confirmed)


@styled
def draw(summary: pd.DataFrame, marks: Mapping[str, Mark]) -> Figure:
    """Return the figure for a summary that has rows: one point per arm; on the diagonal, both accuracies are equal."""
    figure = new_figure(3.4)
    axes = figure.subplots()
    ends = summary[["screening", "confirmation"]].to_numpy()
    low, high = float(ends.min()), float(ends.max())
    room = max(0.08 * (high - low), 0.5)
    axes.plot([low - room, high + room], [low - room, high + room], color=MUTED, linewidth=0.9, linestyle=(0, (3, 2)))
    for row in summary.to_dict("records"):
        mark = marks[row["arm"]]
        axes.plot(
            [row["screening"]],
            [row["confirmation"]],
            marker=mark.marker,
            color=mark.colour,
            markersize=7,
            linestyle="none",
        )
    axes.set(xlabel="Validation accuracy in the screening, %", ylabel="on fresh seeds, %")
    axes.set_aspect("equal", adjustable="datalim")
    rule(axes, "y")
    short = arm_labels(list(marks), 24)
    handles = [
        Line2D([], [], marker=marks[arm].marker, color=marks[arm].colour, linestyle="none") for arm in summary["arm"]
    ]
    figure.legend(handles, [short[arm] for arm in summary["arm"]], loc="outside right upper")
    return figure


def caption(summary: pd.DataFrame) -> str:
    """Return the mean loss in accuracy from screening to confirmation."""
    if summary.empty:
        return "No arm was both screened and confirmed."
    lost = summary["shrinkage"].mean()
    return (
        f"On seeds that the search did not use, {counted(len(summary), 'winner')} of the search scored "
        f"{number_format.decimal(abs(lost))} pp {'lower' if lost >= 0 else 'higher'} on average. On the dashed line, "
        "both accuracies are equal."
    )
