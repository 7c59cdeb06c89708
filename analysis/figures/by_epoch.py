"""The difference by epoch: whether the gain depends on the epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from aimlib.errors import counted
from analysis.figures import legends
from analysis.figures.canvas import name_line, new_figure, rule, styled, whole_numbers
from analysis.figures.palette import INK, MUTED, Mark
from analysis.primary_measure import ACCURACY, PrimaryMeasure
from analysis.statistics.interval import t_interval
from analysis.wording import number_format

TITLE = "Difference by epoch"
_TYPES: dict[str, Any] = {"epoch": "int64", "n": "int64"} | dict.fromkeys(("mean", "lower", "upper"), "float64")


def summarise(
    epochs: pd.DataFrame,
    treatment: str,
    control: str,
    seeds: Sequence[int],
    alpha: float = 0.05,
    measure: PrimaryMeasure = ACCURACY,
) -> pd.DataFrame:
    """Return epoch, n, mean, lower and upper of the paired difference in test accuracy (pp) or in a different measure.

    After the last epoch of a run that stopped early or diverged, the run counts with its value in that epoch.

    Parameters
    ----------
    epochs : the frame of epochs from `Results`.
    seeds : the seeds of the pairs to draw, which are those of the deciding look.
    """
    own = epochs[epochs["arm"].isin([treatment, control]) & epochs["seed"].isin(list(seeds))]
    if own.empty:
        return pd.DataFrame(columns=list(_TYPES)).astype(_TYPES)
    table = own.pivot_table(index="epoch", columns=["arm", "seed"], values=measure.column, observed=True)
    table = measure.gains(1.0, 0.0) * table.reindex(range(1, int(own["epoch"].max()) + 1)).ffill()
    rows = []
    for epoch, accuracies in table.iterrows():
        sides = [accuracies.get(arm, pd.Series(dtype="float64")) for arm in (treatment, control)]
        found = t_interval((sides[0] - sides[1]).dropna(), alpha)
        rows.append((epoch, found.n, found.mean, found.lower, found.upper))
    frame = pd.DataFrame(rows, columns=list(_TYPES)).astype(_TYPES)
    drawn: pd.DataFrame = frame[frame["n"] > 0].reset_index(drop=True)
    return drawn


@styled
def draw(summary: pd.DataFrame, mark: Mark, delta: float, measure: PrimaryMeasure = ACCURACY) -> Figure:
    """Return the figure for a summary that has rows."""
    figure = new_figure(2.7)
    axes = figure.subplots()
    axes.axhline(0, color=INK, linewidth=0.9)
    axes.axhline(delta, color=MUTED, linewidth=0.9, linestyle=(0, (3, 2)))
    if summary["n"].max() > 2:
        axes.fill_between(
            summary["epoch"], summary["lower"], summary["upper"], color=mark.colour, alpha=0.2, linewidth=0
        )
    axes.plot(summary["epoch"], summary["mean"], color=mark.colour, linewidth=1.6, marker=mark.marker, markersize=3)
    axes.set(xlabel="Epoch", ylabel=measure.heading("Reduction" if measure.lower_is_better else "Difference"))
    whole_numbers(axes)
    name_line(axes, "δ", delta)
    rule(axes, "y")
    entries = {"mean of the pairs": legends.line(1.6, colour=mark.colour, marker=mark.marker)}
    if summary["n"].max() > 2:
        entries["t interval for each epoch"] = legends.band(mark.colour)
    legends.below(figure, {**entries, legends.DELTA: legends.dashed()})
    return figure


def caption(summary: pd.DataFrame, name: str, alpha: float = 0.05, measure: PrimaryMeasure = ACCURACY) -> str:
    """Return the range of the difference over the second half of the epochs."""
    if summary.empty:
        return f"No epoch of {name} is recorded for both arms of a pair."
    late = summary[summary["epoch"] > summary["epoch"].max() / 2]
    span = f"{measure.points(late['mean'].min())} and {measure.points(late['mean'].max())}"
    above = int((late["lower"] > 0).sum())
    few, many = int(summary["n"].min()), int(summary["n"].max())
    pairs = counted(many, "pair") if few == many else f"{few} to {many} pairs"
    return (
        f"Mean of {name} over {pairs}, with the {number_format.level(alpha)} t interval for each epoch. In the second "
        f"half of training, the mean is between {measure.in_unit(span)}; the entire interval lies above 0 in {above} "
        f"of {counted(len(late), 'epoch')}."
    )
