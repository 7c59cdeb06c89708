"""Numbers and options as the reader sees them: true minus signs, units, and only significant digits."""

from __future__ import annotations

import math
from decimal import Decimal

MINUS = "−"
NOTHING = "–"


def _known(value: float | None) -> bool:
    return value is not None and value == value and abs(value) != math.inf  # noqa: PLR0124 -- NaN differs from itself


def decimal(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """Return a decimal number with a typographic minus; a dash for a missing number."""
    if value is None or not _known(value):
        return NOTHING
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return (MINUS if value < 0 else "+" if sign else "") + text


def exact(value: float, digits: int = 2) -> str:
    """Return a number with at least that many decimals, and with as many as it needs: ``1.00``, ``0.000001``.

    Beyond six significant digits it is rounded.
    """
    if not _known(value):
        return NOTHING
    needed = Decimal(f"{value:.6g}").normalize()
    places = max(digits, -int(needed.as_tuple().exponent))
    return f"{needed:.{places}f}".replace("-", MINUS)


def points(value: float | None) -> str:
    """Return percentage points with their sign, without the unit."""
    return decimal(value, sign=True)


def percent(fraction: float | None, digits: int = 2) -> str:
    """Return a fraction from 0 to 1 as per cent, without the unit."""
    return decimal(None if fraction is None else 100 * fraction, digits)


def interval(lower: float | None, upper: float | None) -> str:
    """Return ``+0.31 to +1.20``."""
    if not _known(lower) or not _known(upper):
        return NOTHING
    return f"{points(lower)} to {points(upper)}"


def probability(p: float | None) -> str:
    """Return a p-value: three decimals, ``< .001`` below that."""
    if p is None or not _known(p):
        return NOTHING
    return "< .001" if p < 0.001 else f"{p:.3f}".lstrip("0") if p < 1 else "1.000"


def level(alpha: float) -> str:
    """Return the confidence level of `alpha` in per cent: ``95 %``; never ``100 %`` by rounding; a dash for 0."""
    if alpha == 0:  # of an unbounded interval
        return NOTHING
    digits = next((n for n in range(4, 12) if f"{100 * (1 - alpha):.{n}g}" != "100"), 4)
    return f"{100 * (1 - alpha):.{digits}g} %"


def whole(value: float | None) -> str:
    """Return an integer with thin spaces between thousands; a dash for a missing number."""
    if value is None or not _known(value):
        return NOTHING
    return f"{int(value):,}".replace(",", "\u202f").replace("-", MINUS)


def significant(value: float | None, digits: int = 2) -> str:
    """Return a number rounded to significant digits: ``0.12``, ``170``, ``1,200``; below 0.0001 with an exponent."""
    if value is None or not _known(value):
        return NOTHING
    return f"{float(f'{value:.{digits}g}'):,.15g}".replace("-", MINUS)


def listing(words: list[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def option(value: object) -> str:
    """Return an option as people write it: ``conv_ones(channels=16, rows=4)`` for a component, ``none`` for null."""
    if value is None:
        return "none"
    if isinstance(value, dict) and "name" in value:
        options = ", ".join(f"{key}={option(item)}" for key, item in value.items() if key != "name")
        return f"{value['name']}({options})" if options else str(value["name"])
    if isinstance(value, dict):
        return f"({', '.join(f'{key}={option(item)}' for key, item in value.items())})"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(option, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
