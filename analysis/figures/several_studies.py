"""Effects in several studies: each alone, partially pooled, their mean, and the effect expected in a new setting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.canvas import labels, rule, styled
from analysis.figures.measured import explained, legend_above, sheet
from analysis.figures.palette import INK, MUTED, PAPER
from analysis.statistics.interval import Interval
from analysis.wording import number_format

if TYPE_CHECKING:
    from analysis.statistics.across import Across

TITLE = "Effects of several studies"
_TYPES = dict.fromkeys(("kind", "name"), "str") | dict.fromkeys(("mean", "lower", "upper"), "float64")
_STUDY, _POOLED, _TOGETHER = "study", "partially pooled", "together"
_BESIDE = 0.26
"""Distance, in rows, at which a study's partially pooled effect is drawn below the study."""


def several_studies(found: Across, *, ax: Axes | None = None) -> Figure:
    """Draw the effects in several studies, and return the figure.

    Parameters
    ----------
    found : the result of `analysis.across`.
    ax : axes to draw on; None: a new figure with a title and a caption.
    """
    summary = summarise(found)
    figure = draw(summary, found, ax)
    return figure if ax is not None else explained(figure, TITLE, caption(found))


def summarise(found: Across) -> pd.DataFrame:
    """Return one row per interval to draw: kind (study, partially pooled, together), name, mean, lower, upper."""
    rows: list[tuple[str, str, float, float, float]] = [
        (_STUDY, name, each.mean, each.lower, each.upper) for name, each in zip(found.names, found.effects, strict=True)
    ]
    pooled = found.pooled
    rows += [
        (_POOLED, name, *ends)
        for name, *ends in zip(found.names, pooled.means, pooled.lower, pooled.upper, strict=True)
    ]
    rows.append((_TOGETHER, "mean of these", *_ends(found.mean)))
    if found.of_settings is not None:
        rows.append((_TOGETHER, "mean of all settings", *_ends(found.of_settings)))
    rows.append((_TOGETHER, "a further setting", pooled.mean, pooled.further_lower, pooled.further_upper))
    return pd.DataFrame(rows, columns=list(_TYPES)).astype(_TYPES)


def _ends(interval: Interval) -> tuple[float, float, float]:
    return interval.mean, interval.lower, interval.upper


@styled
def draw(summary: pd.DataFrame, found: Across, ax: Axes | None = None) -> Figure:
    """Return the figure for a summary."""
    studies, together = len(found.names), summary[summary["kind"] == _TOGETHER]
    last = studies + len(together) - 0.4
    figure, axes = sheet(ax, 1.0 + 0.36 * last)
    _draw_rows(axes, summary[summary["kind"] == _STUDY], 0.0, 2.6, INK)
    _draw_rows(axes, summary[summary["kind"] == _POOLED], _BESIDE, 1.2, MUTED)
    _draw_rows(axes, together, studies + 0.5, 2.6, INK)
    delta = found.delta
    for place, style in ((0.0, "-"), (-delta, (0, (3, 2))), (delta, (0, (3, 2)))):
        axes.axvline(place, color=MUTED, linewidth=0.9, linestyle=style, zorder=1)
    axes.axhline(studies, color=MUTED, linewidth=0.6)
    names = labels([*found.names, *together["name"]], 30, 1)
    places = [*range(studies), *(studies + 0.5 + row for row in range(len(together)))]
    axes.set_yticks(places, [names[name] for name in [*found.names, *together["name"]]])
    axes.set_ylim(last + 0.6, -0.6)
    axes.set_xlabel(f"Mean difference{found.measure.in_units}")
    axes.margins(x=0.06)
    rule(axes)
    legend_above([axes], _handles(found))
    return figure


def _draw_rows(axes: Axes, rows: pd.DataFrame, first: float, width: float, colour: str) -> None:
    places = [first + row for row in range(len(rows))]
    style: dict[str, Any] = {"markeredgecolor": colour, "markerfacecolor": colour if width > 2 else PAPER}
    axes.hlines(places, rows["lower"], rows["upper"], color=colour, linewidth=width, zorder=2)
    axes.plot(rows["mean"], places, "o" if width > 2 else "D", markersize=5, linestyle="", zorder=3, **style)


def _handles(found: Across) -> dict[str, Line2D]:
    delta = found.measure.margin(found.delta)
    hollow: dict[str, Any] = {"markerfacecolor": PAPER, "markeredgecolor": MUTED}
    return {
        "the study alone": Line2D([], [], color=INK, marker="o", markersize=5, linewidth=2.6),
        "partially pooled": Line2D([], [], color=MUTED, marker="D", markersize=5, linewidth=1.2, **hollow),
        f"± δ = {delta}": Line2D([], [], color=MUTED, linewidth=0.9, linestyle=(0, (3, 2))),
    }


def caption(found: Across) -> str:
    """Return what is drawn and what partial pooling assumes."""
    without = f" {found.without}." if found.left_out else ""
    return (
        f"{number_format.level(found.effects[0].alpha)} intervals for mean differences in {len(found.names)} studies. "
        f"{found.assumptions[2]} The row “a further setting” shows where the effect in a new setting is expected."
        + without
    )
