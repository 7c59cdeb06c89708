"""Durations as people write and read them: 90s, 30 min, 2h, 1d."""

from __future__ import annotations

import math
import re

_SECONDS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}
_DURATION = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([A-Za-z]*)\s*", re.ASCII)


def parse_seconds(text: str) -> float:
    """Return the number of seconds in a duration such as ``90s``, ``30 min``, ``2h`` or ``1d``.

    Raises
    ------
    ValueError: the text is not a duration, is infinite, or has no unit or an ambiguous one.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a duration; give a number and a unit, such as 30min or 2h")
    number, unit = found[1], found[2]
    if unit == "m":
        raise ValueError(f"{text!r}: the unit 'm' is ambiguous; write {number}min")
    if unit.lower() not in _SECONDS:
        problem = f"unknown unit {unit!r}" if unit else "no unit"
        raise ValueError(f"{text!r}: {problem}; use s, min, h or d, such as 30min")
    seconds = float(number) * _SECONDS[unit.lower()]
    if not math.isfinite(seconds):
        raise ValueError(f"{text!r} is too long")
    return seconds


def duration(seconds: float) -> str:
    """Return a time span as readable text, such as 8 s, 3 min 20 s, 5 h 10 min or 2 d 3 h."""
    whole = round(seconds)
    for unit, inner, size, part in (("d", "h", 86400, 3600), ("h", "min", 3600, 60), ("min", "s", 60, 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit} {rest} {inner}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"
