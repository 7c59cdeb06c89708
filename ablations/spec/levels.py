"""Factors and their levels as a study file writes them: key paths with lists, or names with labelled changes."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from ablations.spec.designs import level_text

RUN_KEYS = ("model", "data", "training")
"""What a run is made of; key paths start with one of these."""


def _factors(value: Any) -> Any:
    if not isinstance(value, dict):
        raise ValueError(  # noqa: TRY004 -- pydantic turns ValueErrors into messages
            f"give a mapping of key paths to lists of levels, e.g. {{model.memory.channels: [8, 16]}}; got {value!r}"
        )
    return {str(name): _levels(str(name), levels) for name, levels in value.items()}


def _levels(name: str, levels: Any) -> Any:
    if isinstance(levels, dict) and levels:
        return {str(label): _changes(f"{name}.{label}", changes) for label, changes in levels.items()}
    if not isinstance(levels, (list, tuple)) or not levels:
        raise ValueError(
            f"{name}: give the levels as a list, e.g. [8, 16], or as a mapping of labels to what each changes, e.g. "
            f"{{without: {{}}, with: {{model: {{...}}}}}}; got {levels!r}"
        )
    return tuple(levels)


def _changes(where: str, changes: Any) -> dict[str, Any]:
    if not isinstance(changes, dict) or not all(isinstance(part, dict) for part in changes.values()):
        raise ValueError(f"{where}: give what this level changes as a mapping below {', '.join(RUN_KEYS)}")
    for key in changes:
        if key not in RUN_KEYS:
            raise ValueError(f"{where}.{key}: unknown key; known keys: {', '.join(RUN_KEYS)}")
    return changes


def _labels(value: Any) -> Any:
    if not isinstance(value, dict):
        raise ValueError(  # noqa: TRY004 -- pydantic turns ValueErrors into messages
            f"give a mapping of factors to the labels of their levels, e.g. {{memory: with}}; got {value!r}"
        )
    return {str(factor): level_text(level) for factor, level in value.items()}


def labels_of(levels: tuple[Any, ...] | dict[str, Any]) -> list[str]:
    """Return the labels of a factor's levels, as they stand in the names of arms."""
    return list(levels) if isinstance(levels, dict) else [level_text(level) for level in levels]


Factors = Annotated[dict[str, tuple[Any, ...] | dict[str, dict[str, Any]]], BeforeValidator(_factors)]
"""By key path a tuple of levels; by a name of its own a mapping of labels to what each level changes."""

Labels = Annotated[dict[str, str] | None, BeforeValidator(_labels)]
"""Labels of levels, by factor."""
