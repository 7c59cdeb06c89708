"""Learning curves: whether the training budget determines the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aimlib.errors import counted
from analysis.figures.arm_names import arm_labels
from analysis.figures.canvas import new_figure, rule, styled, whole_numbers
from analysis.figures.palette import MUTED, PAPER, Mark
from analysis.figures.palette import marks as palette_marks
from analysis.primary_measure import ACCURACY, PrimaryMeasure
from analysis.statistics.interval import t_interval
from analysis.wording import number_format

TITLE = "Accuracy by epoch"
_FEW = 6
"""With more arms than this, individual runs are drawn paler."""
_MANY = 12
"""With more arms than this, only the first two in the plan, the four best and the two worst are drawn in full."""
_FIRST, _BEST, _WORST = 2, 4, 2
_GREY = 40
"""Up to this many other arms are drawn as gray lines; more are drawn as one gray band."""
_LINES = 400
"""With more runs than this, bands replace the individual curves and markers, which would be indistinguishable."""
_SPREAD = (0.05, 0.95)
_OTHERS = "#b8bcc4"
_BAND = 3
"""Minimum number of runs for drawing a t interval; with two runs, the interval is wider than any curve."""
_DOTS = ((1, 1.5), (4, 1.2, 1, 1.2), (6, 1.5))
_PANELS = ("validation", "test")
_TYPES: dict[str, Any] = (
    dict.fromkeys(("panel", "kind", "arm", "run_id"), "str")
    | dict.fromkeys(("epoch", "n"), "int64")
    | dict.fromkeys(("accuracy", "lower", "upper"), "float64")
)


def summarise(
    runs: pd.DataFrame,
    epochs: pd.DataFrame,
    arms: Sequence[str],
    reported: pd.DataFrame | None = None,
    alpha: float = 0.05,
    measure: PrimaryMeasure = ACCURACY,
) -> pd.DataFrame:
    """Return panel, kind, arm, run_id, epoch, n, accuracy, lower and upper, with accuracies in percent.

    The kinds are ``run`` (a single run's curve), ``mean`` (of an arm's finished runs, with its t interval) and
    ``selected`` (the epoch that each run reports). The test panel also has the kind ``reported``. A mean covers the
    epochs that all these runs reached. With more than 400 runs, ``run`` and ``selected`` are replaced by a ``spread``
    for each arm. It contains the median and the 5 % and 95 % quantiles of the arm's runs at every epoch.

    Parameters
    ----------
    reported : `Claim.curves`, within the claim's scope.
    measure : if this is not the accuracy, `accuracy`, `lower` and `upper` are in its unit; there is no validation panel
        if the measure does not have a validation column.
    """
    parts = [
        _panel(runs, epochs, arms, panel, column, alpha, measure.scale)
        for panel, column in _columns_of(measure).items()
        if column in epochs
    ]
    if reported is not None:
        curves = reported[["arm", "epoch"]].assign(
            panel="test", kind="reported", accuracy=100 * reported["val_accuracy"]
        )
        parts.append(curves.assign(run_id="", n=1, lower=float("nan"), upper=float("nan")))
    return pd.concat(parts)[list(_TYPES)].astype(_TYPES).reset_index(drop=True)


def _columns_of(measure: PrimaryMeasure) -> dict[str, str]:
    """Return the column for every panel."""
    validation = measure.column.replace("test_", "validation_", 1)
    return ({"validation": validation} if validation != measure.column else {}) | {"test": measure.column}


def _panel(
    runs: pd.DataFrame,
    epochs: pd.DataFrame,
    arms: Sequence[str],
    panel: str,
    column: str,
    alpha: float,
    scale: float = 100.0,
) -> pd.DataFrame:
    drawn = epochs[["arm", "run_id", "epoch"]].assign(accuracy=scale * epochs[column])
    drawn = drawn[drawn["accuracy"].notna()].merge(runs[["run_id", "status", "selected_epoch"]], on="run_id")
    drawn = drawn.assign(panel=panel, kind="run", n=1, lower=float("nan"), upper=float("nan"))
    drawn = drawn.assign(position=drawn["arm"].map({arm: i for i, arm in enumerate(arms)})).sort_values(
        ["position", "run_id"]
    )
    reporting = drawn[drawn["status"] != "pruned"]  # a run that was stopped early does not report an epoch
    chosen = reporting[(reporting["epoch"] == reporting["selected_epoch"]).fillna(False).astype(bool)]
    chosen = chosen.assign(kind="selected")
    means = _means(drawn[drawn["status"] == "finished"], alpha).assign(panel=panel, kind="mean", run_id="")
    if drawn["run_id"].nunique() > _LINES:
        drawn, chosen = _spread(drawn).assign(panel=panel, kind="spread", run_id=""), chosen[:0]
    return pd.concat([frame[list(_TYPES)].astype(_TYPES) for frame in (drawn, means, chosen)])


def _spread(runs: pd.DataFrame) -> pd.DataFrame:
    groups = runs.groupby(["position", "arm", "epoch"])["accuracy"]
    low, middle, high = (groups.quantile(share) for share in (_SPREAD[0], 0.5, _SPREAD[1]))
    return pd.DataFrame({"n": groups.size(), "accuracy": middle, "lower": low, "upper": high}).reset_index()


def _means(runs: pd.DataFrame, alpha: float) -> pd.DataFrame:
    rows = []
    for (arm, epoch), accuracies in runs.groupby(["arm", "epoch"], sort=False)["accuracy"]:
        found = t_interval(accuracies, alpha)
        rows.append((arm, epoch, found.n, found.mean, found.lower, found.upper))
    frame = pd.DataFrame(rows, columns=["arm", "epoch", "n", "accuracy", "lower", "upper"])
    everyone = frame.groupby("arm")["n"].transform("max")
    return frame[frame["n"] == everyone]


@styled
def draw(summary: pd.DataFrame, marks: Mapping[str, Mark], measure: PrimaryMeasure = ACCURACY) -> Figure:
    """Return the figure for a summary: one panel each for validation and test, if available, on the same scale."""
    every = [arm for arm in marks if (summary["arm"] == arm).any()]
    shown = highlighted(summary, list(marks))
    if shown != every:
        marks = palette_marks(shown)
    short = arm_labels(every, 30, 1)
    styles = _reported(summary)
    others = counted(len(every) - len(shown), "other arm")
    names = [short[arm] for arm in shown] + ([others] if shown != every else [])
    names += [f"{arm_labels([arm], 24, 1)[arm]}, as reported" for arm in styles]
    columns = max(1, min(len(names), 92 // (max(map(len, names), default=1) + 8)))
    figure = new_figure(3.0 + 0.19 * -(-(len(names) + 2) // columns))
    filled = [panel for panel in _PANELS if (summary["panel"] == panel).any()] or list(_PANELS)
    panels = figure.subplots(1, len(filled), sharex=True, sharey=True, squeeze=False)[0]
    for axes, panel in zip(panels, filled, strict=True):
        rows = summary[summary["panel"] == panel]
        if shown != every:
            _draw_others(axes, rows[~rows["arm"].isin(shown) & (rows["kind"] == "mean")])
        _draw_panel(axes, rows[rows["arm"].isin(shown) | (rows["kind"] == "reported")], marks)
        axes.set(title=f"{panel.capitalize()} images", xlabel="Epoch", ylabel="")
        whole_numbers(axes)
        rule(axes, "y")
    panels[0].set_ylabel(_label(measure))
    low, high = _limits(summary, measure)
    if low < high:
        panels[0].set_ylim(low, high)
    handles = [_handle(marks[arm]) for arm in shown]
    handles += [Line2D([], [], color=_OTHERS, linewidth=0.8)] if shown != every else []
    handles += [Line2D([], [], color=MUTED, linewidth=1, linestyle=style) for style in styles.values()]
    if handles:
        figure.legend(handles, names, loc="outside lower center", ncols=columns, handlelength=2.6)
    return figure


def highlighted(summary: pd.DataFrame, arms: Sequence[str]) -> list[str]:
    """Return the arms to draw in full: all, or of more than twelve, the first two, the four best and the two worst.

    Best and worst are determined by the last mean validation accuracy (test accuracy if there is none).
    """
    shown = [arm for arm in arms if (summary["arm"] == arm).any()]
    means = summary[(summary["kind"] == "mean") & summary["arm"].isin(shown)]
    if len(shown) <= _MANY or means.empty:
        return shown
    panel = "validation" if (means["panel"] == "validation").any() else "test"
    last = means[means["panel"] == panel].groupby("arm")["accuracy"].last().sort_values(kind="stable").index
    kept = {*shown[:_FIRST], *last[-_BEST:], *last[:_WORST]}
    return [arm for arm in shown if arm in kept]


def _draw_others(axes: Axes, means: pd.DataFrame) -> None:
    """Draw the means of the arms that are not drawn in full: thin gray lines, or one band of the middle 90 %."""
    if means["arm"].nunique() <= _GREY:
        lines = [rows[["epoch", "accuracy"]].to_numpy(dtype=float) for _, rows in means.groupby("arm", sort=False)]
        axes.add_collection(LineCollection(lines, colors=_OTHERS, linewidths=0.6, zorder=1))
    else:
        groups = means.groupby("epoch")["accuracy"]
        low, high = (groups.quantile(share) for share in _SPREAD)
        axes.fill_between(low.index, low, high, color=_OTHERS, alpha=0.6, linewidth=0, zorder=1)
    axes.autoscale_view()


def _label(measure: PrimaryMeasure) -> str:
    """Return the label of the axis that both panels share."""
    words = measure.words.replace("test ", "", 1).replace(" on test images", "")
    return words[:1].upper() + words[1:] + (f", {measure.unit}" if measure.unit else "")


def _limits(summary: pd.DataFrame, measure: PrimaryMeasure = ACCURACY) -> tuple[float, float]:
    """Return the range of the curves without t intervals, because an interval from two runs would dwarf them."""
    spread = summary[summary["kind"] == "spread"]
    low = float(pd.concat([summary["accuracy"], spread["lower"]]).min())
    high = float(pd.concat([summary["accuracy"], spread["upper"]]).max())
    margin = max(0.06 * (high - low), 0.5 if measure.unit == "%" else 0.0)
    return low - margin, high + margin


def _handle(mark: Mark) -> Line2D:
    return Line2D(
        [],
        [],
        color=mark.colour,
        marker=mark.marker,
        markersize=5,
        dashes=mark.dashes or (1, 0),
        linewidth=1.6,
    )


def _draw_panel(axes: Axes, summary: pd.DataFrame, marks: Mapping[str, Mark]) -> None:
    palette = {arm: mark.colour for arm, mark in marks.items()}
    dashes = {arm: mark.dashes or "" for arm, mark in marks.items()}
    common: dict[str, Any] = {"x": "epoch", "y": "accuracy", "estimator": None, "legend": False, "ax": axes}
    runs, means = (summary[summary["kind"] == kind] for kind in ("run", "mean"))
    coloured: dict[str, Any] = {"hue": "arm", "palette": palette}
    for arm, rows in runs.groupby("arm", sort=False):
        # One collection per arm: a separate line for each of a thousand runs takes ten times as long.
        ends = np.flatnonzero(rows["run_id"].to_numpy()[1:] != rows["run_id"].to_numpy()[:-1]) + 1
        lines = np.split(rows[["epoch", "accuracy"]].to_numpy(dtype=float), ends)
        alpha = 0.3 if len(marks) <= _FEW else 0.15
        axes.add_collection(LineCollection(lines, colors=palette[str(arm)], alpha=alpha, linewidths=0.6))
    for arm, rows in summary[summary["kind"] == "spread"].groupby("arm", sort=False):
        axes.fill_between(rows["epoch"], rows["lower"], rows["upper"], color=palette[str(arm)], alpha=0.08, linewidth=0)
    axes.autoscale_view()
    for arm, rows in means[means["n"] >= _BAND].groupby("arm", sort=False):
        axes.fill_between(rows["epoch"], rows["lower"], rows["upper"], color=palette[str(arm)], alpha=0.15, linewidth=0)
    if len(means):
        sns.lineplot(means, style="arm", dashes=dashes, linewidth=1.6, **coloured, **common)
    for arm, rows in summary[summary["kind"] == "selected"].groupby("arm", sort=False):
        mark = marks[str(arm)]
        style = {"marker": mark.marker, "edgecolors": PAPER, "linewidths": 0.5, "zorder": 4}
        axes.scatter(rows["epoch"], rows["accuracy"], s=20, c=mark.colour, **style)  # type: ignore[arg-type]
    styles = _reported(summary)
    for arm, rows in summary[summary["kind"] == "reported"].groupby("arm", sort=False):
        axes.plot(rows["epoch"], rows["accuracy"], color=MUTED, linewidth=1, linestyle=styles[str(arm)])


def _reported(summary: pd.DataFrame) -> dict[str, Any]:
    """Return the line style of every arm in the claim's own log."""
    arms = summary.loc[summary["kind"] == "reported", "arm"].unique()
    return {str(arm): (0, _DOTS[i % len(_DOTS)]) for i, arm in enumerate(arms)}


def caption(summary: pd.DataFrame, alpha: float = 0.05, measure: PrimaryMeasure = ACCURACY) -> str:
    """Return the number of runs, what is drawn, and the range of the selected epochs."""
    runs = summary.loc[summary["kind"] == "run", "run_id"].nunique()
    spread = summary[summary["kind"] == "spread"]
    if not runs and spread.empty:
        return "No run has completed an epoch yet."
    chosen = summary.loc[(summary["kind"] == "selected") & (summary["panel"] == "test"), "epoch"]
    low, high = _limits(summary, measure)
    banded = summary[(summary["kind"] == "mean") & (summary["n"] >= _BAND)]
    cut = bool((banded["lower"] < low).any() or (banded["upper"] > high).any())
    band = f" with its {number_format.level(alpha)} t interval" if len(banded) else ""
    cuts = " Intervals that extend beyond the range of the curves are cut off at the edge of the axis." if cut else ""
    cuts += _left_grey(summary)
    means = f"the mean of each arm's finished runs{band}, for epochs that all these runs reached"
    if len(spread):
        return f"The middle 90 % of each arm's runs (pale), and {means} (line).{cuts}"
    return f"{counted(runs, 'run')} (thin); {means} (thick); and the reported {_span(chosen)} (markers).{cuts}"


def _left_grey(summary: pd.DataFrame) -> str:
    """Return a sentence on which arms are drawn in full; empty if all are."""
    arms = list(dict.fromkeys(summary.loc[summary["kind"] != "reported", "arm"]))
    shown = highlighted(summary, arms)
    if shown == arms:
        return ""
    look = "thin gray lines" if len(arms) - len(shown) <= _GREY else "a gray band that contains their middle 90 %"
    return (
        f" Of {len(arms)} arms, the first {_FIRST} in the plan, the {_BEST} best and the {_WORST} worst are drawn in "
        f"full; the means of the other arms are drawn as {look}."
    )


def _span(epochs: pd.Series) -> str:
    if epochs.nunique() < 2:
        return f"epoch {epochs.iloc[0]}" if len(epochs) else "epochs"
    return f"epochs, {epochs.min()} to {epochs.max()}"
