"""The corners of a search space: a finite set of networks that cover every choice and both ends of every range."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ablations.search.space import NONE, Parameter, applies, document_of
from aimlib.component import Categorical, Dimension, Integer, Real


def corners(parameters: list[Parameter]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield one named configuration for every choice and for every end of a range, varied one at a time.

    All other parameters are at their first choice or lower end. There is a finite number of corners, so a study's whole
    search can be built on the meta device before anything is trained.
    """
    first = {parameter.name: _ends(parameter.dimension)[0] for parameter in parameters}
    yielded: list[dict[str, Any]] = []
    for parameter in parameters:
        for end in _ends(parameter.dimension):
            drawn: dict[str, Any] = {}
            wanted = {**first, **_admitting(parameter, parameters), parameter.name: end}
            for other in parameters:
                if applies(other, drawn):
                    drawn[other.name] = wanted[other.name]
            document = document_of(parameters, drawn)
            if document not in yielded:
                yielded.append(document)
                yield f"{parameter.name}={end}", document


def _admitting(parameter: Parameter, parameters: list[Parameter]) -> dict[str, Any]:
    """Return values of all parameters on which a parameter depends, directly or indirectly, such that it is drawn."""
    names = {each.name: each for each in parameters}
    found: dict[str, Any] = {}
    if parameter.only_if is not None:
        name, value = parameter.only_if
        chosen = value if value is not None else _other_than_none(name, parameters)
        found |= {name: chosen} if name in names and chosen is not None else {}
    for each in parameter.when:
        other = names[each.name].dimension
        found[each.name] = next((end for end in _ends(other) if each.holds(end)), (each.values or (each.low,))[0])
    for name in list(found):
        found = {**_admitting(names[name], parameters), **found}
    return found


def _other_than_none(name: str, parameters: Iterable[Parameter]) -> str | None:
    for parameter in parameters:
        if parameter.name == name and isinstance(parameter.dimension, Categorical):
            return next(str(choice) for choice in parameter.dimension.choices if choice != NONE)
    return None


def _ends(dimension: Dimension) -> tuple[Any, ...]:
    if isinstance(dimension, Categorical):
        return dimension.choices
    assert isinstance(dimension, (Integer, Real))
    return dimension.low, dimension.high
