"""Experimental designs: which combinations of factor levels become arms."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Levels = Mapping[str, Sequence[Any]]
Combination = dict[str, Any]
"""Key path of every factor that is set, with its level."""


def full_factorial(levels: Levels) -> list[Combination]:
    """Return every combination of one level of each factor."""
    return [dict(zip(levels, chosen, strict=True)) for chosen in itertools.product(*levels.values())]


def one_at_a_time(levels: Levels) -> list[Combination]:
    """Return each level of each factor alone, the other factors staying as they are in the arm that is varied."""
    return [{path: level} for path, choices in levels.items() for level in choices]


DESIGNS: dict[str, Callable[[Levels], list[Combination]]] = {
    "full_factorial": full_factorial,
    "one_at_a_time": one_at_a_time,
}


def label(combination: Combination) -> str:
    """Return a name for a combination: the last part of each key path with its level, e.g. ``channels=16``."""
    return ",".join(f"{path.rpartition('.')[2]}={_text(level)}" for path, level in combination.items())


def _text(level: Any) -> str:
    if isinstance(level, dict):
        options = "/".join(f"{key}={_text(value)}" for key, value in level.items() if key != "name")
        return "/".join(filter(None, [str(level.get("name", "")), options]))
    if isinstance(level, (list, tuple)):
        return "-".join(map(_text, level))
    return "none" if level is None else str(level)
