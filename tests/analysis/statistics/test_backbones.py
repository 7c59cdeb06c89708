"""Two backbones: the mean and the difference of their gains, against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.statistics.backbones import two_backbones
from analysis.statistics.interval import t_interval


@given(n=st.integers(2, 12), m=st.integers(2, 12), alpha=st.sampled_from([0.05, 0.0213, 0.2]), seed=st.integers(0, 99))
def test_the_difference_is_welch_and_the_mean_half_as_wide(n: int, m: int, alpha: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(2, 1, n), rng.normal(-1, 3, m)
    found = two_backbones(t_interval(x, alpha), t_interval(y, 0.05))
    low, high = stats.ttest_ind(x, y, equal_var=False).confidence_interval(1 - alpha)
    assert (found.difference.lower, found.difference.upper) == pytest.approx((low, high))
    assert found.difference.mean == pytest.approx(x.mean() - y.mean())
    assert found.mean.mean == pytest.approx((x.mean() + y.mean()) / 2)
    half = (high - low) / 4
    assert (found.mean.lower, found.mean.upper) == pytest.approx((found.mean.mean - half, found.mean.mean + half))
    assert found.mean.alpha == found.difference.alpha == alpha
    for interval in (found.mean, found.difference):
        assert interval.n == min(n, m)
        assert interval.mean + interval.critical * interval.sd / np.sqrt(interval.n) == pytest.approx(interval.upper)


@pytest.mark.parametrize(("first", "second", "both"), [(5, 5, True), (5, 0, False), (0, 5, False), (-5, -5, False)])
def test_a_gain_on_both_needs_both_intervals_above_0(first: float, second: float, both: bool) -> None:
    noise = np.array([-1.0, 0.0, 1.0])
    assert two_backbones(t_interval(first + noise), t_interval(second + noise)).both_positive is both


def test_differences_without_spread_have_an_interval_of_no_width() -> None:
    found = two_backbones(t_interval([1.0, 1.0]), t_interval([3.0, 3.0, 3.0]))
    assert (found.mean.lower, found.mean.mean, found.mean.upper) == (2.0, 2.0, 2.0)
    assert (found.difference.lower, found.difference.upper) == (-2.0, -2.0)


@pytest.mark.parametrize(("first", "second"), [([1.0], [1.0, 2.0]), ([1.0, 2.0], [1.0])])
def test_one_pair_is_refused(first: list[float], second: list[float]) -> None:
    with pytest.raises(ValueError, match="both comparisons need at least two pairs"):
        two_backbones(t_interval(first), t_interval(second))
