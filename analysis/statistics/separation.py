"""Whether arms were computed separately, in time or on machines, although their runs could have been mixed.

The rule has two conditions. First, some arms do not overlap with the others at all. Second, if the runs were assigned
at random to arms of these sizes, such a separation would have a probability below `LEVEL`. The probability is corrected
for the number of ways to divide the arms. With k arms, the smaller side of a division has 1 to k // 2 arms. These sizes
share the level equally, and all divisions with the same size share that part (weighted Bonferroni). The joint error
rate over all divisions is therefore at most `LEVEL`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

LEVEL = 0.01
"""Maximum probability that arms whose runs were mixed at random are called separated."""
_DAY_S = 86_400
_MOST_HOSTS = 100
"""With more machines, the probability is not computed: each run may have its own machine, as in a cluster of pods."""


@dataclass(frozen=True)
class Separation:
    """Two groups of arms without overlap.

    Attributes
    ----------
    first, second : names of the arms; in time, all runs of `first` came before those of `second`.
    p : probability of such a separation by chance, corrected for the number of divisions.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]
    p: float


def in_time(runs: pd.DataFrame) -> Separation | None:
    """Return arms whose runs all ended before the others began; None if arms overlap or chance explains the separation.

    Parameters
    ----------
    runs : arm, started_at and finished_at of every run; runs without times are ignored.
    """
    known = runs.dropna(subset=["started_at", "finished_at"])
    spans = known.groupby("arm", sort=False).agg(begin=("started_at", "min"), end=("finished_at", "max"))
    spans = spans.sort_values(["begin", "end"])
    arms, number = [str(arm) for arm in spans.index], known["arm"].value_counts()
    found = []
    for cut in range(1, len(arms)):
        if spans["end"].iloc[:cut].max() <= spans["begin"].iloc[cut]:
            before, after = tuple(arms[:cut]), tuple(arms[cut:])
            size = int(number[list(before)].sum())
            found.append(Separation(before, after, _corrected(2, len(known), size, before, after)))
    return _clearest(found)


def on_machines(runs: pd.DataFrame) -> Separation | None:
    """Return arms that do not share a machine with the others; None if machines link all arms, or chance explains it.

    Parameters
    ----------
    runs : arm and host of every run; runs without a host are ignored.
    """
    known = runs.dropna(subset=["host"])
    sizes = known["host"].value_counts().tolist()
    groups = _linked(known)
    if len(groups) < 2 or len(sizes) > _MOST_HOSTS:
        return None
    number = known["arm"].value_counts()
    every = [str(arm) for arm in dict.fromkeys(known["arm"])]
    found = []
    for group in groups:
        rest = tuple(arm for arm in every if arm not in group)
        size = int(number[list(group)].sum())
        found.append(Separation(group, rest, _corrected(_subsets(sizes, size), len(known), size, group, rest)))
    return _clearest(found)


def at_times_of_day(runs: pd.DataFrame) -> Separation | None:
    """Return an arm whose runs all began in one part of the day while all other runs began in the other part.

    The day is treated as a circle, so the time zone does not matter. Runs are compared only if they extend over more
    than a day.

    Parameters
    ----------
    runs : arm and started_at of every run.
    """
    known = runs.dropna(subset=["started_at"]).sort_values("started_at")
    if known.empty or (known["started_at"].iloc[-1] - known["started_at"].iloc[0]).total_seconds() <= _DAY_S:
        return None
    seconds = (known["started_at"] - known["started_at"].dt.normalize()).dt.total_seconds()
    around = known["arm"].loc[seconds.sort_values(kind="stable").index].tolist()
    arms = [str(arm) for arm in dict.fromkeys(known["arm"])]
    found = []
    for arm in arms if len(arms) > 1 else ():
        inside = [each == arm for each in around]
        if sum(a != b for a, b in zip(inside, [*inside[1:], inside[0]], strict=True)) == 2:
            rest = tuple(other for other in arms if other != arm)
            found.append(Separation((arm,), rest, _corrected(len(inside), len(inside), sum(inside), (arm,), rest)))
    return _clearest(found)


def _corrected(ways: int, total: int, size: int, first: Sequence[str], second: Sequence[str]) -> float:
    """Return the probability of a separation that `ways` assignments produce, corrected for the arms' divisions."""
    smaller, number = min(len(first), len(second)), len(first) + len(second)
    divisions = math.comb(number, smaller) // (2 if 2 * smaller == number else 1)
    return min(1.0, ways / math.comb(total, size) * divisions * (number // 2))


def _clearest(found: list[Separation]) -> Separation | None:
    below = [each for each in found if each.p < LEVEL]
    return min(below, key=lambda each: each.p, default=None)


def _linked(runs: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return the groups of arms that are linked by shared machines."""
    groups: list[tuple[set[str], set[str]]] = []
    for arm, hosts in runs.groupby("arm", sort=False)["host"].unique().items():
        arms, machines = {str(arm)}, set(hosts)
        for group in [each for each in groups if each[1] & machines]:
            groups.remove(group)
            arms, machines = arms | group[0], machines | group[1]
        groups.append((arms, machines))
    order = {str(arm): place for place, arm in enumerate(dict.fromkeys(runs["arm"]))}
    return [tuple(sorted(arms, key=order.__getitem__)) for arms, _ in groups]


def _subsets(sizes: list[int], total: int) -> int:
    """Return in how many ways machines with these numbers of runs can have `total` runs together."""
    ways = Counter({0: 1})
    for size in sizes:
        for reached, number in list(_within(ways, total - size)):
            ways[reached + size] += number
    return ways[total]


def _within(ways: Counter[int], most: int) -> Iterator[tuple[int, int]]:
    return ((reached, number) for reached, number in ways.items() if reached <= most)
