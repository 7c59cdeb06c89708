"""Parallel coordinates: which combinations of options lead to high values of the measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from aimlib.errors import UsageError, counted
from analysis.figures.canvas import SMALL, WIDTH, labels, styled
from analysis.figures.levels import Scale, factor_columns, number_text, scale_of, separation, with_named_levels
from analysis.figures.measured import Measure, by_arm, explained, left_out, measure_of, measured_runs, named_arms, sheet
from analysis.figures.palette import MUTED, PAPER
from analysis.reading.query import refuse_unknown
from analysis.results import Results, Studies
from analysis.wording import number_format

TITLE = "Arms by their options"
_ALL = 40
"""With more arms than this, only some are drawn."""
_BEST, _WORST = 20, 5
_AXES = 8
"""Number of factors that fit side by side."""
_TYPES: dict[str, Any] = {"arm": "str", "rank": "int64", "drawn": "bool", "n": "int64"} | dict.fromkeys(
    ("mean", "lower", "upper"), "float64"
)
_BAND = 0.62
"""Width over which the lines through a level are spread, as a share of the distance between two levels."""


def parallel_coordinates(
    results: Results | Studies,
    factors: Sequence[str] = (),
    *,
    value: str | None = None,
    alpha: float = 0.05,
    ax: Axes | None = None,
) -> Figure:
    """Draw every arm as a line through its factor levels to its measure, and return the figure.

    Parameters
    ----------
    factors : columns of `runs`, with one axis each. By default, these are the study's factors, or else all options in
        which its arms differ, limited to the eight whose levels differ most in the measure.
    value : column of `runs`; see `measured.measure_of` for the default.
    ax : axes to draw on; None: a new figure with a title and a caption.

    Raises
    ------
    UsageError: a column is unknown, no factor has two levels, or no run has a value for the measure.
    """
    measure = measure_of(results, value)
    runs = with_named_levels(results, named_arms(results))
    columns = factor_columns(results, runs, factors)
    summary = summarise(runs, columns, measure, alpha)
    if summary.empty:
        raise UsageError(f"no run has {measure.short} yet; there is nothing to draw")
    shown = list(factors) or most_telling(summary, columns)
    figure = draw(summary, shown, measure, ax)
    if ax is not None:
        return figure
    return explained(figure, TITLE, caption(summary, shown, measure) + left_out(results, runs, summary))


def summarise(runs: pd.DataFrame, factors: Sequence[str], measure: Measure, alpha: float = 0.05) -> pd.DataFrame:
    """Return one row per arm, the best first: arm, rank, drawn, n, mean, lower, upper, and the factors.

    With more than 40 arms, `drawn` is true only for the 20 best and the 5 worst.

    Raises
    ------
    UsageError: a factor is not a column.
    """
    refuse_unknown(runs, factors)
    found = by_arm(runs, measure, alpha)
    own = measured_runs(runs, measure).drop_duplicates("arm")[["arm", *factors]]
    found = found.merge(own, on="arm", how="left")
    found = found.sort_values("mean", ascending=measure.lower_is_better, kind="stable", ignore_index=True)
    ranks = np.arange(1, len(found) + 1)
    drawn = (ranks <= _BEST) | (ranks > len(found) - _WORST) if len(found) > _ALL else np.full(len(found), True)
    return found.assign(rank=ranks, drawn=drawn)[[*_TYPES, *factors]].astype(_TYPES)


def most_telling(summary: pd.DataFrame, factors: Sequence[str], most: int = _AXES) -> list[str]:
    """Return the factors whose levels differ most in the measure, in the given order; all if there are at most `most`.

    Factors are ranked by the share of the variance among arms that lies between levels.
    """
    shares = {factor: separation(summary[factor], summary["mean"]) for factor in factors}
    kept = sorted(factors, key=lambda factor: -shares[factor])[:most]
    return [factor for factor in factors if factor in kept]


@styled
def draw(summary: pd.DataFrame, factors: Sequence[str], measure: Measure, ax: Axes | None = None) -> Figure:
    """Return the figure for a summary that has rows: one axis per factor, and the measure on the right."""
    figure, axes = sheet(ax, 3.6)
    rows = summary[summary["drawn"]].reset_index(drop=True)
    good = -summary["mean"] if measure.lower_is_better else summary["mean"]
    scales = [scale_of(summary[factor], good) for factor in factors]
    low, high = float(summary["mean"].min()), float(summary["mean"].max())
    room = 0.04 * (high - low) or 0.5
    ends = (rows["mean"].to_numpy() - low + room) / (high - low + 2 * room)
    places = [_spread(scale, scale.places(rows[factor]), ends) for scale, factor in zip(scales, factors, strict=True)]
    lines = np.stack([*places, ends], axis=1)
    colours = _colours()(ends if not measure.lower_is_better else 1 - ends)
    worst = set(rows.index[rows["rank"] > len(summary) - _WORST]) if len(rows) < len(summary) else set()
    for row in reversed(range(len(rows))):  # so that the best arm is drawn on top
        style: dict[str, Any] = {"linestyle": (0, (3, 2)) if row in worst else "-", "solid_joinstyle": "round"}
        axes.plot(range(len(factors) + 1), lines[row], color=colours[row], linewidth=0.9 if row else 2.2, **style)
    inches = (axes.get_window_extent().width / figure.dpi if ax is not None else WIDTH - 0.7) / max(len(factors), 1)
    for at, scale in enumerate(scales):
        _draw_axis(axes, at, scale, inches)
    _measure_axis(axes, len(factors), (low, high), room)
    _name_axes(axes, [*factors, measure.words], inches)
    return figure


def _colours() -> Colormap:
    """Return colors from pale (worst) to dark (best), which also differ in lightness."""
    return ListedColormap(mpl.colormaps["cividis"](np.linspace(0.92, 0.0, 256)))


def _spread(scale: Scale, places: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the heights of the lines; lines through one level are placed side by side in the order of the measure."""
    if not scale.is_ordinal:
        return places
    found = places.copy()
    band = _BAND * scale.step
    for place in np.unique(places):
        own = np.flatnonzero(places == place)
        order = own[np.argsort(ends[own], kind="stable")]
        found[order] = place + (np.linspace(-band / 2, band / 2, len(own)) if len(own) > 1 else 0.0)
    return found


def _draw_axis(axes: Axes, at: int, scale: Scale, inches: float) -> None:
    axes.axvline(at, color=MUTED, linewidth=0.8, zorder=2.5)
    names = labels([text for _, text in scale.ticks], max(5, int((inches - 0.12) / 0.068)), 2)
    box: dict[str, Any] = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.85, "pad": 0.8}
    for place, text in scale.ticks:
        style: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": SMALL, "bbox": box}
        axes.annotate(names[text], (at, place), (4, 0), zorder=6, annotation_clip=False, **style)


def _measure_axis(axes: Axes, at: int, span: tuple[float, float], room: float) -> None:
    low, high = span
    axes.axvline(at, color=MUTED, linewidth=0.8, zorder=2.5)
    ticks = MaxNLocator(6).tick_values(low, high)
    shown = [tick for tick in ticks if low - room <= tick <= high + room]
    for tick in shown:
        place = (tick - low + room) / (high - low + 2 * room)
        axes.plot([at, at + 0.03], [place, place], color=MUTED, linewidth=0.8, clip_on=False)
        axes.annotate(number_text(tick), (at, place), (7, 0), textcoords="offset points", va="center", fontsize=SMALL,
                      annotation_clip=False)  # fmt: skip


def _name_axes(axes: Axes, names: Sequence[str], inches: float) -> None:
    short = labels(list(names), max(6, int(inches / 0.078)), 3)
    axes.set_xlim(-0.05, len(names) - 0.95)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xticks(range(len(names)), [short[name] for name in names])
    axes.tick_params(axis="x", length=0, labeltop=True, labelbottom=False, pad=4)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def caption(summary: pd.DataFrame, factors: Sequence[str], measure: Measure) -> str:
    """Return what a line means, which arms are not drawn, and which factors have no axis."""
    if summary.empty:
        return f"No run has {measure.short} yet."
    drawn, every = int(summary["drawn"].sum()), len(summary)
    which = (
        f"Of {every} arms, the {_BEST} best and (dashed) the {_WORST} worst are shown; the CSV file contains all arms. "
        if drawn < every
        else ""
    )
    best = summary.iloc[0]
    one = labels([best["arm"]], 60, 1)[best["arm"]]
    low, high = int(summary["n"].min()), int(summary["n"].max())
    runs = counted(low, "run") if low == high else f"{low} to {counted(high, 'run')}"
    text = (
        f"{which}Each line is an arm and ends at its mean {measure.short} ({runs} each). Darker is better. "
        "Lines through one level are spread in the order of the measure, and words are ordered by their means. "
        f"Best (thick): {one}, {number_format.decimal(best['mean'])}{f' {measure.unit}' if measure.unit else ''}."
    )
    left = [name for name in summary.columns if name not in _TYPES and name not in factors]
    if left:
        text += f" Options without an axis, because their levels differ less: {number_format.listing(left)}."
    return text
