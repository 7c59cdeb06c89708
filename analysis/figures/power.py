"""Power: the effects that a study of a given size can detect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aimlib.errors import counted
from analysis.figures import legends
from analysis.figures.canvas import new_figure, rule, styled
from analysis.figures.palette import INK, MUTED, Mark, marks
from analysis.looks import FEWEST_PAIRS
from analysis.primary_measure import ACCURACY, PrimaryMeasure
from analysis.statistics.simulation import pairs_for_power, power_of
from analysis.wording import number_format

TITLE = "Power"
_TYPES: dict[str, Any] = {"effect": "float64", "pairs": "int64", "power": "float64"}


def summarise(sd: float, effects: Sequence[float], level: float, most: int = 40) -> pd.DataFrame:
    """Return effect (pp), pairs, and the paired t test's power at `level` for differences with SD `sd` (pp)."""
    rows = [(effect, n, power_of(effect, sd, n, level)) for effect in effects for n in range(3, most + 1)]
    return pd.DataFrame(rows, columns=list(_TYPES)).astype(_TYPES)


@styled
def draw(summary: pd.DataFrame, planned: int, measure: PrimaryMeasure = ACCURACY) -> Figure:
    """Return the figure for a summary: one curve per effect, and the planned number of pairs as a line."""
    figure = new_figure(2.8)
    styles = _styles(summary)
    _draw_panel(figure.subplots(), summary, planned, styles)
    figure.legend(*_legend(styles, measure), loc="outside right upper")
    return figure


@styled
def draw_by_spread(curves: pd.DataFrame, planned: int, measure: PrimaryMeasure = ACCURACY) -> Figure:
    """Return the figure for several summaries with a column `seed_sd` (pp): one panel each, on the same scale."""
    spreads = curves["seed_sd"].unique().tolist()
    rows = -(-len(spreads) // 2)
    figure = new_figure(0.7 + 2.2 * rows)
    styles = _styles(curves)
    panels = figure.subplots(rows, min(2, len(spreads)), sharex=True, sharey=True, squeeze=False)
    for number, axes in enumerate(panels.ravel()):
        if number >= len(spreads):
            axes.set_visible(False)
            continue
        _draw_panel(axes, curves[curves["seed_sd"] == spreads[number]], planned, styles)
        axes.set_title(f"Seed SD {measure.in_unit(f'{spreads[number]:.2g}')}")
        axes.label_outer()
    figure.legend(*_legend(styles, measure), loc="outside lower center", ncols=3)
    return figure


def _styles(summary: pd.DataFrame) -> dict[float, Mark]:
    effects = summary["effect"].unique().tolist()
    known = marks([f"{effect:g}" for effect in effects])
    return {effect: known[f"{effect:g}"] for effect in effects}


def _draw_panel(axes: Axes, summary: pd.DataFrame, planned: int, styles: Mapping[float, Mark]) -> None:
    axes.axhline(0.8, color=MUTED, linewidth=0.9, linestyle=(0, (3, 2)))
    axes.axvline(planned, color=INK, linewidth=0.9)
    for effect, mark in styles.items():
        rows = summary[summary["effect"] == effect]
        axes.plot(rows["pairs"], rows["power"], color=mark.colour, linewidth=1.6, dashes=mark.dashes or (1, 0))
        every = rows.iloc[:: max(1, len(rows) // 8)]
        axes.plot(every["pairs"], every["power"], linestyle="none", marker=mark.marker, markersize=4, color=mark.colour)
    axes.set(xlabel="Pairs", ylabel="Power", ylim=(0, 1.02), xlim=(summary["pairs"].min(), summary["pairs"].max()))
    axes.set_yticks(np.linspace(0, 1, 6))
    rule(axes, "y")


def _legend(styles: Mapping[float, Mark], measure: PrimaryMeasure) -> tuple[list[Line2D], list[str]]:
    handles = [
        Line2D([], [], color=m.colour, marker=m.marker, markersize=4, linewidth=1.6, dashes=m.dashes or (1, 0))
        for m in styles.values()
    ]
    names = [f"Δ = {measure.in_unit(f'{effect:.3g}')}" for effect in styles]
    return [*handles, legends.line(0.9), legends.dashed()], [*names, "planned pairs", "power of 0.8"]


def caption(sd: float, effects: Sequence[float], level: float, planned: int, measure: PrimaryMeasure = ACCURACY) -> str:
    """Return the number of pairs needed for 80 % power, for each effect."""
    needed = {effect: pairs_for_power(effect, sd, level) for effect in effects}
    least = {effect: n if n is None else max(n, FEWEST_PAIRS) for effect, n in needed.items()}
    words = [
        f"{counted(n, 'pair') if n is not None else 'more than 10,000 pairs'} for a gain of "
        f"{measure.in_unit(f'{effect:g}')}"
        for effect, n in least.items()
    ]
    fewest = f" A verdict needs at least {FEWEST_PAIRS} pairs." if least != needed else ""
    return (
        f"The differences have an SD of {measure.in_unit(measure.decimal(sd))} over seeds (upper limit of its 80 % "
        f"interval). A look at the {number_format.level(level)} level then has 80 % power (dashed) with "
        f"{number_format.listing(words)}. The plan contains {counted(planned, 'pair')} (line).{fewest}"
    )
