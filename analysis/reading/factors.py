"""The options in which a study's arms differ, as typed columns of its frames.

An option is a key path below `RunConfig`, such as ``training.batch_size``. A component is represented by its name
(``model.placement`` is ``stage_only``), and its own options are below it (``model.memory.channels``). A column is named
after the end of that path: the shortest ending that differs from all other options in the study and all stored columns.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from aimlib import records
from aimlib.records.escaping import storable
from analysis.plan import Arm, Plan
from analysis.reading import frames

Kind = Literal["text", "integer", "number", "boolean"]
_PART = object()
"""Value for a part that is not a component, such as early stopping, which an arm either has or lacks."""
_NOT_AN_OPTION = frozenset({"seed", "model.weights.source"})
STORED = frozenset(
    column.name
    for listed in (records.RUN_COLUMNS, records.EPOCHS, records.MODELS, records.TEST_IMAGES, records.PREDICTIONS)
    for column in listed
) | {frames.ROLE.name, frames.FINGERPRINT.name, "directory", "also_in"}
"""Names of stored columns in the frames, which factors must not use."""


@dataclass(frozen=True)
class Factor:
    """An option in which arms differ, or a factor that the study names, with labels for its levels.

    Attributes
    ----------
    column : name of the factor's column in `Results.runs` and `Results.epochs`.
    option : key path in the configuration; for a labeled factor, its name in the study.
    type : type of the column. A mixture of integers and other numbers is a number column; other mixtures are text.
    values : value or label by arm; None if the arm does not have the option.
    """

    column: str
    option: str
    type: Kind
    values: Mapping[str, Any]


def of_plan(plan: Plan) -> tuple[Factor, ...]:
    """Return the factors of one study, in the configuration's order, followed by its labeled factors."""
    return of_arms({arm.name: arm for arm in plan.arms})


def of_arms(arms: Mapping[Any, Arm]) -> tuple[Factor, ...]:
    """Return the factors in which arms differ; `Factor.values` has the keys of `arms`."""
    found = {key: options(arm.config) for key, arm in arms.items()}
    paths = _in_order(found.values())
    varied = {path: values for path in paths if (values := _varied(path, found)) is not None}
    names = _names(varied, paths)
    factors = [_factor(names[path], path, values) for path, values in varied.items()]
    return (*factors, *_labelled(arms, factors, set(paths)))


def attach(frame: pd.DataFrame, factors: Sequence[Factor], keys: pd.Series) -> pd.DataFrame:
    """Return the frame with one additional column per factor at the end.

    Parameters
    ----------
    keys : the arm of every row of `frame`, as a key of `Factor.values`.
    """
    if not factors:
        return frame
    rows, known = pd.factorize(keys)
    columns = {
        factor.column: pd.array([factor.values.get(key) for key in known], dtype=_dtype(factor)).take(rows)
        for factor in factors
    }
    return pd.concat([frame, pd.DataFrame(columns, index=frame.index)], axis="columns")


def _dtype(factor: Factor) -> Any:
    return frames.dtype(records.Column(factor.column, factor.type, "", ""))


def table(factors: Iterable[Factor]) -> pd.DataFrame:
    """Return one row per factor: column, option, type, levels (number of distinct values other than null)."""
    rows = [(f.column, f.option, f.type, len({v for v in f.values.values() if v is not None})) for f in factors]
    return pd.DataFrame(rows, columns=["column", "option", "type", "levels"]).astype(
        {"column": "str", "option": "str", "type": "str", "levels": "int64"}
    )


def options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of every option by its key path; a component's name is at the component's path."""
    found: dict[str, Any] = {}
    _walk(config, "", found)
    return {path: value for path, value in found.items() if path not in _NOT_AN_OPTION}


def _walk(node: Mapping[str, Any], prefix: str, found: dict[str, Any]) -> None:
    for key, value in node.items():
        if key == "name" and prefix:
            continue
        path = prefix + key
        if value is None or isinstance(value, (str, int, float)):  # tested first, because it is the most frequent case
            found[path] = value
        elif isinstance(value, Mapping):
            name = value.get("name", _PART)
            # The name is not text only if the file was changed by hand.
            found[path] = name if name is _PART or isinstance(name, str) else json.dumps(name)
            _walk(value, path + ".", found)
        elif isinstance(value, (list, tuple)):
            found[path] = json.dumps(value, separators=(",", ":"))
        else:
            found[path] = value


def _in_order(options: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return all paths in the configurations' order; options that only some configurations have keep their position."""
    order: list[str] = []
    known: set[str] = set()
    for each in options:
        if each.keys() <= known:  # true for nearly every arm of a large study
            continue
        at = -1
        for path in each:
            if path not in known:
                known.add(path)
                order.insert(at + 1, path)
            at = order.index(path)
    return order


def _varied(path: str, options: Mapping[Any, Mapping[str, Any]]) -> dict[Any, Any] | None:
    """Return an option's value by arm; None if all arms that have the option have the same value.

    Options of a part that an arm lacks do not count as a difference, because the part's own column distinguishes the
    arms. Options that the package did not have when a study was created do not count either.
    """
    values = {key: found[path] for key, found in options.items() if path in found}
    if len({(value is True or value is False, value) for value in values.values()}) < 2:  # True equals 1 in Python
        return None
    if _PART in values.values():
        values = {key: value is _PART for key, value in values.items()}
    return {key: values.get(key) for key in options}


def _names(varied: Iterable[str], paths: Sequence[str]) -> dict[str, str]:
    """Return the shortest unambiguous ending of every varied path."""
    ends = Counter(end for path in paths for end in _ends(path))
    return {path: next((end for end in _ends(path) if ends[end] == 1 and end not in STORED), path) for path in varied}


def _ends(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]


def _factor(column: str, option: str, values: dict[Any, Any]) -> Factor:
    kind = _kind(values.values())
    typed = {key: None if value is None else _as(kind, value) for key, value in values.items()}
    return Factor(column, option, kind, typed)


def _kind(values: Collection[Any]) -> Kind:
    types = {type(value) for value in values if value is not None}
    if types == {bool}:
        return "boolean"
    if types == {int}:
        return "integer" if _within(values, 2**63) else "text"
    return "number" if types in ({float}, {int, float}) and _within(values, 2**1023) else "text"


def _within(values: Iterable[Any], bound: int) -> bool:
    """Return whether every integer can be stored in a numeric column."""
    return all(-bound <= value < bound for value in values if type(value) is int)


def _as(kind: Kind, value: Any) -> Any:
    if kind == "number":
        return float(value)
    if kind != "text":
        return value
    return storable(value) if isinstance(value, str) else json.dumps(value)


def _labelled(arms: Mapping[Any, Arm], options: Sequence[Factor], paths: set[str]) -> list[Factor]:
    """Return the factors that the study itself names, with the labels of their levels.

    A factor whose labels are the values of the option with the same name is identical to that option.
    """
    labels: dict[str, dict[Any, str]] = defaultdict(dict)
    for key, arm in arms.items():
        for name, label in arm.levels.items():
            if name.removesuffix(".name") not in paths:
                labels[name][key] = label
    columns = {factor.column: factor.values for factor in options}
    return [
        Factor(
            f"factor.{name}" if name in columns or name in STORED else name,
            name,
            "text",
            {key: found.get(key) for key in arms},
        )
        for name, found in labels.items()
        if name not in columns or any((columns[name][key] or "none") != label for key, label in found.items())
    ]
