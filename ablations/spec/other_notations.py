"""Meaning of the values of a search in the notations of W&B, Optuna, Ray Tune, Hydra, Ax and NNI.

A study does not use these notations; they are recognized so that a message can show how a study writes the same values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

_CHOICES = ("values", "choices", "choice", "grid", "grid_search", "categories", "_value")
_ENDS = (("low", "high"), ("min", "max"), ("lower", "upper"), ("start", "stop"), ("from", "to"))
_KINDS = ("distribution", "type", "_type", "dist")
_NUMBER = r"[-+]?\d[\d_]*\.?\d*(?:[eE][-+]?\d+)?"
_RANGE_CALLS = {"uniform", "loguniform", "interval", "quniform", "qloguniform", "suggest_float", "floatdistribution"}
_INTEGER_CALLS = {"randint", "lograndint", "qrandint", "range", "suggest_int", "intdistribution"}
_CHOICE_CALLS = {
    "choice",
    "grid_search",
    "suggest_categorical",
    "categoricaldistribution",
    "sample_from",
    "categorical",
}


@dataclass(frozen=True)
class Meant:
    """The values that a notation stands for: choices, or a range."""

    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False

    def __str__(self) -> str:
        """Return the values as they are written in `search.ranges`."""
        if self.choices:
            return "[" + ", ".join(map(_plain, self.choices)) + "]"
        return f"{{low: {_plain(self.low)}, high: {_plain(self.high)}{', log: true' if self.log else ''}}}"


def _plain(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)


def meant(value: Any) -> Meant | None:
    """Return the values that a notation stands for, or None if it is not recognized."""
    if isinstance(value, str):
        return _meant_by_text(value)
    if isinstance(value, (list, tuple)):
        plain = value and not any(isinstance(item, (list, dict)) for item in value)
        return Meant(tuple(value)) if plain else None
    return _meant_by_mapping(value) if isinstance(value, Mapping) else None


def _meant_by_mapping(value: Mapping[str, Any]) -> Meant | None:
    kind = str(next((value[key] for key in _KINDS if key in value), "")).lower()
    log = kind.startswith(("log", "qlog", "q_log", "inv_log")) or value.get("log") in (True, "true")
    log = log or bool(value.get("log_scale")) or value.get("scale") == "log" or value.get("prior") == "log-uniform"
    pairs = [(value[low], value[high]) for low, high in _ENDS if low in value and high in value]
    pairs += [tuple(value[key]) for key in ("bounds", "range", "_value") if _is_pair(value.get(key))]
    if pairs and (kind != "choice" or "_value" not in value):
        return _range(*pairs[0], log)
    listed = next((value[key] for key in _CHOICES if isinstance(value.get(key), (list, tuple))), None)
    if listed is None and "value" in value:
        listed = [value["value"]]
    return meant(listed) if listed is not None else None


def _is_pair(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(map(is_number, value))


def is_number(value: Any) -> bool:
    """Return whether a value is a number, which true and false are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _range(low: Any, high: Any, log: bool) -> Meant | None:
    if not (is_number(low) and is_number(high)):
        return None
    if log and low < 0:  # exponents, as in W&B's log_uniform
        low, high = float(f"{2.718281828459045**low:.3g}"), float(f"{2.718281828459045**high:.3g}")
    return Meant(low=low, high=high, log=log)


def _meant_by_text(text: str) -> Meant | None:
    found = re.fullmatch(r"\s*(?:\w+\.)*(\w+)\s*\((.*)\)\s*", text, re.DOTALL)
    if found:
        return _call(found[1].lower(), found[2])
    if pair := re.fullmatch(rf"\s*\[?\s*({_NUMBER})\s*(?:\.\.\.?|:|\bto\b|–)\s*({_NUMBER})\s*\]?\s*", text):
        return Meant(low=_scalar(pair[1]), high=_scalar(pair[2]))
    items = [item.strip() for item in text.split(",")]
    return Meant(tuple(map(_scalar, items))) if len(items) > 1 and all(items) else None


def _call(name: str, inside: str) -> Meant | None:
    """Return the values of ``loguniform(1e-4, 1e-1)``, ``choice([1, 2])``, ``tag(log, interval(1, 8))``, ..."""
    if name in {"tag", "int", "float", "shuffle", "sort"}:
        tagged = re.fullmatch(r"\s*(?:\w+\s*,\s*)*(\w+\(.*\))\s*", inside, re.DOTALL)
        inner = _meant_by_text(tagged[1]) if tagged else None
        log = "log" in inside.partition("(")[0]
        return replace(inner, log=inner.log or log) if inner else None
    items = [item.strip().strip("[]()\"'") for item in inside.split(",")]
    plain = [_scalar(item) for item in items if item and "=" not in item]
    if name in _CHOICE_CALLS:
        return Meant(tuple(plain[1:] if name.startswith("suggest") else plain)) if plain else None
    numbers = [item for item in plain if is_number(item)]
    if name in _RANGE_CALLS | _INTEGER_CALLS and len(numbers) >= 2:
        log = "log" in name or re.search(r"log\s*=\s*True", inside) is not None
        return _range(numbers[0], numbers[1], log)
    return None


def _scalar(text: str) -> Any:
    if re.fullmatch(_NUMBER, text):
        return float(text) if any(sign in text for sign in ".eE") else int(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
