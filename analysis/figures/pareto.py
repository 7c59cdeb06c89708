"""The Pareto front: which arms are the most accurate for their size or cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from aimlib.errors import UsageError, counted, unknown_name
from analysis.figures.arm_names import arm_labels
from analysis.figures.canvas import SMALL, rule, styled
from analysis.figures.levels import number_text
from analysis.figures.measured import (
    Measure,
    bars,
    by_arm,
    explained,
    left_out,
    legend_above,
    measure_of,
    measured_runs,
    named_arms,
    panels,
    without_wide_intervals,
)
from analysis.figures.palette import INK, MUTED, PAPER
from analysis.results import Results, Studies
from analysis.statistics.interval import t_interval
from analysis.wording import number_format

TITLE = "Pareto front"
COSTS = {"parameters": "Parameters", "multiply_adds": "Multiply-adds", "seconds": "Seconds per epoch"}
_SENTENCE = {"parameters": "parameters", "multiply_adds": "multiply-adds", "seconds": "seconds per epoch"}
_STATES = ("front", "undecided", "dominated")
_TIED = "#0072b2"
_PREFIXES = {1e9: "G", 1e6: "M", 1e3: "k"}
_FEW = 60
"""With more arms than this behind the front, these arms are drawn as counts in hexagons."""
_WIDE = 20
"""The axis is logarithmic if the largest cost is at least this many times the smallest."""
_NAMED = 12
"""Maximum number of arms on a front that the caption names."""
_TYPES: dict[str, Any] = (
    {"cost": "str", "arm": "str", "n": "int64"}
    | dict.fromkeys(("amount", "mean", "lower", "upper"), "float64")
    | {"state": "str", "dominated_by": "str", "pairs": "int64"}
    | dict.fromkeys(("behind", "behind_lower", "behind_upper"), "float64")
)


def pareto(
    results: Results | Studies,
    cost: str | Sequence[str] = tuple(COSTS),
    *,
    value: str | None = None,
    alpha: float = 0.05,
    ax: Axes | None = None,
) -> Figure:
    """Draw a study's arms by cost and measure, with their Pareto front, and return the figure.

    Parameters
    ----------
    cost : ``parameters``, ``multiply_adds``, ``seconds`` (per epoch), or several of these, with one panel each.
    value : column of `runs`; see `measured.measure_of` for the default.
    ax : axes to draw on; None: a new figure with a title and a caption.

    Raises
    ------
    UsageError: a cost or column is unknown, or no arm has both numbers.
    """
    costs = [cost] if isinstance(cost, str) else list(cost)
    measure = measure_of(results, value)
    runs = named_arms(results)
    summary = summarise(runs, measure, costs, alpha)
    if summary.empty:
        raise UsageError(f"no run has {measure.short} and {' or '.join(costs)} yet; there is nothing to draw")
    figure = draw(summary, measure, ax)
    if ax is not None:
        return figure
    return explained(figure, TITLE, caption(summary, measure, alpha) + left_out(results, runs, summary))


def summarise(
    runs: pd.DataFrame, measure: Measure, costs: Sequence[str] = tuple(COSTS), alpha: float = 0.05
) -> pd.DataFrame:
    """Return one row per cost and arm, from the cheapest to the most expensive arm.

    Every arm behind the front is compared with the best arm on the front that does not cost more. Runs with the same
    seed are paired.

    Returns
    -------
    cost, arm, n (runs), amount (number, or seconds per epoch), mean, lower, upper (of the measure over runs), state
    (``front``: no other arm is better at no higher cost, or as good at a lower cost; ``dominated``: the interval for
    the paired difference shows that the arm is worse; ``undecided``: the arm is worse on average, but the interval
    contains 0 or needs more pairs), dominated_by, pairs, and behind with its interval. The interval is adjusted for all
    pairs of arms with that cost, because the arm with which others are compared is chosen by its mean.

    Raises
    ------
    UsageError: a cost is not among `COSTS`.
    """
    for name in costs:
        if name not in COSTS:
            raise UsageError(unknown_name("cost", name, COSTS))
    means = by_arm(runs, measure, alpha)
    own = measured_runs(runs, measure)
    table = own.pivot_table(index="seed", columns="arm", values="measured", sort=False)
    parts = [_judged(means.assign(cost=name, amount=means["arm"].map(_amounts(own, name))), table, measure, alpha)
             for name in costs]  # fmt: skip
    return pd.concat(parts, ignore_index=True)[list(_TYPES)].astype(_TYPES)


def _amounts(runs: pd.DataFrame, cost: str) -> dict[str, float]:
    values = runs[cost].astype("Float64").astype("float64")
    if cost == "seconds":
        epochs = runs["epochs_run"].astype("Float64").astype("float64")
        values = values / epochs.where(epochs > 0)
    return {str(arm): mean for arm, mean in values.groupby(runs["arm"]).mean().items()}


def _judged(arms: pd.DataFrame, table: pd.DataFrame, measure: Measure, alpha: float) -> pd.DataFrame:
    """Return the arms for one cost with their states."""
    sign = -1.0 if measure.lower_is_better else 1.0
    arms = arms[arms["amount"].notna()].assign(good=sign * arms["mean"])
    arms = arms.sort_values(["amount", "good"], ascending=[True, False], kind="stable", ignore_index=True)
    reference = _references(arms["amount"].to_numpy(), arms["good"].to_numpy())
    level = alpha / max(1, len(arms) * (len(arms) - 1) // 2)
    found = []
    values = sign * table[arms["arm"].tolist()].to_numpy(dtype=float)
    for at, other in enumerate(reference):
        if other == at:
            found.append(("front", "", 0, np.nan, np.nan, np.nan))
            continue
        gaps = values[:, other] - values[:, at]
        known = t_interval(gaps[np.isfinite(gaps)], level)
        state = "dominated" if known.lower > 0 else "undecided"
        found.append((state, arms["arm"].iloc[other], known.n, known.mean, known.lower, known.upper))
    names = ["state", "dominated_by", "pairs", "behind", "behind_lower", "behind_upper"]
    return pd.concat([arms, pd.DataFrame(found, columns=names)], axis="columns")


def _references(amounts: Any, good: Any) -> list[int]:
    """Return, for every arm, cheapest first, the best arm that dominates it, or the arm itself if it is on the front.

    Arms with equal costs and equal measures are on the front together.
    """
    found, best = [], -1
    for at in range(len(amounts)):
        ahead = best >= 0 and good[best] >= good[at]
        equal = ahead and good[best] == good[at] and amounts[best] == amounts[at]
        if ahead and not equal:
            found.append(best)
        else:
            found.append(at)
            best = at
    return found


@styled
def draw(summary: pd.DataFrame, measure: Measure, ax: Axes | None = None) -> Figure:
    """Return the figure for a summary that has rows: one panel per cost, in place of `ax` if that is given."""
    costs = list(dict.fromkeys(summary["cost"]))
    figure, axes = panels(ax, 1, len(costs), 3.1)
    numbers = numbered(summary)
    barred = summary[(summary["state"] == "front") & (summary["n"] > 2)]
    limits = without_wide_intervals(barred, also=summary["mean"])
    for at, (each, cost) in enumerate(zip(axes, costs, strict=True)):
        _draw_panel(each, summary[summary["cost"] == cost], numbers, limits, COSTS[cost])
        each.set_ylabel(measure.words if at == 0 else "")
        if at:
            each.tick_params(labelleft=False)
    legend_above(axes, _legend(summary))
    return figure


def numbered(summary: pd.DataFrame) -> dict[str, int]:
    """Return the number of every arm on a front, from 1, in the order in which the panels show the arms."""
    arms = summary.loc[summary["state"] == "front", "arm"]
    return {arm: number for number, arm in enumerate(dict.fromkeys(arms), start=1)}


def _draw_panel(
    axes: Axes, rows: pd.DataFrame, numbers: Mapping[str, int], limits: tuple[float, float], words: str
) -> None:
    factor, prefix = _prefix(rows["amount"])
    rows = rows.assign(amount=rows["amount"] / factor)
    front, tied, lost = (rows[rows["state"] == state] for state in _STATES)
    axes.set_ylim(*limits)
    _scale(axes, rows["amount"])
    many = _too_many(rows)
    if many:
        _count(axes, pd.concat([lost, tied]))
    else:
        axes.scatter(lost["amount"], lost["mean"], marker="x", s=14, color=MUTED, linewidths=0.8, zorder=2)
        style: dict[str, Any] = {"facecolors": PAPER, "edgecolors": _TIED, "linewidths": 0.9}
        axes.scatter(tied["amount"], tied["mean"], marker="D", s=14, zorder=3, **style)
    axes.step(front["amount"], front["mean"], where="post", color=INK, linewidth=1.1, zorder=2.5)
    axes.scatter(front["amount"], front["mean"], marker="o", s=24, color=INK, zorder=4)
    bars(axes, front[front["n"] > 2], "amount", limits, INK)
    _write_numbers(axes, front, numbers)
    axes.set_xlabel(f"{words}{prefix}")
    rule(axes, "y")


def _too_many(rows: pd.DataFrame) -> bool:
    """Return whether so many arms lie behind the front for one cost that their marks would overlap."""
    return int((rows["state"] != "front").sum()) > _FEW


def _prefix(amounts: pd.Series) -> tuple[float, str]:
    """Return the divisor for the numbers on an axis, and its wording in the label."""
    return next(((each, f", {sign}") for each, sign in _PREFIXES.items() if amounts.max() >= each), (1.0, ""))


def _count(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw the density of arms as gray hexagons within the axis limits."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    across = np.log10([left, right]) if axes.get_xscale() == "log" else (left, right)
    drawn = axes.hexbin(
        rows["amount"],
        rows["mean"],
        gridsize=(22, 16),
        extent=(across[0], across[1], low, high),
        xscale="log" if axes.get_xscale() == "log" else "linear",
        mincnt=1,
        cmap="Greys",
        linewidths=0.2,
        zorder=1.5,
    )
    most = float(np.max(np.asarray(drawn.get_array())))
    drawn.set_clim(-1, max(8.0, 1.3 * most))  # a single arm stays pale, and the front is darkest
    axes.set(xlim=(left, right), ylim=(low, high))


def _scale(axes: Axes, amounts: pd.Series) -> None:
    low, high = float(amounts.min()), float(amounts.max())
    if low > 0 and high / low >= _WIDE:
        axes.set_xscale("log")
        axes.set_xlim(low * (low / high) ** 0.12, high * (high / low) ** 0.12)
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=6))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: number_text(place)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        return
    room = 0.14 * (high - low) or 0.05 * abs(high) or 1.0
    axes.set_xlim(low - room, high + room)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.ticklabel_format(axis="x", useOffset=False, style="plain")


def _write_numbers(axes: Axes, front: pd.DataFrame, numbers: Mapping[str, int]) -> None:
    """Write the number of every arm next to its point; points that are too close together share one label."""
    shown = axes.transAxes.inverted().transform(
        axes.transData.transform(front[["amount", "mean"]].to_numpy(dtype=float))
    )
    groups: list[list[int]] = []
    for at in range(len(front)):
        if groups and abs(shown[at] - shown[groups[-1][0]]).max() < 0.09:
            groups[-1].append(at)
        else:
            groups.append([at])
    for group in groups:
        own = [numbers[front["arm"].iloc[at]] for at in group]
        row = front.iloc[group[0]]
        style: dict[str, Any] = {"textcoords": "offset points", "ha": "right", "va": "bottom", "fontsize": SMALL}
        axes.annotate(_runs_of(own), (row["amount"], row["mean"]), (-3, 2), zorder=5, **style)


def _runs_of(numbers: Sequence[int]) -> str:
    """Return ``3`` or ``3–5``; numbers that are not consecutive are listed."""
    if len(numbers) > 2 and list(numbers) == list(range(numbers[0], numbers[0] + len(numbers))):
        return f"{numbers[0]}–{numbers[-1]}"
    return ",".join(map(str, numbers)) if len(numbers) <= 3 else f"{numbers[0]},…,{numbers[-1]}"


def _legend(summary: pd.DataFrame) -> dict[str, Any]:
    looks = {
        "front": ("front", {"marker": "o", "color": INK, "linewidth": 1.1}),
        "undecided": (
            "not distinguishable from the front",
            {"marker": "D", "color": _TIED, "markerfacecolor": PAPER, "linestyle": "none"},
        ),
        "dominated": ("dominated", {"marker": "x", "color": MUTED, "linestyle": "none"}),
    }
    crowded = [cost for cost, rows in summary.groupby("cost") if _too_many(rows)]
    plain = summary[~summary["cost"].isin(crowded)]
    handles: dict[str, Any] = {
        words: Line2D([], [], markersize=4, **style)  # type: ignore[arg-type]
        for state, (words, style) in looks.items()
        if state == "front" or (plain["state"] == state).any()
    }
    if crowded:
        hexagon = Line2D([], [], marker="h", color="#a0a0a0", markersize=6, linestyle="none")
        handles["behind the front (darker: more arms)"] = hexagon
    return handles


def caption(summary: pd.DataFrame, measure: Measure, alpha: float = 0.05) -> str:
    """Return which arms are on each front, and how many are dominated or not distinguishable from the front."""
    if summary.empty:
        return f"No run has both {measure.short} and a cost yet."
    every = summary["arm"].nunique()
    better = "lower" if measure.lower_is_better else "higher"
    text = (
        f"Mean {measure.short} for {counted(every, 'arm')} ({_runs_per_arm(summary)}). An arm is on the front if no "
        f"other arm has a {better} value at no higher cost. "
    )
    for cost in dict.fromkeys(summary["cost"]):
        states = summary.loc[summary["cost"] == cost, "state"]
        counts = [int((states == state).sum()) for state in _STATES]
        text += "By {}: {} on the front, {} not distinguishable from the front, {} dominated. ".format(
            _SENTENCE[cost], *counts
        )
    text += (
        "Each arm behind the front is compared with the best arm on the front that does not cost more. It is "
        f"dominated if the interval for the paired difference excludes 0 ({number_format.level(alpha)}, adjusted for "
        "all pairs of arms, because any of them may be the best)."
    )
    if (summary.loc[summary["state"] == "front", "n"] > 2).any():
        text += f" Bars: {number_format.level(alpha)} t interval for the mean."
    return f"{text} {_named(summary)}"


def _named(summary: pd.DataFrame) -> str:
    numbers = numbered(summary)
    short = arm_labels(summary["arm"].drop_duplicates().tolist(), 60, 1)
    named = [f"{number} {short[arm]}" for arm, number in numbers.items() if number <= _NAMED]
    left = len(numbers) - len(named)
    return f"Front: {'; '.join(named)}" + (f"; and {left} more, which are listed in the CSV file." if left else ".")


def _runs_per_arm(summary: pd.DataFrame) -> str:
    low, high = int(summary["n"].min()), int(summary["n"].max())
    return f"{counted(low, 'run')} each" if low == high else f"{low} to {counted(high, 'run')} each"
