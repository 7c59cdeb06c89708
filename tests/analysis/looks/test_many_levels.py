"""Levels for many arms: Holm's procedure has a different level for each arm."""

from __future__ import annotations

import pytest

from analysis.looks import Looks
from analysis.looks.sequential import constant, constants


@pytest.mark.parametrize("looks", [(5, 8, 12, 20), (5, 6)])
def test_the_constants_of_many_arms_equal_the_constants_of_single_arms(looks):
    alphas = [0.05 / k for k in range(1, 201)]
    found = constants(looks, alphas)
    assert list(found) == sorted(alphas)
    for alpha in alphas[::29]:
        assert found[alpha] == pytest.approx(constant(looks, alpha), abs=5e-10)


def test_with_few_arms_the_constant_is_exact():
    alphas = [0.05 / k for k in range(1, 4)]
    assert constants((5, 8), alphas) == {alpha: constant((5, 8), alpha) for alpha in alphas}


@pytest.mark.parametrize("looks", [Looks((6,)), Looks((5, 8)), Looks((5, 8), further_block=4)])
def test_levels_for_many_alphas_equal_the_levels_for_each_alpha(looks):
    assert looks.levels_of([0.05, 0.01]) == {alpha: looks.levels_at(alpha) for alpha in (0.05, 0.01)}
