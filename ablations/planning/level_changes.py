"""What a combination of levels changes in the arm that is varied, so that every level takes effect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ablations.spec import yaml_documents
from ablations.spec.designs import Combination, level_text
from ablations.spec.study import StudySpec
from aimlib.errors import ConfigError

_Path = tuple[str, ...]


def changes_of(chosen: Combination, spec: StudySpec) -> dict[str, Any]:
    """Return the changes made by all levels of a combination.

    Levels that name a component are applied before those that set its options, regardless of the order of the factors.
    If a level removes a part, the options of this part are also omitted, such as ``channels`` if the memory is
    ``none``.

    Raises
    ------
    ConfigError: two levels set the same option differently, so one of the values would be lost.
    """
    single = {factor: _alone(factor, level, spec) for factor, level in chosen.items()}
    changes: dict[str, Any] = {}
    labelled = [factor for factor in chosen if isinstance(spec.factors[factor], dict)]
    for factor in sorted(labelled, key=lambda factor: not _names_a_part(single[factor])):
        changes = yaml_documents.merge(changes, _without_left_out(single[factor], changes))
    paths = [factor for factor in chosen if factor not in labelled]
    for path in sorted(paths, key=lambda path: path.count(".")):  # name a component before setting its options
        if not yaml_documents.is_left_out(changes, path.split(".")):
            yaml_documents.put(changes, path.split("."), chosen[path])
    _refuse_lost(chosen, single, changes)
    return changes


def _alone(factor: str, level: Any, spec: StudySpec) -> dict[str, Any]:
    """Return what a single level changes."""
    levels = spec.factors[factor]
    if isinstance(levels, dict):
        return levels[str(level)]
    changes: dict[str, Any] = {}
    yaml_documents.put(changes, factor.split("."), level)
    return changes


def _values(changes: Mapping[str, Any], above: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    """Yield the key path and value of every option that a level sets."""
    for key, value in changes.items():
        if isinstance(value, dict) and value:
            yield from _values(value, (*above, key))
        else:
            yield (*above, key), value


def _names_a_part(changes: Mapping[str, Any]) -> bool:
    return any(path[-1] == "name" or yaml_documents.is_component(path[-1]) for path, _ in _values(changes))


def _without_left_out(level: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a level without the options of the parts that `changes` removes."""
    kept: dict[str, Any] = {}
    for key, value in level.items():
        if not isinstance(value, dict) or "name" in value or key not in changes:
            kept[key] = value
        elif not yaml_documents.is_nothing(changes[key]):
            kept[key] = _without_left_out(value, changes[key]) if isinstance(changes[key], dict) else value
    return kept


def _refuse_lost(chosen: Combination, single: Mapping[str, Mapping[str, Any]], changes: Mapping[str, Any]) -> None:
    for factor, level in chosen.items():
        for path, value in _values(single[factor]):
            if not _holds(changes, path, value):
                raise ConfigError([_lost(factor, level, path, value, single, chosen)])


def _holds(changes: Mapping[str, Any], path: _Path, value: Any) -> bool:
    """Return whether a value is still set, or is an option of a part that was removed."""
    if yaml_documents.is_left_out(changes, path):
        return True
    if path[-1] == "name" and yaml_documents.has(changes, path[:-1]):
        return _is_same(yaml_documents.value_at(changes, path[:-1]), value)
    return yaml_documents.has(changes, path) and _is_same(yaml_documents.value_at(changes, path), value)


def _is_same(found: Any, value: Any) -> bool:
    if yaml_documents.is_nothing(value) or yaml_documents.is_nothing(found):
        return yaml_documents.is_nothing(value) and yaml_documents.is_nothing(found)
    if isinstance(found, dict):
        return bool(value == {} or found.get("name") == value)
    return bool(found == value)


def _lost(
    factor: str, level: Any, path: _Path, value: Any, single: Mapping[str, Mapping[str, Any]], chosen: Combination
) -> str:
    """Return the message about a value that another level of the combination replaces."""
    other, place = next(
        (other, there)
        for other, changes in single.items()
        if other != factor
        for there, _ in _values(changes)
        if path[: len(there)] == there or there[: len(path)] == path or path[:-1] == there[:-1]
    )
    key, theirs = ".".join(path), level_text(chosen[other])
    return (
        f"factors.{factor}: level {level_text(level)} sets {key} to {level_text(value)}, and level {theirs} of "
        f"factors.{other} sets {'it' if place == path else '.'.join(place)} differently, so one of the values would "
        "be lost in combinations of the two levels; set it in only one of these factors, or set design: one_at_a_time"
    )
