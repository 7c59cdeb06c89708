"""Experimental designs: which combinations of factor levels become arms."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Levels = Mapping[str, Sequence[Any]]
Combination = dict[str, Any]
"""Name of every factor that is set, with its level."""


def full_factorial(levels: Levels) -> list[Combination]:
    """Return every combination of one level of each factor."""
    return [dict(zip(levels, chosen, strict=True)) for chosen in itertools.product(*levels.values())]


def one_at_a_time(levels: Levels) -> list[Combination]:
    """Return each level of each factor alone, the other factors staying as they are in the arm that is varied."""
    return [{factor: level} for factor, choices in levels.items() for level in choices]


def ladder(levels: Levels) -> list[Combination]:
    """Return two ladders from the first levels to the last ones: one factor after the other, in both orders.

    Each rung switches one factor more: in the order that is given, and in the reverse one. What a factor earns may
    depend on what has been switched before it; the two orders show how much.
    """
    rungs: list[Combination] = []
    for order in (list(levels), list(levels)[::-1]):
        switched = {factor: choices[0] for factor, choices in levels.items()}
        for factor in [None, *order]:
            if factor is not None:
                switched = {**switched, factor: levels[factor][-1]}
            if switched not in rungs:
                rungs.append(dict(switched))
    return rungs


def leave_one_out(levels: Levels) -> list[Combination]:
    """Return the last level of every factor, and each factor alone put back to its first one."""
    whole = {factor: choices[-1] for factor, choices in levels.items()}
    return [whole, *({**whole, factor: choices[0]} for factor, choices in levels.items())]


DESIGNS: dict[str, Callable[[Levels], list[Combination]]] = {
    "full_factorial": full_factorial,
    "one_at_a_time": one_at_a_time,
    "ladder": ladder,
    "leave_one_out": leave_one_out,
}

TWO_LEVELS = frozenset({"ladder", "leave_one_out"})
"""Designs that go from a first level to a last one, so that every factor has exactly these two."""


def label(combination: Combination) -> str:
    """Return a name for a combination: the last part of each factor's name with its level, e.g. ``channels=16``."""
    return ",".join(f"{factor.rpartition('.')[2]}={level_text(level)}" for factor, level in combination.items())


def level_text(level: Any) -> str:
    """Return a level as it stands in the names of arms."""
    if isinstance(level, dict):
        options = "/".join(f"{key}={level_text(value)}" for key, value in level.items() if key != "name")
        return "/".join(filter(None, [str(level.get("name", "")), options]))
    if isinstance(level, (list, tuple)):
        return "-".join(map(level_text, level))
    return "none" if level is None else str(level)
