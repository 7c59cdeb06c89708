"""The contribution of each switch: ladders between two arms, and Shapley values over all combinations of switches.

A study with two-level factors (design ``ladder`` or ``full_factorial``) has arms that differ in some of the switches.
The gap between all switches off and all switches on is split among the switches. Along a ladder, a switch contributes
the difference at its step, which depends on the order of the steps. If every combination was run, Shapley's (1953)
value is the mean contribution of a switch over all orders. Every part is a linear contrast of arms within a seed, so it
has a paired t interval, and the parts add up to the gap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import pandas as pd

from analysis.plan import Arm, Plan
from analysis.primary_measure import PrimaryMeasure
from analysis.statistics.interval import Interval, t_interval
from analysis.statistics.paired import OUTCOMES

Switches = frozenset[str]
REMAINDER = "remainder"


@dataclass(frozen=True)
class Part:
    """The contribution of one switch.

    Attributes
    ----------
    switch : name of the factor; ``remainder`` for what switches contribute only in combination; ``gap`` for the entire
        gap.
    order : position in the ladder, from 1; 0 if there is no order.
    interval : interval for the contrast over seeds, in pp.
    """

    switch: str
    order: int
    interval: Interval


@dataclass(frozen=True)
class Attribution:
    """The gap between all switches off and all switches on, split among the switches.

    Attributes
    ----------
    method : ``ladder: a, b, c`` with the order of its steps, ``Shapley``, or ``one at a time``.
    start, end : names of the arms with all switches off and with all switches on.
    parts : one per switch, in order, and the remainder for single switches; the parts add up to the gap.
    gap : the entire gap.
    """

    method: str
    start: str
    end: str
    parts: tuple[Part, ...]
    gap: Interval


def attributions(runs: pd.DataFrame, plan: Plan) -> tuple[Attribution, ...]:
    """Return the attribution by Shapley values if all combinations exist, by every ladder, and by single switches.

    Each method uses the seeds for which all its arms were run, and is omitted with fewer than two such seeds.
    """
    arms = _combinations(plan)
    names = _switches(plan)
    if len(names) < 2 or frozenset() not in arms or frozenset(names) not in arms:
        return ()
    table = _values(runs, list(arms.values()), plan.measure)
    found = [_ladder(table, arms, order, plan.looks.alpha) for order in _ladders(arms, names)]
    if all(frozenset([name]) in arms for name in names):
        found.append(_alone(table, arms, names, plan.looks.alpha))
    if len(arms) == 2 ** len(names):
        found.insert(0, _shapley(table, arms, names, plan.looks.alpha))
    return tuple(a for a in found if a.gap.n > 1)


def interactions(runs: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Return first, second, n, mean, lower and upper for every interaction of two switches with the others off, in pp.

    An interaction is (both on - one on) - (other on - none on), that is, how much the gain from one switch depends on
    the other. It is listed only if these four arms exist.
    """
    arms, rows = _combinations(plan), []
    table = _values(runs, list(arms.values()), plan.measure)
    for pair in combinations(_switches(plan), 2):
        wanted: list[Switches] = [frozenset(pair), frozenset(pair[:1]), frozenset(pair[1:]), frozenset()]
        if all(combination in arms for combination in wanted):
            both, one, other, none = (table[arms[combination]] for combination in wanted)
            found = t_interval((both - one - other + none).dropna(), plan.looks.alpha)
            rows.append((*pair, found.n, found.mean, found.lower, found.upper))
    types = {"first": "str", "second": "str", "n": "int64"} | dict.fromkeys(("mean", "lower", "upper"), "float64")
    return pd.DataFrame(rows, columns=list(types)).astype(types)


def _levels(plan: Plan) -> dict[str, list[str]]:
    """Return the levels of every factor, beginning with the baseline's level, which counts as off."""
    levels: dict[str, list[str]] = {}
    for arm in sorted(plan.arms, key=lambda arm: arm.role != "baseline"):
        for factor, level in arm.levels.items():
            known = levels.setdefault(factor, [])
            if level not in known:
                known.append(level)
    return levels


def _switches(plan: Plan) -> list[str]:
    """Return the factors if all have two levels; otherwise none, because arms would differ in more than switches."""
    levels = _levels(plan)
    return list(levels) if all(len(known) == 2 for known in levels.values()) else []


def _combinations(plan: Plan) -> dict[Switches, str]:
    """Return the arm for every combination of switches, given as the set of switches that are on."""
    levels, names = _levels(plan), set(_switches(plan))
    found: dict[Switches, str] = {}
    for arm in plan.arms:
        if arm.levels and set(arm.levels) >= names:
            found.setdefault(_on(arm, levels, names), arm.name)
    return found


def _on(arm: Arm, levels: Mapping[str, list[str]], names: set[str]) -> Switches:
    return frozenset(name for name in names if arm.levels[name] == levels[name][1])


def _values(runs: pd.DataFrame, arms: Sequence[str], measure: PrimaryMeasure) -> pd.DataFrame:
    """Return the measure in its unit, with one row per seed and one column per arm; negated where lower is better."""
    rows = runs[runs["arm"].isin(arms) & runs["status"].isin(OUTCOMES)]
    table = rows.pivot_table(index="seed", columns="arm", values=measure.column, observed=True)
    return (-1 if measure.lower_is_better else 1) * measure.scale * table.reindex(columns=list(arms)).astype("float64")


def _ladders(arms: Mapping[Switches, str], names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the plan's order of the switches and its reverse, each only if all its steps exist."""
    orders = [tuple(names), tuple(reversed(names))]
    return [order for order in orders if all(frozenset(order[:count]) in arms for count in range(len(order) + 1))]


def _ladder(table: pd.DataFrame, arms: Mapping[Switches, str], order: tuple[str, ...], alpha: float) -> Attribution:
    steps = [arms[frozenset(order[:count])] for count in range(len(order) + 1)]
    whole = table[steps].dropna()
    parts = tuple(
        Part(switch, number, t_interval(whole[after] - whole[before], alpha))
        for number, (switch, (before, after)) in enumerate(zip(order, pairwise(steps), strict=True), start=1)
    )
    gap = t_interval(whole[steps[-1]] - whole[steps[0]], alpha)
    return Attribution(f"ladder: {', '.join(order)}", steps[0], steps[-1], parts, gap)


def _alone(table: pd.DataFrame, arms: Mapping[Switches, str], names: Sequence[str], alpha: float) -> Attribution:
    """Return the contribution of each switch alone, and the remainder that switches contribute only in combination."""
    start, end = arms[frozenset()], arms[frozenset(names)]
    own = [arms[frozenset([name])] for name in names]
    whole = table[[start, *own, end]].dropna()
    gains = [whole[arm] - whole[start] for arm in own]
    gap = whole[end] - whole[start]
    parts = [Part(name, 0, t_interval(gain, alpha)) for name, gain in zip(names, gains, strict=True)]
    parts.append(Part(REMAINDER, 0, t_interval(gap - sum(gains), alpha)))
    return Attribution("one at a time", start, end, tuple(parts), t_interval(gap, alpha))


def _shapley(table: pd.DataFrame, arms: Mapping[Switches, str], names: Sequence[str], alpha: float) -> Attribution:
    whole, count, parts = table.dropna(), len(names), []
    for name in names:
        others = [other for other in names if other != name]
        earned = pd.Series(0.0, index=whole.index)
        for size in range(count):
            weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
            for before in combinations(others, size):
                gain = whole[arms[frozenset((*before, name))]] - whole[arms[frozenset(before)]]
                earned = earned + weight * gain
        parts.append(Part(name, 0, t_interval(earned, alpha)))
    start, end = arms[frozenset()], arms[frozenset(names)]
    return Attribution("Shapley", start, end, tuple(parts), t_interval(whole[end] - whole[start], alpha))


def table_of(found: Sequence[Attribution]) -> pd.DataFrame:
    """Return method, switch, order, n, mean, lower and upper in pp, with each method's gap last."""
    rows = [
        (
            a.method,
            part.switch,
            part.order,
            part.interval.n,
            part.interval.mean,
            part.interval.lower,
            part.interval.upper,
        )
        for a in found
        for part in (*a.parts, Part("gap", 0, a.gap))
    ]
    types = dict.fromkeys(("method", "switch"), "str") | dict.fromkeys(("order", "n"), "int64")
    types |= dict.fromkeys(("mean", "lower", "upper"), "float64")
    return pd.DataFrame(rows, columns=list(types)).astype(types)
