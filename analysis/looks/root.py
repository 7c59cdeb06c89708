"""The root of a function by Brent's method (Brent 1973, chapter 4), with the same steps as `scipy.optimize.brentq`.

The same operations in the same order produce bitwise identical results. Importing `scipy.optimize` for this single call
takes as long as importing pandas, which would delay `ablate status` and every session.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

_RTOL = 4 * sys.float_info.epsilon
_STEPS = 100


def root(function: Callable[[float], float], low: float, high: float, xtol: float) -> float:
    """Return where a function is 0 between two points at which it has different signs.

    Raises
    ------
    ValueError: the signs are the same.
    RuntimeError: 100 steps do not suffice.
    """
    before, current, block = low, high, 0.0
    f_before, f_current, f_block = function(before), function(current), 0.0
    if f_before == 0:
        return before
    if f_current == 0:
        return current
    if not _differ(f_before, f_current):
        raise ValueError(f"a root needs different signs; got {f_before!r} at {low!r} and {f_current!r} at {high!r}")
    step_before = step = 0.0
    for _ in range(_STEPS):
        if f_before != 0 and f_current != 0 and _differ(f_before, f_current):
            block, f_block = before, f_before
            step_before = step = current - before
        if abs(f_block) < abs(f_current):
            before, current, block = current, block, current
            f_before, f_current, f_block = f_current, f_block, f_current
        delta = (xtol + _RTOL * abs(current)) / 2
        half = (block - current) / 2
        if f_current == 0 or abs(half) < delta:
            return current
        step_before, step = _step(
            (before, current, block), (f_before, f_current, f_block), (step_before, step), half, delta
        )
        before, f_before = current, f_current
        current += step if abs(step) > delta else math.copysign(delta, half)
        f_current = function(current)
    raise RuntimeError(f"no root after {_STEPS} steps; the last two points are {before!r} and {current!r}")


def _differ(one: float, other: float) -> bool:
    return math.copysign(1.0, one) != math.copysign(1.0, other)


def _step(
    x: tuple[float, float, float], f: tuple[float, float, float], steps: tuple[float, float], half: float, delta: float
) -> tuple[float, float]:
    """Return the last and the next step; the next step is interpolated if short enough, or else goes to the middle."""
    (before, current, block), (f_before, f_current, f_block), (step_before, step) = x, f, steps
    if not (abs(step_before) > delta and abs(f_current) < abs(f_before)):
        return half, half
    if before == block:
        tried = -f_current * (current - before) / (f_current - f_before)
    else:
        to_before = (f_before - f_current) / (before - current)
        to_block = (f_block - f_current) / (block - current)
        tried = -f_current * (f_block * to_block - f_before * to_before) / (to_block * to_before * (f_block - f_before))
    return (step, tried) if 2 * abs(tried) < min(abs(step_before), 3 * abs(half) - delta) else (half, half)
