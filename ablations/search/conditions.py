"""Conditions that a study adds to a search space, and the resulting order in which parameters are drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter

from ablations.search.space import Parameter
from ablations.spec.search_conditions import Condition
from aimlib.component import Categorical
from aimlib.errors import ConfigError, unknown_name

When = Mapping[str, Sequence[Condition]]


def governed(parameter: str, when: When) -> str | None:
    """Return the key of `search.when` that applies to a parameter: its name, or the component to which it belongs."""
    return next((name for name in when if parameter == name or parameter.startswith(f"{name}.")), None)


def conditional(parameters: Sequence[Parameter], when: When) -> list[Parameter]:
    """Return parameters with a study's conditions, each after the parameters on which it depends.

    Raises
    ------
    ConfigError: parameters depend on each other in a cycle, or a condition can never be true.
    """
    names = {parameter.name: parameter for parameter in parameters}
    problems: list[str] = []
    found: dict[str, Parameter] = {}
    for parameter in parameters:
        key = governed(parameter.name, when)
        conditions = tuple(when[key]) if key is not None else ()
        problems += [
            f"search.when.{key}.{each.name}: {reason}" for each in conditions if (reason := _impossible(each, names))
        ]
        found[parameter.name] = replace(parameter, when=conditions)
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    return _in_order(found)


def unknown_conditions(when: When, over: Iterable[str], parameters: Iterable[Parameter]) -> list[str]:
    """Return messages about names in `search.when` that are not searched in any arm."""
    names = {parameter.name for parameter in parameters}
    known = names | set(over)
    problems = [
        f"search.when.{name}: {unknown_name('parameter', name, known)}" for name in when if not _is_in(name, known)
    ]
    return problems + [
        f"search.when.{name}.{each.name}: {unknown_name('parameter', each.name, names)}, or add it to search.over"
        for name, conditions in when.items()
        for each in conditions
        if each.name not in names
    ]


def _is_in(name: str, known: Iterable[str]) -> bool:
    return any(each == name or each.startswith(f"{name}.") for each in known)


def _impossible(condition: Condition, names: Mapping[str, Parameter]) -> str:
    """Return why a condition can never be true; empty if it can be true, or if its parameter belongs to other arms."""
    other = names.get(condition.name)
    if other is None:
        return ""
    dimension = other.dimension
    if isinstance(dimension, Categorical):
        if not condition.values:
            return f"{condition.name} is a choice; list some of its values: {', '.join(map(str, dimension.choices))}"
        wrong = [value for value in condition.values if value not in dimension.choices]
        return f"{wrong[0]!r} is not one of {', '.join(map(str, dimension.choices))}" if wrong else ""
    low, high = dimension.low, dimension.high
    outside = [value for value in condition.values if not isinstance(value, (int, float)) or not low <= value <= high]
    if outside:
        return f"{outside[0]!r} is not within {low:g} to {high:g}"
    if not condition.values and not (
        (condition.low is None or condition.low <= high) and (condition.high is None or condition.high >= low)
    ):
        return f"never true, because {condition.name} is {low:g} to {high:g}"
    return ""


def _in_order(found: Mapping[str, Parameter]) -> list[Parameter]:
    """Return the parameters in their original order, except that each follows the parameters on which it depends."""
    if not any(parameter.when for parameter in found.values()):
        return list(found.values())
    needs = {
        parameter.name: [
            name for name in (*(each.name for each in parameter.when), *(parameter.only_if or ())[:1]) if name in found
        ]
        for parameter in found.values()
    }
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise ConfigError([f"search.when: parameters depend on each other: {circle}; remove one condition"]) from None
    placed: dict[str, Parameter] = {}

    def place(name: str) -> None:
        for needed in needs[name]:
            place(needed)
        placed.setdefault(name, found[name])

    for name in found:
        place(name)
    return list(placed.values())
