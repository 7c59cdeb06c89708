"""Experimental designs: which combinations of factor levels become arms."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Levels = Mapping[str, Sequence[Any]]
Combination = dict[str, Any]
"""Levels by factor name; factors that are not in the mapping stay unchanged."""


def full_factorial(levels: Levels) -> list[Combination]:
    """Return every combination of one level of each factor."""
    return [dict(zip(levels, chosen, strict=True)) for chosen in itertools.product(*levels.values())]


def one_at_a_time(levels: Levels) -> list[Combination]:
    """Return each level of each factor as its own combination, in which the other factors stay unchanged."""
    return [{factor: level} for factor, choices in levels.items() for level in choices]


def ladder(levels: Levels) -> list[Combination]:
    """Return two ladders that switch the factors from the first level to the last, one by one, in opposite orders.

    A factor's contribution may depend on the factors that were switched before it; the two orders show how much.
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
    """Return the combination of all last levels, and the combinations with one factor reset to its first level."""
    whole = {factor: choices[-1] for factor, choices in levels.items()}
    return [whole, *({**whole, factor: choices[0]} for factor, choices in levels.items())]


DESIGNS: dict[str, Callable[[Levels], list[Combination]]] = {
    "full_factorial": full_factorial,
    "one_at_a_time": one_at_a_time,
    "ladder": ladder,
    "leave_one_out": leave_one_out,
}

TWO_LEVELS = frozenset({"ladder", "leave_one_out", "fractional_factorial"})
"""Designs that switch factors from a first level to a last one, so every factor must have exactly two levels."""


def factor_labels(factors: Iterable[str]) -> dict[str, str]:
    """Return each factor's label in arm names: the shortest suffix of its key path that no other factor shares.

    ``training.early_stopping.patience`` becomes ``patience``, or ``early_stopping.patience`` if
    ``training.schedule.patience`` is also a factor.
    """
    ends = {factor: _ends(factor) for factor in factors}
    counts = Counter(end for each in ends.values() for end in each)
    return {factor: next((end for end in each if counts[end] == 1), factor) for factor, each in ends.items()}


def _ends(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]


def label(combination: Combination, names: Mapping[str, str] | None = None) -> str:
    """Return a name for a combination: each factor with its level, e.g. ``channels=16,update=none``.

    Parameters
    ----------
    names : labels of the study's factors, from `factor_labels`; by default they are derived from the combination.
    """
    names = factor_labels(combination) if names is None else names
    return ",".join(f"{names[factor]}={level_text(level)}" for factor, level in combination.items())


_YES = frozenset({"on", "yes", "with", "true", "enabled", "present"})
_NO = frozenset({"off", "no", "without", "false", "none", "null", "disabled", "absent", "not"})


def switched_on(labels: Sequence[str]) -> str | None:
    """Return which of two labels means that a factor is on, or None if neither does.

    A label that begins with a word such as ``on``, ``yes`` or ``with`` means on. If a label begins with a word such as
    ``off``, ``no`` or ``none``, the other label means on. If neither label begins with such a word, the last label
    means on.
    """
    first, last = (_meaning(label) for label in labels)
    if first == last:
        return labels[1] if first is None else None
    if first is False or last is True:
        return labels[1]
    if last is False:
        return labels[0]
    return None  # the first label means on, and the last label means neither on nor off


def _meaning(label: str) -> bool | None:
    word = re.split(r"[\s_-]", label.strip().casefold(), maxsplit=1)[0]
    return True if word in _YES else False if word in _NO else None


def level_text(level: Any) -> str:
    """Return a level as it appears in arm names."""
    if isinstance(level, dict):
        options = "/".join(f"{key}={level_text(value)}" for key, value in level.items() if key != "name")
        return "/".join(filter(None, [str(level.get("name", "")), options]))
    if isinstance(level, (list, tuple)):
        return "-".join(map(level_text, level))
    return "none" if level is None else str(level)
