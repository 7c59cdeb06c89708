"""Factors, their levels, and seeds, as given in a study file."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from ablations.spec.designs import level_text
from ablations.spec.written import as_any_of
from aimlib.records.escaping import shortened

RUN_KEYS = ("model", "data", "training", "options")
"""The parts of a run; key paths start with one of them. Only own training code has options."""
_MOST_SEEDS = 10_000


def _factors(value: Any) -> Any:
    if not isinstance(value, dict):
        raise ValueError(  # noqa: TRY004 -- pydantic turns ValueErrors into messages
            f"give a mapping from key paths to lists of levels, e.g. {{model.memory.channels: [8, 16]}}; got {value!r}"
        )
    _refuse_equal_texts("", value)
    return {str(name): _levels(str(name), levels) for name, levels in value.items()}


def _refuse_equal_texts(where: str, keys: Iterable[Any]) -> None:
    """Raise an error if keys are equal as text, such as 1 and "1"."""
    texts: dict[str, Any] = {}
    for key in keys:
        if str(key) in texts:
            raise ValueError(
                f"{where}{key}: given twice, as {texts[str(key)]!r} and as {key!r}, which are the same name; rename one"
            )
        texts[str(key)] = key


def _levels(name: str, levels: Any) -> Any:
    if isinstance(levels, dict) and levels:
        _refuse_equal_texts(f"{name}.", levels)
        return {str(label): _changes(f"{name}.{label}", changes) for label, changes in levels.items()}
    if not isinstance(levels, (list, tuple)) or not levels:
        raise ValueError(
            f"{name}: give the levels as a list, e.g. [8, 16], or as a mapping from labels to changes, e.g. "
            f"{{without: {{}}, with: {{model: {{...}}}}}}; got {levels!r}"
        )
    return tuple(levels)


def _changes(where: str, changes: Any) -> dict[str, Any]:
    if not isinstance(changes, dict) or not all(isinstance(part, dict) for part in changes.values()):
        raise ValueError(f"{where}: give the changes of this level as a mapping below {', '.join(RUN_KEYS)}")
    for key in changes:
        if key not in RUN_KEYS:
            raise ValueError(f"{where}.{key}: unknown key; known keys: {', '.join(RUN_KEYS)}")
    return changes


def _labels(value: Any) -> Any:
    if not isinstance(value, dict):
        raise ValueError(  # noqa: TRY004 -- pydantic turns ValueErrors into messages
            f"give a mapping from factors to the labels of their levels, e.g. {{memory: with}}; got {value!r}"
        )
    return {str(factor): level_text(level) for factor, level in value.items()}


def labels_of(levels: tuple[Any, ...] | dict[str, Any]) -> list[str]:
    """Return the labels of a factor's levels, as they are written in arm names."""
    return list(levels) if isinstance(levels, dict) else [level_text(level) for level in levels]


def equal_levels(levels: tuple[Any, ...] | dict[str, Any]) -> tuple[str, str] | None:
    """Return the places of the first two equal levels, as ``[0] (1)`` or ``.label``, or None if all levels differ.

    1 and 1.0 are equal, as are levels with the same label in arm names; 1 and true are not.
    """
    items = (
        [(f".{label}", changes, None) for label, changes in levels.items()]
        if isinstance(levels, dict)
        else [(f"[{number}] ({level_text(level)})", level, level_text(level)) for number, level in enumerate(levels)]
    )
    for (first, one, name), (second, other, other_name) in itertools.combinations(items, 2):
        if (name is not None and name == other_name) or _equal(one, other):
            return first, second
    return None


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


Factors = Annotated[
    dict[str, tuple[Any, ...] | dict[str, dict[str, Any]]], BeforeValidator(_factors), as_any_of({"x-factors": True})
]
"""For a key path, a tuple of levels. For a factor with its own name, a mapping from labels to changes."""

Labels = Annotated[dict[str, str] | None, BeforeValidator(_labels), as_any_of({"type": "object"})]
"""Labels of levels by factor."""


def _seeds(value: Any) -> Any:
    """Read a number of seeds as 0, 1, 2, ...; leave the items of a list to the type check."""
    if isinstance(value, (list, tuple)) and 1 <= len(value) <= _MOST_SEEDS:
        return tuple(value)
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST_SEEDS:
        return tuple(range(value))
    given = repr(value) if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
    raise ValueError(
        f"give the number of seeds (1 to {_MOST_SEEDS}), or a list of them, e.g. [0, 1, 2]; got {shortened(given, 80)}"
    )


Seed = Annotated[int, Field(ge=0, lt=2**31)]
Seeds = Annotated[
    tuple[Seed, ...],
    BeforeValidator(_seeds),
    as_any_of(
        {"type": "integer", "minimum": 1, "maximum": _MOST_SEEDS},
        {"type": "array", "items": {"type": "integer", "minimum": 0, "exclusiveMaximum": 2**31}, "minItems": 1},
    ),
]
"""A list of seeds; a number is read as that many seeds, starting at 0."""
