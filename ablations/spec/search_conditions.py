"""When a search draws a parameter, and which configurations it allows."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from aimlib.errors import did_you_mean

MEASURES = (
    "parameters",
    "trainable_parameters",
    "running_statistics",
    "multiply_adds",
    "activation_bytes",
    "memory_values",
    "memory_degrees_of_freedom",
)
"""Properties of a network that a constraint can bound: columns of `results.models`."""


@dataclass(frozen=True)
class Condition:
    """The condition that another parameter has one of some values, or lies between two bounds (inclusive).

    Attributes
    ----------
    name : the other parameter.
    values : the values; empty if there are bounds.
    low, high : the bounds; None if there is no bound on that side.
    """

    name: str
    values: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None

    def holds(self, value: Any) -> bool:
        """Return whether a value of the other parameter meets the condition."""
        if self.values:
            return any(value == own and isinstance(value, bool) == isinstance(own, bool) for own in self.values)
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        """Return the condition in words."""
        if self.values:
            return f"{self.name} is {' or '.join(map(str, self.values))}"
        bounds = [("at least", self.low), ("at most", self.high)]
        return f"{self.name} is " + " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)


_WHEN = "e.g. {training.optimizer.weight_decay: {model.update: [gated, residual]}}"


def when(value: Any) -> Any:
    """Read `search.when`: conditions, by the parameter that depends on them."""
    if not isinstance(value, dict):
        raise ValueError(  # noqa: TRY004 -- pydantic turns ValueErrors into messages
            f"must be a mapping from parameters to conditions, {_WHEN}; got {value!r}"
        )
    return {str(name): _conditions(str(name), given) for name, given in value.items()}


def _conditions(name: str, given: Any) -> tuple[Condition, ...]:
    if isinstance(given, tuple) and given and all(isinstance(item, Condition) for item in given):
        return given
    if not isinstance(given, dict) or not given:
        raise ValueError(f"{name}: name the parameter that it depends on, with values, {_WHEN}; got {given!r}")
    return tuple(_condition(name, str(other), values) for other, values in given.items())


def _condition(name: str, other: str, values: Any) -> Condition:
    if other == name:
        raise ValueError(f"{name}: depends on itself; name a different parameter")
    if isinstance(values, dict):
        bounds = [values.get(key) for key in ("min", "max")]
        if values and set(values) <= {"min", "max"} and all(_is_bound(bound) for bound in bounds):
            return Condition(other, (), *bounds)
        raise ValueError(f"{name}.{other}: write values, or bounds as {{min: 0.001, max: 0.1}}; got {values!r}")
    listed = tuple(values) if isinstance(values, (list, tuple)) else (values,)
    if not listed or any(isinstance(item, (list, dict)) or item is None for item in listed):
        raise ValueError(f"{name}.{other}: must be a value or a list of values; got {values!r}")
    return Condition(other, listed)


def _is_bound(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


@dataclass(frozen=True)
class Constraint:
    """A bound on a property of the network.

    Attributes
    ----------
    measure : see `MEASURES`.
    """

    measure: str
    sign: Literal["<=", ">="]
    bound: float

    def violation(self, value: float) -> float:
        """Return how far a value exceeds the bound, relative to the bound; at most 0 if the value is allowed."""
        excess = value / self.bound - 1
        return excess if self.sign == "<=" else -excess

    def __str__(self) -> str:
        """Return the constraint as written in a study."""
        return f"{self.measure} {self.sign} {_written(self.bound)}"


def _written(number: float) -> str:
    return f"{number:,.0f}".replace(",", "_") if number == int(number) else f"{number:g}"


_UNITS = {"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9}
_FORM = re.compile(r"\s*([A-Za-z_][\w ]*?)\s*(<=|>=|≤|≥|==|<|>|=)\s*([0-9][0-9_.]*(?:[eE][+-]?\d+)?)\s*([kKMGB]?)\s*")
_CONSTRAINTS = "e.g. [parameters <= 2M, multiply_adds <= 5e8]"


def constraints(value: Any) -> Any:
    """Read `search.constraints`: a constraint, or a list of them."""
    if isinstance(value, dict):
        shown = ", ".join(f"{name} <= {_bound_of(bound)}" for name, bound in value.items())
        raise ValueError(f"must be a list of comparisons: [{shown}]; got {value!r}")  # noqa: TRY004
    listed = (value,) if isinstance(value, str) else value
    if not isinstance(listed, (list, tuple)):
        raise ValueError(f"must be a list of comparisons, {_CONSTRAINTS}; got {value!r}")  # noqa: TRY004
    found = tuple(item if isinstance(item, Constraint) else _constraint(item) for item in listed)
    if len({(each.measure, each.sign) for each in found}) < len(found):
        raise ValueError("a measure has two bounds on the same side; remove one of them")
    for most, least in itertools.permutations(found, 2):
        if (most.measure, most.sign, least.sign) == (least.measure, "<=", ">=") and most.bound < least.bound:
            raise ValueError(f"no network can meet both {most} and {least}; swap or change the bounds")
    return found


def _bound_of(bound: Any) -> Any:
    if isinstance(bound, dict):
        bound = next(iter(bound.values()), "...")
    return f"{bound:g}" if isinstance(bound, (int, float)) else str(bound).lstrip("<=> ")


_PARTS = re.compile(r"\s*(?:,(?!\d)|\band\b|&&?)\s*")
_TURNED = re.compile(r"([\d.,_eE+-]+\s*[kKMGB]?)\s*([<>]=?)\s*([A-Za-z_]\w*)(?:\s*([<>]=?.*))?")


def _as_constraints(text: str) -> str:
    """Return advice for text that is not a constraint: the constraints themselves if the text is recognized."""
    meant: list[str] = []
    for part in _PARTS.split(text.strip()):
        turned = _TURNED.fullmatch(part)
        if turned is not None:
            meant.append(f"{turned[3]} {'>' if '<' in turned[2] else '<'}= {turned[1]}")
        rest = f"{turned[3]} {turned[4] or ''}".strip() if turned is not None else part
        if turned is None or turned[4]:
            meant.append(re.sub(r"(?<=\d),(?=\d)", "", re.sub(r"([kKMG])[bB]$", r"\1", rest)))
    if meant != [text.strip()] and all(_FORM.fullmatch(each) for each in meant):
        return f"write [{', '.join(meant)}]"
    return f"write a measure, <= or >=, and a number, {_CONSTRAINTS}"


def _constraint(text: Any) -> Constraint:
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"{text!r}: {_as_constraints(str(text))}")
    measure, sign = found[1].strip().replace(" ", "_"), {"≤": "<=", "≥": ">="}.get(found[2], found[2])
    if measure not in MEASURES:
        near = did_you_mean(measure, MEASURES)
        raise ValueError(f"{text!r}: {measure!r} is not a measure of a network; {near}known: {', '.join(MEASURES)}")
    if sign not in ("<=", ">="):
        raise ValueError(f"{text!r}: write {measure} {'>=' if '>' in sign else '<='} {found[3]}{found[4]}")
    try:
        bound = float(found[3].replace("_", "")) * _UNITS[found[4]]
    except ValueError:
        bound = 0.0
    if not 0 < bound < math.inf:
        raise ValueError(f"{text!r}: the bound must be a finite number greater than 0")
    return Constraint(measure, "<=" if sign == "<=" else ">=", bound)
