"""Which part of a study's search space applies to which of its arms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ablations.search.conditions import conditional, governed
from ablations.search.space import Parameter, space
from ablations.spec import yaml_documents
from ablations.spec.search import SearchSpec
from aimlib.errors import ConfigError, unknown_name


@dataclass(frozen=True)
class Space:
    """The options of one arm that are searched.

    Attributes
    ----------
    over : key paths of `SearchSpec.over` that apply.
    left_out : key paths that do not apply, with the reason.
    """

    parameters: tuple[Parameter, ...]
    over: tuple[str, ...]
    left_out: Mapping[str, str]


def spaces(spec: SearchSpec, arms: Mapping[str, Mapping[str, Any]]) -> dict[str, Space]:
    """Return the search space of every searched arm.

    Parameters
    ----------
    arms : each arm's document, with the base and the arm merged.

    Raises
    ------
    ConfigError: a path does not apply to any arm, or to any of the arms for which it is given; nothing in an arm can be
        searched; or `SearchSpec.training` fixes a path.
    """
    own = isinstance(spec.over, dict)
    found = {name: _space(spec, _paths(spec, name), arms[name]) for name in spec.arms}
    problems: list[str] = []
    for name, each in found.items():
        for path, reason in each.left_out.items():
            if own or all(path in other.left_out for other in found.values()):
                problems.append(reason if not own else reason.replace("search.over", f"search.over.{name}", 1))
        if not each.parameters and not problems:
            problems.append(f"search.over: no entry applies to arm {name!r}; add an option that this arm has")
    fixed = {
        parameter.name
        for each in found.values()
        for parameter in each.parameters
        if parameter.path[0] == "training" and yaml_documents.has(spec.training, parameter.path[1:])
    }
    problems += [
        f"search.training: fixes {name}, which is also searched; remove it from one of the two keys" for name in fixed
    ]
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    return found


def _paths(spec: SearchSpec, arm: str) -> tuple[str, ...]:
    return spec.over[arm] if isinstance(spec.over, dict) else spec.over


def _space(spec: SearchSpec, paths: tuple[str, ...], document: Mapping[str, Any]) -> Space:
    left_out: dict[str, str] = {}
    for path in paths:
        try:
            space((path,), document, spec.ranges)
        except ConfigError as error:
            left_out[path] = "; ".join(error.problems)
    over = tuple(path for path in paths if path not in left_out)
    names = {parameter.name for parameter in space(over, document, spec.ranges)}
    for path in over:
        key = governed(path, spec.when)
        absent = [each.name for each in spec.when.get(key or "", ()) if each.name not in names]
        if absent:
            unknown = unknown_name("parameter", absent[0], names)
            left_out[path] = f"search.when.{key}.{absent[0]}: {unknown}, or add it to search.over"
    over = tuple(path for path in over if path not in left_out)
    return Space(tuple(conditional(space(over, document, spec.ranges), spec.when)), over, left_out)
