"""A finite search space, point by point.

Optuna's own grid is the product of all dimensions, including conditional dimensions, and would propose the same network
repeatedly with different values for options that the network does not have. Here, an option is varied only if its
plugin is chosen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ablations.search.space import Parameter, applies
from aimlib.component import Categorical, Dimension, Integer, Real
from aimlib.errors import ConfigError, unknown_name

_MOST_POINTS = 100_000
_MOST_VALUES = 10_000


def grid(parameters: Sequence[Parameter], levels: Mapping[str, int | tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Return every point as values by parameter name; the last parameter varies fastest.

    Parameters
    ----------
    levels : levels of ranges, by parameter name: the number of levels, or a list of levels.

    Raises
    ------
    ConfigError: a range has no levels, levels are outside the range or belong to an unknown parameter, or there are too
        many points.
    """
    values: dict[str, tuple[Any, ...]] = {}
    problems: list[str] = []
    for parameter in parameters:
        try:
            values[parameter.name] = _values(parameter, levels.get(parameter.name))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    points: list[dict[str, Any]] = [{}]
    for parameter in parameters:
        points = [
            {**point, **({parameter.name: value} if value is not None else {})}
            for point in points
            for value in (values[parameter.name] if applies(parameter, point) else (None,))
        ]
        if len(points) > _MOST_POINTS:
            raise ConfigError([f"search: the grid has more than {_MOST_POINTS} points; use fewer search.levels"])
    return points


def unknown_levels(levels: Mapping[str, Any], parameters: Iterable[Parameter]) -> list[str]:
    """Return a message for every name in `search.levels` that is not a parameter."""
    names = {parameter.name for parameter in parameters}
    return [f"search.levels.{name}: {unknown_name('parameter', name, names)}" for name in levels if name not in names]


def _values(parameter: Parameter, levels: int | tuple[Any, ...] | None) -> tuple[Any, ...]:
    dimension, where = parameter.dimension, f"search.levels.{parameter.name}"
    if isinstance(levels, tuple):
        if wrong := [level for level in levels if not _within(dimension, level)]:
            raise ConfigError([f"{where}: {wrong[0]!r} is not in the dimension, {_in_words(dimension)}"])
        if len(set(levels)) < len(levels):
            raise ConfigError([f"{where}: a level is listed twice; remove one of the two"])
        return tuple(float(level) for level in levels) if isinstance(dimension, Real) else levels
    if isinstance(dimension, Categorical):
        if levels is not None:
            raise ConfigError(
                [f"{where}: a choice has its own levels, {_in_words(dimension)}; list the desired levels"]
            )
        return dimension.choices
    assert isinstance(dimension, (Integer, Real))
    if levels is not None:
        return _spaced(dimension, levels)
    if isinstance(dimension, Integer) and dimension.high - dimension.low < _MOST_VALUES:
        return tuple(range(dimension.low, dimension.high + 1))
    raise ConfigError(
        [f"search: {parameter.name} is not finite, {_in_words(dimension)}: a grid needs {where}, e.g. 3 or a list"]
    )


def _spaced(dimension: Integer | Real, count: int) -> tuple[Any, ...]:
    """Return `count` values from end to end, evenly spaced on the dimension's scale; a single value is the middle."""
    low, high = float(dimension.low), float(dimension.high)
    shares = [0.5] if count == 1 else [place / (count - 1) for place in range(count)]
    if dimension.log:
        spread = [math.exp(math.log(low) + share * (math.log(high) - math.log(low))) for share in shares]
    else:
        spread = [low + share * (high - low) for share in shares]
    held = [min(max(value, low), high) for value in spread]
    if count > 1:
        held[0], held[-1] = low, high  # the exact ends, without rounding by exp(log(...))
    if isinstance(dimension, Real):
        return tuple(held)
    return tuple(dict.fromkeys(round(value) for value in held))


def _within(dimension: Dimension, value: Any) -> bool:
    if isinstance(dimension, Categorical):
        return any(value == choice and type(value) is type(choice) for choice in dimension.choices)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    assert isinstance(dimension, (Integer, Real))
    whole = isinstance(dimension, Real) or isinstance(value, int)
    return whole and dimension.low <= value <= dimension.high


def _in_words(dimension: Dimension) -> str:
    if isinstance(dimension, Categorical):
        return f"one of {', '.join(map(str, dimension.choices))}"
    assert isinstance(dimension, (Integer, Real))
    return f"{dimension.low:g} to {dimension.high:g}"
