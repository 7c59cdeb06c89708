"""Meaning of search values in the notations of W&B, Optuna, Ray Tune, Hydra, Ax and NNI.

Studies do not use these notations. They are recognized so that a message can show how to write the same values in a
study.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

_CHOICES = ("values", "choices", "choice", "options", "domain", "grid", "grid_search", "categories", "_value")
_ENDS = (("low", "high"), ("min", "max"), ("lower", "upper"), ("start", "stop"), ("from", "to"))
_KINDS = ("distribution", "type", "_type", "dist")
_NUMBER = r"[-+]?\d[\d_]*\.?\d*(?:[eE][-+]?\d+)?"
_RANGE_CALLS = {
    "uniform",
    "loguniform",
    "interval",
    "quniform",
    "qloguniform",
    "suggest_float",
    "suggest_uniform",
    "suggest_loguniform",
    "suggest_discrete_uniform",
    "floatdistribution",
    "uniformdistribution",
    "loguniformdistribution",
    "real",
    "float",
}
_INTEGER_CALLS = {"randint", "lograndint", "qrandint", "range", "suggest_int", "intdistribution", "integer"}
_WITHOUT_HIGH = {"randint", "lograndint", "range"}
"""Functions of Ray Tune, NumPy, Hyperopt, Hydra and Python whose upper limit is exclusive."""
_SPACINGS = {"logspace": True, "geomspace": True, "linspace": False, "arange": False}
_MOST_STEPS = 20
"""Maximum number of steps for which a range is shown as a list of values."""
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
    """The values that a notation stands for: choices or a range. A range with steps becomes a list of its values."""

    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False

    def __str__(self) -> str:
        """Return the values in the notation of `search.ranges`."""
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
    named = next((key for key in ("loguniform", "uniform", "interval") if _is_pair(value.get(key))), "")
    log = log or named == "loguniform"
    pairs += [tuple(value[key]) for key in ("bounds", "range", "_value", named) if _is_pair(value.get(key))]
    if pairs and (kind != "choice" or "_value" not in value):
        step = next((value[key] for key in ("step", "q", "steps") if is_number(value.get(key))), None)
        return _range(*pairs[0], log, step)
    listed = next((value[key] for key in _CHOICES if isinstance(value.get(key), (list, tuple))), None)
    if listed is None and "value" in value:
        listed = [value["value"]]
    return meant(listed) if listed is not None else None


def _is_pair(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(map(is_number, value))


def is_number(value: Any) -> bool:
    """Return whether a value is a number; true and false are not numbers."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _range(low: Any, high: Any, log: bool, step: float | None = None) -> Meant | None:
    if not (is_number(low) and is_number(high)):
        return None
    number = int((high - low) / step + 1e-9) + 1 if step and not log else 0
    if step not in (None, 1) and 2 <= number <= _MOST_STEPS:
        assert step is not None
        return Meant(tuple(_rounded(low + index * step) for index in range(number)))
    if log and low < 0:  # exponents, as in W&B's log_uniform
        low, high = float(f"{2.718281828459045**low:.3g}"), float(f"{2.718281828459045**high:.3g}")
    return Meant(low=low, high=high, log=log)


def _rounded(number: float) -> float:
    return number if isinstance(number, int) else float(f"{number:.10g}")


def _meant_by_text(text: str) -> Meant | None:
    found = re.fullmatch(r"\s*(?:\w+\.)*(\w+)\s*\((.*)\)\s*", text, re.DOTALL)
    if found:
        return _call(found[1].lower(), found[2])
    if pair := re.fullmatch(rf"\s*\[?\s*({_NUMBER})\s*(?:\.\.\.?|:|\bto\b|–)\s*({_NUMBER})\s*\]?\s*", text):
        return Meant(low=_scalar(pair[1]), high=_scalar(pair[2]))
    inside = re.fullmatch(r"\s*[\[({](.*)[\])}]\s*", text, re.DOTALL)
    items = [item.strip() for item in (inside[1] if inside else text).split(",")]
    return Meant(tuple(map(_scalar, items))) if len(items) > 1 and all(items) else None


def _call(name: str, inside: str) -> Meant | None:
    """Return the values of ``loguniform(1e-4, 1e-1)``, ``choice([1, 2])``, ``tag(log, interval(1, 8))``, ..."""
    if name in {"tag", "int", "float", "shuffle", "sort"}:
        tagged = re.fullmatch(r"\s*(?:\w+\s*,\s*)*(\w+\(.*\))\s*", inside, re.DOTALL)
        inner = _meant_by_text(tagged[1]) if tagged else None
        log = "log" in inside.partition("(")[0]
        if inner is not None:
            return replace(inner, log=inner.log or log)
    items = [item.strip() for item in inside.split(",")]
    named = {key.strip(): _scalar(_bare(value)) for key, sign, value in (i.partition("=") for i in items) if sign}
    plain = [_scalar(_bare(item)) for item in items if item and "=" not in item]
    if name in _CHOICE_CALLS | {"shuffle", "sort"}:
        labelled = name.startswith("suggest") or (name == "choice" and re.match(r"\s*[^\s\[(][^\[]*\[", inside))
        return Meant(tuple(plain[1:] if labelled else plain)) if plain and "lambda" not in inside else None
    numbers = [item for item in plain if is_number(item)]
    ends = [named[key] for pair in _ENDS for key in pair if key in named] if len(numbers) < 2 else numbers
    if name in _SPACINGS and len(ends) >= 2:
        return _spaced(name, *ends[:3])
    if name not in _RANGE_CALLS | _INTEGER_CALLS or len(ends) < 2:
        return None
    log = "log" in name or named.get("log") is True or "log" in str(named.get("prior"))
    step = named.get("step", named.get("q", numbers[2] if len(numbers) > 2 else None))
    high = ends[1] - 1 if name in _WITHOUT_HIGH and isinstance(ends[1], int) else ends[1]
    return _range(ends[0], high, log, step if is_number(step) else None)


def _bare(item: str) -> str:
    return item.strip().strip("[]()\"'")


def _spaced(name: str, low: float, high: float, third: float | None = None) -> Meant | None:
    """Return the values of ``np.logspace(-4, -1, 4)``, ``np.linspace(0, 1, 5)``, ``np.arange(0, 1, 0.25)``, ..."""
    if name == "arange":
        step = third or 1
        return _range(low, high - step, False, step)
    if name == "logspace":
        low, high = _rounded(10.0**low), _rounded(10.0**high)
    log = _SPACINGS[name]
    number = int(third or 0)
    if not 2 <= number <= _MOST_STEPS or (log and low <= 0):
        return _range(low, high, log)
    shares = [index / (number - 1) for index in range(number)]
    values = [low * (high / low) ** share if log else low + share * (high - low) for share in shares]
    return Meant(tuple(map(_rounded, values)))


def _scalar(text: str) -> Any:
    if re.fullmatch(_NUMBER, text):
        return float(text) if any(sign in text for sign in ".eE") else int(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
