"""Numbers of bytes as people write them: 4GiB, 500 MB."""

from __future__ import annotations

import re

_UNITS: dict[str, int] = {unit: 1000**power for power, unit in enumerate(("B", "kB", "MB", "GB", "TB"))} | {
    unit: 1024**power for power, unit in enumerate(("KiB", "MiB", "GiB", "TiB"), start=1)
}
_BY_LETTERS = {unit.lower(): size for unit, size in _UNITS.items()}
_AMOUNT = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([A-Za-z]*)\s*", re.ASCII)


def parse_bytes(text: str) -> int:
    """Convert text to a number of bytes, such as ``4GiB`` (1024³ each) or ``500 MB`` (1000² each).

    Raises
    ------
    ValueError: the text is not an amount, or its unit is missing or ambiguous.
    """
    found = _AMOUNT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not an amount of memory; give a number and a unit, such as 4GiB")
    number, unit = found[1], found[2]
    if unit.lower() in _BY_LETTERS:
        return round(float(number) * _BY_LETTERS[unit.lower()])
    prefix = unit[:1].upper()
    if unit.lower() in ("k", "m", "g", "t", "ki", "mi", "gi", "ti"):
        raise ValueError(f"{text!r}: the unit {unit!r} is ambiguous; write {number}{prefix}iB or {number}{prefix}B")
    raise ValueError(f"{text!r}: " + (f"unknown unit {unit!r}" if unit else "no unit") + "; use a unit, such as 4GiB")


def bytes_text(count: float) -> str:
    """Return a number of bytes as text that `parse_bytes` can read, with three significant digits, such as 3.5GiB."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if count >= _UNITS[unit]:
            return f"{count / _UNITS[unit]:.4g}{unit}"
    return f"{count:.0f}B"
