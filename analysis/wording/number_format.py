"""Numbers and options as readers see them: with true minus signs, units, and only significant digits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

MINUS = "−"
NOTHING = "–"
_MANY_SEEDS, _FIRST_SEEDS = 8, 3
_MORE_DIGITS = 6
"""Decimals that may be added to show on which side of a limit a number lies."""


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
    """Return a number with at least `digits` decimals, and more if needed: ``1.00``, ``0.000001``.

    The number is rounded to six significant digits.
    """
    if not _known(value):
        return NOTHING
    needed = Decimal(f"{value:.6g}").normalize()
    places = max(digits, -int(needed.as_tuple().exponent))
    return f"{needed:.{places}f}".replace("-", MINUS)


def points(value: float | None) -> str:
    """Return percentage points with a sign and without the unit."""
    return decimal(value, sign=True)


def percent(fraction: float | None, digits: int = 2) -> str:
    """Return a fraction from 0 to 1 as a percentage, without the unit."""
    return decimal(None if fraction is None else 100 * fraction, digits)


def interval(lower: float | None, upper: float | None) -> str:
    """Return ``+0.31 to +1.20``."""
    if not _known(lower) or not _known(upper):
        return NOTHING
    return f"{points(lower)} to {points(upper)}"


def digits_beside(ends: Sequence[float], limits: Sequence[float], digits: int = 2) -> int:
    """Return how many decimals show on which side of every limit each end lies; at least `digits`, at most 6 more.

    With two decimals, an end of 0.004 would seem to be 0, and its interval would seem to contain 0.
    """
    most = digits + _MORE_DIGITS
    return next((n for n in range(digits, most) if all(_keeps_sides(end, limits, n) for end in ends)), most)


def _keeps_sides(end: float, limits: Sequence[float], digits: int) -> bool:
    written = float(f"{end:.{digits}f}")
    return all(_side(end, limit) == _side(written, limit) for limit in limits)


def _side(value: float, limit: float) -> int:
    """Return whether a value lies below (-1), at (0) or above (1) a limit, up to rounding errors."""
    return 0 if math.isclose(value, limit, rel_tol=1e-9, abs_tol=1e-12) else 1 if value > limit else -1


def probability(p: float | None, beside: float | None = None) -> str:
    """Return a p-value with three decimals, or as many as show on which side of `beside` it lies.

    Values below .001 become ``< .001``.
    """
    if p is None or not _known(p):
        return NOTHING
    digits = digits_beside((p,), (beside,), 3) if beside else 3
    return "< .001" if p < 0.001 else f"{p:.{digits}f}".lstrip("0") if p < 1 else "1.000"


def level(alpha: float) -> str:
    """Return the confidence level for `alpha`: ``95 %``; it is never rounded to ``100 %``; a dash for 0."""
    if alpha == 0:  # the alpha of an unbounded interval
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


def seeds(numbers: Sequence[int]) -> str:
    """Return seeds in words: ``seed 3``, ``seeds 1, 2 and 4``; if more than eight, their number and the first few."""
    if len(numbers) > _MANY_SEEDS:
        return f"{len(numbers)} seeds ({', '.join(map(str, numbers[:_FIRST_SEEDS]))}, …)"
    return f"{'seed' if len(numbers) == 1 else 'seeds'} {listing([str(number) for number in numbers])}"


def listing(words: list[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


NULL_IS_A_VALUE = frozenset({"alpha"})
"""Component options whose null is not their default: with a null `alpha`, the focal loss does not weight classes."""
_WHOLE = frozenset({"columns"})
"""Mappings in which null is not the default of every key: a table of photos may contain an unused column."""


def option(value: object) -> str:
    """Return an option as people would write it: ``conv_ones(channels=16, rows=4)`` for a component, ``none`` for null.

    Values in a mapping that have no effect are left out: null, empty text and lists, and factors ``*_scale`` of 1.
    """
    if value is None:
        return "none"
    if isinstance(value, dict):
        given = ((key, item) for key, item in value.items() if key != "name" and not _does_nothing(key, item))
        options = ", ".join(f"{key}={_whole(item) if key in _WHOLE else option(item)}" for key, item in given)
        return f"{value.get('name', '')}({options})" if options or "name" not in value else str(value["name"])
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(option, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _does_nothing(key: str, value: object) -> bool:
    if value is None:
        return key not in NULL_IS_A_VALUE
    return value in ("", [], (), {}) or (key.endswith("_scale") and value == 1)


def _whole(value: object) -> str:
    if not isinstance(value, dict):
        return option(value)
    return f"({', '.join(f'{key}={option(item)}' for key, item in value.items())})"
