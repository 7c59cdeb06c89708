"""Factors, their levels, and seeds, as set in a study file."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from ablations.spec.designs import level_text
from ablations.spec.other_notations import Meant, meant
from ablations.spec.written import as_any_of
from aimlib.records.escaping import shortened

RUN_KEYS = ("model", "data", "training", "options")
"""The parts of a run's configuration; every key path starts with one of them. `options` exists only for a study with
its own training code."""
_MOST_SEEDS = 10_000


def _factors(value: Any) -> Any:
    if not isinstance(value, dict):
        raise ValueError(  # noqa: TRY004 -- pydantic turns ValueErrors into messages
            f"must be a mapping from key paths to lists of levels, e.g. {{model.memory.channels: [8, 16]}}; "
            f"got {value!r}"
        )
    _refuse_equal_texts("", value)
    return {str(name): _levels(str(name), levels) for name, levels in value.items()}


def _refuse_equal_texts(where: str, keys: Iterable[Any]) -> None:
    """Raise an error if keys are equal as text, such as 1 and "1", or look the same, such as "a" and "a "."""
    texts: dict[str, Any] = {}
    for key in keys:
        if (seen := looks(str(key))) in texts:
            other = texts[seen]
            alike = "are the same name" if str(other) == str(key) else "look the same"
            raise ValueError(f"{where}{key}: given twice, as {other!a} and as {key!a}, which {alike}; rename one")
        texts[seen] = key


def looks(text: str) -> str:
    """Normalize how a text looks: unify compatible Unicode characters, and remove outer spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _levels(name: str, levels: Any) -> Any:
    if isinstance(levels, dict) and levels:
        if name.partition(".")[0] in RUN_KEYS or meant(levels) is not None:
            raise ValueError(_of_a_path(name, levels))
        _refuse_equal_texts(f"{name}.", levels)
        return {str(label): _changes(f"{name}.{label}", changes) for label, changes in levels.items()}
    if not isinstance(levels, (list, tuple)) or not levels:
        raise ValueError(f"{name}: {_as_list(name, levels)}; got {levels!r}")
    return tuple(levels)


def _as_list(name: str, levels: Any) -> str:
    """Return advice for levels that are not a list: the list itself if a value or another notation is recognized."""
    found = meant(levels)
    if found is not None and found.choices:
        return f"write the levels as a list: {{{name}: {found}}}"
    if found is not None:
        return (
            f"write the levels as a list, e.g. {{{name}: {Meant((found.low, found.high))}}}; for "
            f"all values in between, use a search"
        )
    if isinstance(levels, (str, int, float)) and levels != "":
        return f"write the levels as a list: {{{name}: [{levels}, ...]}}"
    return (
        "write the levels as a list, e.g. [8, 16], or as a mapping from labels to changes, e.g. {without: {}, with: "
        "{model: {...}}}"
    )


def _of_a_path(name: str, levels: dict[Any, Any]) -> str:
    """Return the message about a key path that has a mapping instead of a list of levels."""
    if meant(levels) is not None:
        return f"{name}: {_as_list(name, levels)}; got {levels!r}"
    key, inner = next(iter(levels.items()))
    if name in RUN_KEYS and not (isinstance(inner, dict) and set(inner) <= set(RUN_KEYS)):
        while isinstance(inner, dict) and inner and meant(inner) is None:
            below, inner = next(iter(inner.items()))
            key = f"{key}.{below}"
        return f"{name}: write a key path as one key: {{{name}.{key}: {meant(inner) or inner}}}"
    return f"{name}: a factor with labeled levels needs its own name, not a key path; e.g. memory"


def _changes(where: str, changes: Any) -> dict[str, Any]:
    if not isinstance(changes, dict) or not all(isinstance(part, dict) for part in changes.values()):
        raise ValueError(f"{where}: write this level's changes as a mapping with the keys {', '.join(RUN_KEYS)}")
    for key in changes:
        if key not in RUN_KEYS:
            raise ValueError(f"{where}.{key}: unknown key; known keys: {', '.join(RUN_KEYS)}")
    return changes


def _labels(value: Any) -> Any:
    if not isinstance(value, dict):
        raise ValueError(  # noqa: TRY004 -- pydantic turns ValueErrors into messages
            f"must be a mapping from factors to labels of their levels, e.g. {{memory: with}}; got {value!r}"
        )
    return {str(factor): level_text(level) for factor, level in value.items()}


def labels_of(levels: tuple[Any, ...] | dict[str, Any]) -> list[str]:
    """Return the labels of a factor's levels as they appear in arm names."""
    return list(levels) if isinstance(levels, dict) else [level_text(level) for level in levels]


def equal_levels(levels: tuple[Any, ...] | dict[str, Any]) -> tuple[str, str] | None:
    """Return the places of the first two equal levels, as ``[0] (1)`` or ``.label``, or None if all levels differ.

    1 and 1.0 are equal, and so are levels with the same label in arm names. 1 and true are not equal.
    """
    items = (
        [(f".{label}", changes, None) for label, changes in levels.items()]
        if isinstance(levels, dict)
        else [(f"[{number}] ({level_text(level)})", level, level_text(level)) for number, level in enumerate(levels)]
    )
    for (first, one, name), (second, other, other_name) in itertools.combinations(items, 2):
        if (name is not None and looks(name) == looks(str(other_name))) or _equal(one, other):
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
"""Levels by factor: a tuple of levels if the factor is a key path, or a mapping from labels to changes if it has its
own name."""

Labels = Annotated[dict[str, str] | None, BeforeValidator(_labels), as_any_of({"type": "object"})]
"""The label of the chosen level, by factor; factors may be omitted."""


def _seeds(value: Any) -> Any:
    """Read a number of seeds as 0, 1, 2, ...; leave the items of a list to the type check."""
    if isinstance(value, (list, tuple)) and 1 <= len(value) <= _MOST_SEEDS:
        return tuple(value)
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST_SEEDS:
        return tuple(range(value))
    given = repr(value) if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
    raise ValueError(
        f"must be a number of seeds (1 to {_MOST_SEEDS}) or a list of seeds, e.g. [0, 1, 2]; got {shortened(given, 80)}"
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
