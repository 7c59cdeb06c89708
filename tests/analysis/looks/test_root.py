"""Roots of functions are bitwise identical to scipy's, without importing scipy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from analysis.looks.root import root
from analysis.looks.sequential import _constant, overall_error


@pytest.mark.parametrize("looks", [(5, 8), (5, 8, 12), (5, 8, 12, 20), (5, 10, 15), (6, 7, 30), tuple(range(5, 16))])
@pytest.mark.parametrize("alpha", [0.05, 0.025, 0.05 / 17, 0.01, 0.2])
def test_the_constant_of_looks_is_bitwise_identical_to_the_root_that_scipy_finds(
    looks: tuple[int, ...], alpha: float
) -> None:
    low, xtol = alpha / len(looks), 1e-10
    theirs = optimize.brentq(lambda level: overall_error(looks, level) - alpha, low, alpha, xtol=xtol)
    assert _constant.__wrapped__(looks, alpha) == theirs


@settings(deadline=None, max_examples=300)
@given(st.floats(-3, 3), st.floats(0.01, 5), st.integers(1, 7), st.floats(1e-14, 1e-3))
def test_roots_of_curves_are_bitwise_identical_to_those_that_scipy_finds(
    at: float, scale: float, power: int, xtol: float
) -> None:
    def curve(x: float) -> float:
        return math.copysign(abs(x - at) ** power, x - at) * scale + math.expm1(x - at) / 7

    assert root(curve, -4.0, 5.0, xtol) == optimize.brentq(curve, -4.0, 5.0, xtol=xtol)


def test_a_root_at_an_end_point_is_returned_as_that_end_point() -> None:
    assert root(lambda x: x - 1, 1.0, 2.0, 1e-9) == 1.0
    assert root(lambda x: x - 2, 1.0, 2.0, 1e-9) == 2.0


def test_end_points_with_the_same_sign_and_too_many_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="different signs"):
        root(lambda x: x + 1, 1.0, 2.0, 1e-9)
    with pytest.raises(RuntimeError, match="no root after 100 steps"):
        root(lambda x: math.copysign(1.0, x - 1e-200), -1.0, 1e300, 1e-300)
