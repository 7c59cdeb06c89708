"""The robust interval: comparison with scipy, brute force and closed forms, and invariances."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.looks import Looks
from analysis.statistics.robust import (
    method_of,
    robust_reading,
    signed_ranks,
    sums_of_ranks,
    trimmed_mean,
    walsh_averages,
)

ALPHA = Looks((5, 8, 12)).levels[0]
halves = st.integers(-400, 400).map(lambda number: number / 8)  # sums and differences of these numbers are exact
samples = st.lists(halves, min_size=5, max_size=14)


@pytest.mark.parametrize("n", [7, 8, 12])
def test_without_ties_the_p_value_matches_scipy(n):
    for x in np.random.default_rng(n).normal(0.5, 1, size=(20, n)):
        assert robust_reading(x, ALPHA).p == pytest.approx(stats.wilcoxon(x, method="exact").pvalue)


@pytest.mark.parametrize("n", [1, 5, 9])
def test_the_distribution_covers_all_combinations_of_signs(n):
    sums = [sum(rank for rank, sign in enumerate(signs, 1) if sign) for signs in product((0, 1), repeat=n)]
    counted = np.bincount(sums) / 2**n
    assert sums_of_ranks(n) == pytest.approx(np.cumsum(counted))


@pytest.mark.parametrize("n", [7, 8, 10])
def test_the_interval_contains_the_values_that_the_test_does_not_reject(n):
    x = np.random.default_rng(3).normal(1, 1, size=n)
    found = robust_reading(x, ALPHA)
    inside = [found.lower + 1e-9, found.estimate, found.upper - 1e-9]
    outside = [found.lower - 1e-9, found.upper + 1e-9]
    assert all(stats.wilcoxon(x - shift, method="exact").pvalue > ALPHA for shift in inside)
    assert all(stats.wilcoxon(x - shift, method="exact").pvalue <= ALPHA for shift in outside)


def test_the_estimate_is_the_median_of_the_walsh_averages():
    x = [4.0, -1.0, 2.5, 7.0, 0.5, 3.0, 3.0]
    brute = [(x[i] + x[j]) / 2 for i in range(7) for j in range(i, 7)]
    assert sorted(walsh_averages(x).tolist()) == sorted(brute)
    assert robust_reading(x, ALPHA).estimate == np.median(brute)


def test_the_trimmed_mean_has_the_yuen_interval():
    x = np.array([0.3, 1.1, 0.9, 1.4, 9.0])
    winsorised = np.array([0.9, 0.9, 1.1, 1.4, 1.4])
    error = np.sqrt(((winsorised - winsorised.mean()) ** 2).sum() / (3 * 2))
    found = robust_reading(x, ALPHA)
    assert found.method == "trimmed mean"
    assert found.estimate == pytest.approx(stats.trim_mean(x, 0.2))
    assert found.upper - found.estimate == pytest.approx(stats.t.ppf(1 - ALPHA / 2, 2) * error)
    assert found.p == pytest.approx(2 * stats.t.sf(found.estimate / error, 2))
    # Compared with a sample without spread, Yuen's two-sample test has the standard error of the other sample alone.
    scipy = stats.ttest_ind(x, np.zeros(5), equal_var=False, trim=0.2)
    assert found.p == pytest.approx(scipy.pvalue)


@pytest.mark.parametrize("n", [7, 8, 12])
def test_the_coverage_of_the_interval_is_at_least_nominal_for_heavy_tails(n):
    x = np.random.default_rng(n).standard_t(2, size=(20_000, n))
    _, lower, upper, p = signed_ranks(x, 0.05)
    assert ((lower <= 0) & (upper >= 0)).mean() >= 0.95 - 4 * np.sqrt(0.05 * 0.95 / 20_000)
    assert ((p <= 0.05) == ((lower > 0) | (upper < 0))).all(), "p and the interval agree"


@given(samples, st.sampled_from([ALPHA, 0.05, 0.2]))
@settings(max_examples=200, deadline=None)
def test_p_value_and_interval_agree_with_ties_and_zeros(x, alpha):
    found = robust_reading(x, alpha)
    assert found.lower <= found.estimate <= found.upper
    if found.method == "signed ranks":
        assert found.excludes_zero == (found.p <= alpha)


@given(samples, halves, st.sampled_from([0.5, 2.0, 4.0]), st.randoms())
@settings(max_examples=200, deadline=None)
def test_robust_readings_change_correctly_with_shift_scale_sign_and_order(x, shift, scale, random):
    found = robust_reading(x, ALPHA)
    moved = robust_reading([scale * value + shift for value in x], ALPHA)
    for name in ("estimate", "lower", "upper"):
        assert getattr(moved, name) == pytest.approx(scale * getattr(found, name) + shift, abs=1e-9)
    mirrored = robust_reading([-value for value in x], ALPHA)
    assert (mirrored.lower, mirrored.upper) == pytest.approx((-found.upper, -found.lower), abs=1e-9)
    shuffled = list(x)
    random.shuffle(shuffled)
    other = robust_reading(shuffled, ALPHA)
    assert (other.estimate, other.lower, other.upper) == pytest.approx((found.estimate, found.lower, found.upper))


def test_the_robust_reading_depends_on_the_number_of_pairs():
    assert robust_reading([1.0, 2.0, 3.0, 4.0], ALPHA) is None
    assert [method_of(n, ALPHA) for n in (5, 6, 7, 8)] == ["trimmed mean"] * 2 + ["signed ranks"] * 2
    assert method_of(7, 0.01) == "trimmed mean", "the smallest p-value of 7 pairs is 2 / 128"
    assert robust_reading([2.0] * 5, ALPHA).lower == 2.0
    assert np.isnan(trimmed_mean([[2.0] * 5], ALPHA)[3][0])


def test_invalid_differences_are_refused():
    with pytest.raises(ValueError, match="must be finite"):
        robust_reading([1.0, np.nan, 2, 3, 4], ALPHA)
    with pytest.raises(ValueError, match="alpha must be between 0 and 1; got 2"):
        robust_reading([1.0] * 5, 2)
    with pytest.raises(ValueError, match=r"5 differences cannot reach alpha 0\.01"):
        signed_ranks([[1.0, 2, 3, 4, 5]], 0.01)
