"""A waterfall chart of the confounds: from one arm to another, switch by switch."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from aimlib.errors import counted
from analysis.figures.canvas import labels, new_figure, rule, styled
from analysis.figures.palette import INK, MUTED, marks
from analysis.primary_measure import ACCURACY, PrimaryMeasure
from analysis.statistics.attribution import Attribution
from analysis.wording import number_format

TITLE = "Contribution of each switch"
_COLUMNS = ["method", "switch", "order", "n", "mean", "lower", "upper", "start"]


def summarise(found: Sequence[Attribution]) -> pd.DataFrame:
    """Return method, switch, order, n, mean, lower, upper and start (all in pp): each method's bars, in order."""
    rows = []
    for a in found:
        level = 0.0
        for part in a.parts:
            i = part.interval
            rows.append((a.method, part.switch, part.order, i.n, i.mean, i.lower, i.upper, level))
            level += i.mean
        rows.append((a.method, "gap", 0, a.gap.n, a.gap.mean, a.gap.lower, a.gap.upper, 0.0))
    return pd.DataFrame(rows, columns=_COLUMNS).astype({"method": "str", "switch": "str"})


@styled
def draw(summary: pd.DataFrame, measure: PrimaryMeasure = ACCURACY) -> Figure:
    """Return the figure for a summary that has rows: one panel per method, and one bar per switch with its interval."""
    methods = summary["method"].unique().tolist()
    switches = [name for name in summary["switch"].unique() if name != "gap"]
    style = marks(["gap", *switches])
    rows = len(switches) + 1
    figure = new_figure(0.6 + len(methods) * (0.45 + 0.27 * rows))
    panels = figure.subplots(len(methods), 1, sharex=True, squeeze=False)[:, 0]
    short = labels(["gap", *switches], 24, 1)
    for axes, method in zip(panels, methods, strict=True):
        own = summary[summary["method"] == method].reset_index(drop=True)
        for place, row in enumerate(own.to_dict("records")):
            mark = style[row["switch"]]
            axes.barh(place, row["mean"], left=row["start"], color=mark.colour, height=0.55, alpha=0.75, zorder=2)
            if row["lower"] <= row["upper"] and row["n"] > 2:
                axes.hlines(
                    place, row["start"] + row["lower"], row["start"] + row["upper"], color=INK, linewidth=0.9, zorder=3
                )
            if row["switch"] != "gap":
                end = row["start"] + row["mean"]
                axes.vlines(end, place, place + 1, color=MUTED, linewidth=0.6, linestyle=(0, (2, 2)))
        axes.axvline(0, color=INK, linewidth=0.9)
        axes.set_yticks(range(len(own)), [short[name] for name in own["switch"]])
        axes.set_ylim(len(own) - 0.5, -0.5)
        axes.set_title(method if len(method) < 80 else method[:79] + "…")
        rule(axes)
        twin = axes.twinx()
        twin.set_ylim(axes.get_ylim())
        twin.set_yticks(range(len(own)), [measure.points(value) for value in own["mean"]])
        twin.tick_params(length=0)
        twin.spines[:].set_visible(False)
        axes.spines["left"].set_visible(False)
    panels[-1].set_xlabel(measure.heading(measure.gain_words))
    return figure


def caption(found: Sequence[Attribution], measure: PrimaryMeasure = ACCURACY) -> str:
    """Return the entire gap, and the switch with the largest contribution by each method."""
    if not found:
        return "The study does not have factors with two levels each."
    a = found[0]
    words = []
    for each in found:
        largest = max(each.parts, key=lambda part: abs(part.interval.mean))
        size = measure.in_unit(measure.points(largest.interval.mean))
        words.append(f"{largest.switch} {size} ({each.method}, n = {each.gap.n})")
    ends = measure.interval(a.gap.lower, a.gap.upper)
    return (
        f"The gap from {a.start} to {a.end} is {measure.in_unit(measure.points(a.gap.mean))} "
        f"({number_format.level(a.gap.alpha)} interval {ends}, {counted(a.gap.n, 'seed')}). The gap is split among the "
        "switches, using the seeds for which all arms were run, without adjustment for looks. The largest parts are "
        f"{number_format.listing(words)}."
    )
