"""Sources of uncertainty in the difference: seeds, images, and their interaction."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from aimlib.errors import counted
from analysis.figures.canvas import new_figure, rule, styled
from analysis.figures.palette import Mark
from analysis.statistics.images import Crossed
from analysis.wording import number_format

TITLE = "Where the uncertainty comes from"
_NAMES = {"seed": "seeds", "image": "test images", "interaction": "seeds × images"}


def summarise(found: Crossed) -> pd.DataFrame:
    """Return source, variance (of the mean difference, pp²), share, and the source's own standard error (pp)."""
    parts = found.shares
    total = sum(parts.values())
    rows = [(_NAMES[key], value, value / total if total else 0.0, value**0.5) for key, value in parts.items()]
    return pd.DataFrame(rows, columns=["source", "variance", "share", "error"]).astype({"source": "str"})


@styled
def draw(summary: pd.DataFrame, mark: Mark) -> Figure:
    """Return the figure for a summary: one bar per source."""
    figure = new_figure(1.7)
    axes = figure.subplots()
    axes.barh(range(len(summary)), 100 * summary["share"], color=mark.colour, height=0.55)
    axes.set_yticks(range(len(summary)), summary["source"].tolist())
    axes.set_ylim(len(summary) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel("Share of the variance of the mean difference, %")
    rule(axes)
    twin = axes.twinx()
    twin.set_ylim(axes.get_ylim())
    twin.set_yticks(range(len(summary)), [f"± {number_format.decimal(error)} pp" for error in summary["error"]])
    twin.tick_params(length=0)
    twin.spines[:].set_visible(False)
    return figure


def caption(summary: pd.DataFrame, found: Crossed, name: str) -> str:
    """Return the largest source of variance, and the interval for new photos."""
    largest = summary.to_dict("records")[int(summary["share"].to_numpy().argmax())]
    ends = number_format.interval(found.interval.lower, found.interval.upper)
    new = f"the {number_format.level(found.interval.alpha)} interval is {ends} pp"
    if not found.interval.bounded:
        new = "there is no bounded interval yet"
    return (
        f"{100 * largest['share']:.0f} % of the variance of {name} is due to {largest['source']}, as estimated from "
        f"{counted(found.seeds, 'seed')} and {number_format.whole(found.images)} test images. For new seeds and new "
        f"photos of the same kind, {new} ({number_format.decimal(found.degrees_of_freedom, 1)} degrees of freedom)."
    )
