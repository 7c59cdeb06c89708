"""Notation for the values of a search: `search.over`, `search.ranges` and `search.levels`.

`over` lists key paths. `ranges` contains the study's own values: a list of choices, or ``{low: 0.0001, high: 0.1, log:
true}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablations.spec.levels import RUN_KEYS
from ablations.spec.other_notations import Meant, is_number, meant
from aimlib.component import Categorical, Dimension, Integer, Real

EXAMPLE = "e.g. [model.update, training.optimizer.learning_rate]"


def over(value: Any) -> Any:
    """Read `search.over`: a key path, a list of them, or a mapping from arms to lists."""
    if isinstance(value, str):
        value = (value,)
    if isinstance(value, (list, tuple)):
        return _paths("", value)
    if isinstance(value, dict) and value:
        value = next((value[key] for key in ("parameters", "params", "space") if _is_mapping(value.get(key))), value)
        given = _flat(value)
        if any(_is_key_path(key) or not _is_list_of_paths(item) for key, item in given.items()):
            raise ValueError(spelled(given))
        return {str(arm): _paths(f"{arm}: ", paths) for arm, paths in value.items()}
    raise ValueError(f"must be a list of key paths, {EXAMPLE}, or a mapping from arms to such lists; got {value!r}")


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict) and bool(value)


def _is_list_of_paths(value: Any) -> bool:
    """Return whether a value can be an arm's list of key paths; values that represent numbers cannot."""
    if isinstance(value, (list, tuple)):
        return all(not is_number(item) and not isinstance(item, bool) for item in value)
    return meant(value) is None


def _paths(where: str, value: Any) -> tuple[str, ...]:
    """Return key paths, or raise a ValueError that shows how to translate another tool's notation."""
    if isinstance(value, dict) and value:
        raise ValueError(where + spelled(value))
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{where}must be a list of key paths, {EXAMPLE}; got {value!r}")  # noqa: TRY004
    for number, path in enumerate(value):
        if isinstance(path, dict) and path:
            name = path.get("name", path.get("parameter"))
            values = {name: {key: path[key] for key in path if path[key] != name}} if isinstance(name, str) else path
            raise ValueError(f"{where}[{number}]: {spelled(values)}")
        if not isinstance(path, str):
            raise ValueError(f"{where}[{number}]: must be a key path, {EXAMPLE}; got {path!r}")  # noqa: TRY004
        option, equals, written = path.partition("=")
        if equals:
            raise ValueError(f"{where}[{number}]: {spelled({option.strip().lstrip('+~'): written.strip()})}")
        if "(" in path:
            raise ValueError(f"{where}[{number}]: {spelled({'training.optimizer.learning_rate': path})}")
        if ":" in path and not path.rstrip().endswith(":"):
            option, _, written = path.partition(":")
            raise ValueError(f"{where}[{number}]: {spelled({option.strip(): written.strip()})}")
        if path in value[:number]:
            raise ValueError(f"{where}[{number}]: {path} is listed twice; remove one of them")
    return tuple(value)


def _flat(value: Mapping[Any, Any], above: str = "") -> dict[str, Any]:
    """Flatten nested mappings below model, data and training to key paths, and leave everything else unchanged."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        path = f"{above}.{key}" if above else str(key)
        nested = isinstance(item, dict) and item and meant(item) is None and path.split(".")[0] in RUN_KEYS
        found |= _flat(item, path) if nested else {path: item}
    return found


def _is_key_path(key: Any) -> bool:
    return isinstance(key, str) and key.split(".")[0] in RUN_KEYS and "." in key


def spelled(given: Mapping[Any, Any]) -> str:
    """Return advice on how to write a mapping from key paths to values or ranges in a study."""
    path, values = next(iter(given.items()))
    paths = ", ".join(map(str, given))
    wrong = next((name for name in given if not _is_key_path(name)), None)
    full = "" if wrong is None else f" ({wrong} is not a key path; an example is training.optimizer.learning_rate)"
    found = {name: known for name, value in given.items() if (known := meant(value)) is not None}
    if path not in found:
        return (
            f"list only key paths, because the ranges come from the components' search spaces: write over: "
            f"[{paths}]{full}, and your own values as ranges: {{{path}: [first, second]}} or {{{path}: {{low: ..., "
            f"high: ..., log: true}}}}; got {values!r}"
        )
    if single := [name for name, known in found.items() if len(known.choices) == 1]:
        return f"{single[0]} has only one value, so it cannot be searched; set it in the arm or in base{full}"
    shown = ", ".join(f"{name}: {known}" for name, known in found.items())
    said = f"list only key paths here, and put their values in ranges: write over: [{paths}], ranges: {{{shown}}}{full}"
    if not all(known.choices for known in found.values()):
        return said
    between = _between(found[path])
    return (
        f"{said}, and sampler: grid to try every value{between}. To train every value on all seeds without a search, "
        f"write vary: ARM, factors: {{{shown}}}"
    )


def _between(found: Meant) -> str:
    """Return advice on how to write a list of two numbers if a range is meant."""
    if len(found.choices) != 2 or not all(map(is_number, found.choices)):
        return ""
    low, high = found.choices
    if not low < high:
        return ""
    return f"; for all values in between, write {Meant(low=low, high=high)}"


def ranges(value: Any) -> Any:
    """Read `search.ranges`: dimensions, by parameter name."""
    if not isinstance(value, dict):
        raise ValueError(  # noqa: TRY004 -- pydantic turns ValueErrors into messages
            f"must be a mapping from parameters to lists or ranges, e.g. {{training.batch_size: [16, 32]}}; "
            f"got {value!r}"
        )
    return {str(name): _dimension(str(name), given) for name, given in value.items()}


def _dimension(name: str, given: Any) -> Dimension:
    if isinstance(given, (Categorical, Integer, Real)):
        return given
    try:
        if isinstance(given, (list, tuple)) and meant(given) is not None:
            return Categorical(tuple(given))
        if isinstance(given, dict) and {"low", "high"} <= set(given) <= {"low", "high", "log"}:
            low, high, log = given["low"], given["high"], given.get("log", False)
            if is_number(low) and is_number(high) and isinstance(log, bool):
                whole = isinstance(low, int) and isinstance(high, int)
                return Integer(low, high, log) if whole else Real(float(low), float(high), log)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    found = meant(given)
    shown = f"write {found}" if found is not None else "write a list, or {low: ..., high: ..., log: true}"
    raise ValueError(f"{name}: {shown}; got {given!r}")


def levels(value: Any) -> Any:
    """Read the levels of one range in a grid: the number of levels, or a list of levels."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    if isinstance(value, (list, tuple)) and value and not any(isinstance(item, (list, dict)) for item in value):
        return tuple(value)
    found = meant(value)
    shown = f"; write {found}" if found is not None and found.choices else ""
    raise ValueError(f"must be a number of levels or a list of levels, e.g. [0.0001, 0.001]{shown}; got {value!r}")
