"""A forest plot of the differences and their intervals, relative to 0, δ and the reported gain."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures import legends
from analysis.figures.arm_names import arm_labels, names_note
from analysis.figures.canvas import SMALL, new_figure, rule, styled
from analysis.figures.palette import INK, MUTED, PAPER, Mark
from analysis.primary_measure import ACCURACY, PrimaryMeasure
from analysis.statistics.comparison import Comparison
from analysis.wording import number_format

TITLE = "Differences between arms"
_COLUMNS = [
    "comparison",
    "treatment",
    "control",
    "n",
    "mean",
    "lower",
    "upper",
    "prediction_lower",
    "prediction_upper",
]
_ENDS = ["lower", "upper", "prediction_lower", "prediction_upper"]
_LINE = 9.0
"""Line height of small text in points."""
_MANY = 12
"""With more comparisons than this, each row is one line high."""
_CUT = 4.0
"""An interval is cut off if it is more than this many times as wide as the span of the other intervals."""
_TYPES = dict.fromkeys(_COLUMNS[:3], "str") | {"n": "int64"} | dict.fromkeys(_COLUMNS[4:], "float64")


def summarise(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """Return one row per comparison: the arms, n, mean, interval and prediction interval in pp."""
    rows = [
        (c.name, c.treatment, c.control, i.n, i.mean, i.lower, i.upper, *i.prediction)
        for c, i in ((c, c.interval) for c in comparisons)
    ]
    return pd.DataFrame(rows, columns=_COLUMNS).astype(_TYPES)


@styled
def draw(
    summary: pd.DataFrame,
    marks: Mapping[str, Mark],
    delta: float,
    reported: float | None = None,
    measure: PrimaryMeasure = ACCURACY,
) -> Figure:
    """Return the figure for a summary.

    Parameters
    ----------
    marks : the mark of each arm; a row has the mark of its treatment.
    delta : smallest effect of interest in pp.
    reported : reported gain in pp, or None outside the scope of the claim.
    measure : the measure in which the arms differ.
    """
    figure = new_figure(1.25 + (0.27 if len(summary) > _MANY else 0.46) * max(len(summary), 1))
    axes = figure.subplots()
    references = _references(delta, reported)
    low, high = _limits(summary, list(references.values()), cut_rows(summary, delta, reported))
    axes.set_xlim(low, high)
    for row, values in enumerate(summary.to_dict("records")):
        mark = marks[values["treatment"]]
        _segment(axes, row, (values["prediction_lower"], values["prediction_upper"]), (low, high), mark, 0.9)
        _print_cut_ends(axes, row, (values["prediction_lower"], values["prediction_upper"]), (low, high), measure)
        _segment(axes, row, (values["lower"], values["upper"]), (low, high), mark, 3.0)
        style: dict[str, Any] = {
            "markersize": 7,
            "markeredgecolor": PAPER,
            "markeredgewidth": 0.8,
            "zorder": 4,
        }
        axes.plot([values["mean"]], [row], marker=mark.marker, color=mark.colour, linestyle="none", **style)
    _name_rows(axes, summary, list(marks), measure, (-delta, *references.values()))
    _draw_references(axes, references)
    axes.set_xlabel(_label(measure) + _common(summary, measure) + names_note(list(marks)))
    legends.below(figure, _legend(summary, references))
    return figure


def _legend(summary: pd.DataFrame, references: Mapping[str, float]) -> dict[str, Line2D]:
    entries = {}
    if summary["lower"].notna().any():
        entries["interval for the mean"] = legends.line(3.0)
    if summary["prediction_lower"].notna().any():
        entries["prediction for one further pair"] = legends.line(0.9)
    entries[legends.DELTA] = legends.dashed()
    return entries | ({legends.REPORTED: legends.dashed()} if "r" in references else {})


def _label(measure: PrimaryMeasure) -> str:
    unit = ", percentage points" if measure.difference == "pp" else measure.in_units.replace(", in", ",")
    return measure.gain_words + unit


def _references(delta: float, reported: float | None) -> dict[str, float]:
    lines = {"0": 0.0, "δ": delta}
    return lines if reported is None else lines | {"r/2": reported / 2, "r": reported}


def cut_rows(summary: pd.DataFrame, delta: float, reported: float | None = None) -> list[bool]:
    """Return, for each row, whether its interval is so much wider than the others that `draw` cuts it off."""
    core = list(_references(delta, reported).values())
    rows = summary[_ENDS].to_numpy()
    widths = rows.max(axis=1) - rows.min(axis=1)  # NaN if unknown
    order = sorted((i for i in range(len(rows)) if not math.isnan(widths[i])), key=lambda i: widths[i])
    kept = (len(order) + 1) // 2  # most rows are drawn in full, even if the narrowest is very narrow
    while kept < len(order):
        ends = core + [end for i in order[:kept] for end in _finite(rows[i])]
        if widths[order[kept]] > _CUT * (max(ends) - min(ends)):
            break
        kept += 1
    return [i in order[kept:] for i in range(len(rows))]


def _finite(values: Iterable[float]) -> list[float]:
    return [float(value) for value in values if math.isfinite(value)]


def _limits(summary: pd.DataFrame, references: list[float], cut: Sequence[bool]) -> tuple[float, float]:
    """Return limits that contain the references and every row that is not cut off."""
    whole = summary.loc[[not each for each in cut]]
    ends = references + _finite(whole[["mean", *_ENDS]].to_numpy().ravel())
    low, high = min(ends), max(ends)
    return low - 0.04 * (high - low), high + 0.04 * (high - low)


def _segment(
    axes: Axes, row: int, ends: tuple[float, float], limits: tuple[float, float], mark: Mark, width: float
) -> None:
    """Draw an interval, with an arrowhead wherever it crosses an edge of the axes."""
    if not ends[0] <= ends[1]:  # not known
        return
    shown = max(ends[0], limits[0]), min(ends[1], limits[1])
    if shown[0] <= shown[1]:
        axes.plot(shown, [row, row], color=mark.colour, linewidth=width, solid_capstyle="butt", zorder=3)
    for end, place, arrow in ((ends[0], limits[0], "<"), (ends[1], limits[1], ">")):
        if (end < place) if arrow == "<" else (end > place):
            axes.plot([place], [row], marker=arrow, color=mark.colour, markersize=5, clip_on=False, zorder=3)


def _print_cut_ends(
    axes: Axes, row: int, ends: tuple[float, float], limits: tuple[float, float], measure: PrimaryMeasure
) -> None:
    """Print the limits of a cut prediction interval below its arrowheads."""
    style: dict[str, Any] = {"textcoords": "offset points", "va": "top", "fontsize": SMALL, "annotation_clip": False}
    if ends[0] < limits[0]:
        axes.annotate(measure.points(ends[0]), (limits[0], row), (4, -4), ha="left", **style)
    if ends[1] > limits[1]:
        axes.annotate(measure.points(ends[1]), (limits[1], row), (-4, -4), ha="right", **style)


def _shared_side(summary: pd.DataFrame) -> str:
    """Return the side (treatment or control) that all rows share if there are many; their names leave it out."""
    if len(summary) <= _MANY:
        return ""
    return next((side for side in ("treatment", "control") if summary[side].nunique() == 1), "")


def _common(summary: pd.DataFrame, measure: PrimaryMeasure) -> str:
    """Return the arm that is left out of the row names, as an addition to the axis label."""
    side = _shared_side(summary)
    if not side:
        return ""
    arm = summary[side].iloc[0]
    name = arm_labels([arm], 40, 1)[arm]
    sides = (name, "the arm of the row") if side == "treatment" else ("the arm of the row", name)
    return f"\n{measure.difference_name(*sides)}"


def _names(summary: pd.DataFrame, arms: Sequence[str], measure: PrimaryMeasure) -> list[str]:
    rows, side = summary.to_dict("records"), _shared_side(summary)
    if side:
        short = arm_labels(arms, 34, 1)
        return [short[row["control" if side == "treatment" else "treatment"]] for row in rows]
    short, line = (arm_labels(arms, 17, 1), " ") if len(rows) > _MANY else (arm_labels(arms, 26, 1), "\n")
    first, second = ("control", "treatment") if measure.lower_is_better else ("treatment", "control")
    return [f"{short[row[first]]}{line}{number_format.MINUS} {short[row[second]]}" for row in rows]


def _name_rows(
    axes: Axes, summary: pd.DataFrame, arms: Sequence[str], measure: PrimaryMeasure, limits: Sequence[float]
) -> None:
    rows = summary.to_dict("records")
    names = _names(summary, arms, measure)
    axes.set_yticks(range(len(summary)), names)
    axes.set_ylim(max(len(summary), 1) - 0.4, -0.6)
    rule(axes)
    axes.tick_params(axis="y", pad=8)
    twin = axes.twinx()
    twin.set_ylim(axes.get_ylim())
    twin.set_yticks(range(len(summary)), [_numbers(row, len(rows), measure, limits) for row in rows])
    twin.tick_params(length=0, pad=8)
    twin.spines[:].set_visible(False)
    axes.spines["left"].set_visible(False)


def _numbers(row: Mapping[Any, Any], rows: int, measure: PrimaryMeasure, limits: Sequence[float]) -> str:
    ends = measure.interval(row["lower"], row["upper"], limits)
    if rows > _MANY:
        return f"{measure.points(row['mean'])} ({ends}) n = {row['n']}"
    return f"{measure.points(row['mean'])}   n = {row['n']}\n{ends}"


def _draw_references(axes: Axes, references: Mapping[str, float]) -> None:
    """Draw and label the vertical lines; a label that is too close to its neighbor moves up one line."""
    low, high = axes.get_xlim()
    level, last = 0, low - (high - low)
    for name, place in references.items():
        level = level + 1 if (place - last) / (high - low) < 0.07 else 0
        last = place
        solid = name == "0"
        axes.axvline(
            place,
            color=INK if solid else MUTED,
            linewidth=0.9,
            linestyle="-" if solid else (0, (3, 2)),
            zorder=1,
        )
        above: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "bottom", "fontsize": SMALL}
        axes.annotate(name, (place, 1), (0, 2 + level * _LINE), xycoords=("data", "axes fraction"), **above)


def caption(comparisons: Sequence[Comparison], cut: Sequence[str] = ()) -> str:
    """Return what is shown, how many intervals lie above 0 and above δ, and which comparisons are cut off (`cut`)."""
    if not comparisons:
        return "The study does not have two arms to compare."
    known = [c for c in comparisons if c.interval.n > 1]
    if not known:
        return "No comparison has two complete pairs yet, so there are no intervals."
    first = comparisons[0]
    above = sum(c.interval.lower > 0 for c in known)
    material = sum(c.interval.lower >= c.delta for c in known)
    gain = next(
        (
            f" The reported gain is r = {number_format.decimal(r)} pp."
            for c in comparisons
            for r in list(c.reported.values())[:1]
        ),
        "",
    )
    delta = f"δ = {first.measure.margin(first.delta)}"
    if len(known) == 1:
        lies = (
            f"lies above {delta}"
            if material
            else f"lies above 0 but not above {delta}"
            if above
            else "does not lie above 0"
        )
        found = f"The interval {lies}"
    else:
        found = (
            f"Of {len(known)} intervals, {above} {'lies' if above == 1 else 'lie'} above 0 and {material} above {delta}"
        )
    return (
        "Thick: interval for the mean difference; thin: prediction interval for one further pair with one seed for "
        f"both arms. {found}.{_without_verdict(known)}{gain}{_cut(cut)}"
    )


def _without_verdict(known: Sequence[Comparison]) -> str:
    """Return a sentence on how many of the comparisons have no verdict; empty if all have one."""
    without = sum(not c.verdict.decided for c in known)
    if not without:
        return ""
    if len(known) == 1:
        return " It has no verdict."
    return f" {without} of them {'has' if without == 1 else 'have'} no verdict."


def _cut(names: Sequence[str]) -> str:
    if not names:
        return ""
    return (
        f" The intervals of {number_format.listing(list(names))} are too wide for the axis. Arrowheads mark where the "
        "intervals are cut off; the limits of the prediction intervals are printed below."
    )
