"""The interval against the number of pairs: how the verdict came about, and at which looks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import legends
from analysis.figures.canvas import name_line, new_figure, rule, styled, whole_numbers
from analysis.figures.palette import INK, MUTED, Mark
from analysis.primary_measure import ACCURACY, PrimaryMeasure
from analysis.statistics.comparison import Comparison
from analysis.statistics.interval import t_interval
from analysis.statistics.paired import complete
from analysis.wording import number_format

TITLE = "The interval, pair by pair"
_INSIDE = 0.015
"""Distance of an arrowhead from the edge, as a share of the axis, so that it does not touch the tick labels."""
_TYPES: dict[str, Any] = (
    {"pairs": "int64"} | dict.fromkeys(("mean", "lower", "upper"), "float64") | {"look": "bool", "verdict": "str"}
)


def summarise(comparison: Comparison) -> pd.DataFrame:
    """Return pairs, mean, lower, upper (pp), look and verdict after 2, 3, ... complete pairs in the plan's order.

    All intervals have the level of the deciding look, unless each look has its own level. Only looks that were planned
    and taken have a verdict.
    """
    differences = complete(comparison.pairs)["difference"].to_numpy()
    level = _levels(comparison)
    looks = {look.pairs: look.verdict for look in comparison.looks if look.interval.n == look.pairs}
    rows = []
    for count in range(2, len(differences) + 1):
        found = t_interval(differences[:count], level.get(count, comparison.interval.alpha))
        verdict = looks.get(count)
        text = verdict.text if verdict is not None and verdict.decided else ""
        rows.append((count, found.mean, found.lower, found.upper, bool(text), text))
    return pd.DataFrame(rows, columns=list(_TYPES)).astype(_TYPES)


def _levels(comparison: Comparison) -> dict[int, float]:
    """Return the level by number of pairs if each look has its own level; empty if all looks share one level."""
    schedule = comparison.schedule
    if schedule is None or schedule.planned:
        return {}
    own = {look.pairs: look.interval.alpha for look in comparison.looks}
    return own | (dict.fromkeys(range(2, schedule.numbers[0]), 0.0) if schedule.anytime else {})


@styled
def draw(
    summary: pd.DataFrame,
    mark: Mark,
    delta: float,
    reported: float | None = None,
    measure: PrimaryMeasure = ACCURACY,
) -> Figure:
    """Return the figure for a summary that has rows: thick intervals at planned looks, arrowheads at the edges."""
    figure = new_figure(2.9)
    axes = figure.subplots()
    lines = {"0": 0.0, "δ": delta} | ({} if reported is None else {"r": reported})
    core = [*lines.values(), *summary["mean"]]
    span = max(max(core) - min(core), 1.0 if measure.difference == "pp" else delta)
    looks, others = summary[summary["look"]], summary[~summary["look"]]
    # Intervals from very few pairs may extend beyond the figure, but intervals at looks may not.
    read = looks[np.isfinite(looks["lower"]) & np.isfinite(looks["upper"])]
    lowest = min([min(core) - 1.2 * span, *(read["lower"] - 0.1 * span)])
    highest = max([max(core) + 1.2 * span, *(read["upper"] + 0.1 * span)])
    axes.set_ylim(lowest, highest)
    for name, place in lines.items():
        solid = name == "0"
        style: Any = "-" if solid else (0, (3, 2))
        axes.axhline(place, color=INK if solid else MUTED, linewidth=0.9, linestyle=style, zorder=1)
        if not solid:
            name_line(axes, name, place)
    for row in summary.to_dict("records"):
        bounded = math.isfinite(row["lower"])  # an unbounded interval spans the entire figure
        low, high = (row["lower"], row["upper"]) if bounded else (lowest, highest)
        ends = max(low, lowest), min(high, highest)
        axes.vlines(row["pairs"], *ends, color=mark.colour, linewidth=3.0 if row["look"] else 0.9)
        inside = _INSIDE * (highest - lowest)
        for end, edge, arrow in ((row["lower"], lowest + inside, "v"), (row["upper"], highest - inside, "^")):
            if end < lowest if arrow == "v" else end > highest:
                axes.plot([row["pairs"]], [edge], marker=arrow, color=mark.colour, markersize=4)
    axes.plot(others["pairs"], others["mean"], linestyle="none", marker=mark.marker, markersize=3, color=mark.colour)
    axes.plot(looks["pairs"], looks["mean"], linestyle="none", marker=mark.marker, markersize=7, color=mark.colour)
    axes.set(xlabel="Pairs", ylabel=measure.heading("Reduction" if measure.lower_is_better else "Difference"))
    whole_numbers(axes)
    rule(axes, "y")
    entries = {}
    if len(looks):
        entries["interval that is read"] = legends.line(3.0, colour=mark.colour, marker=mark.marker)
    if len(others):
        entries["interval that is not read"] = legends.line(0.9, colour=mark.colour, marker=mark.marker)
    entries[legends.DELTA] = legends.dashed()
    legends.below(figure, entries | ({} if reported is None else {legends.REPORTED: legends.dashed()}))
    return figure


def caption(summary: pd.DataFrame, comparison: Comparison) -> str:
    """Return the verdict at each look."""
    if summary.empty:
        return f"{comparison.name} has fewer than two complete pairs."
    looks = summary[summary["look"]]
    if comparison.schedule is not None and not comparison.schedule.planned:
        return _caption_of_levels(summary, comparison, looks)
    said = [f"after {row['pairs']} pairs “{row['verdict']}”" for row in looks.to_dict("records")]
    taken = number_format.listing(said) if said else "no look is complete yet"
    return (
        f"{comparison.name} after each additional pair, with its {number_format.level(comparison.interval.alpha)} "
        f"interval. The interval is read only at the planned looks (thick): {taken}."
    )


def _caption_of_levels(summary: pd.DataFrame, comparison: Comparison, looks: pd.DataFrame) -> str:
    """Return the verdicts if each look has its own level, with one entry per change of the verdict."""
    turns = looks[looks["verdict"] != looks["verdict"].shift()]
    said = [f"after {row['pairs']} pairs “{row['verdict']}”" for row in turns.to_dict("records")]
    taken = number_format.listing(said) if said else "no look is complete yet"
    anytime = comparison.schedule is not None and comparison.schedule.anytime
    when = "may be read after any number of pairs (thick)" if anytime else "is read only at the planned looks (thick)"
    unbounded = int((~np.isfinite(summary["lower"])).sum())
    early = f" With up to {1 + unbounded} pairs, the interval is unbounded." if unbounded else ""
    each = "interval of a confidence sequence" if anytime else "interval at the level of each look"
    return f"{comparison.name} after each additional pair, with its {each}. The interval {when}: {taken}.{early}"
