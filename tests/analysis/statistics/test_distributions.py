"""Quantiles and tail probabilities agree with `scipy.stats`, which is slow to import."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.statistics import distributions

SHARES = st.floats(1e-6, 1 - 1e-6)
DEGREES = st.floats(0.5, 1e4)
VALUES = st.floats(-50, 50)


@given(SHARES, DEGREES, VALUES)
def test_t_and_normal_match_scipy_stats_bit_for_bit(share: float, df: float, value: float) -> None:
    assert distributions.t_quantile(share, df) == stats.t.ppf(share, df)
    assert distributions.t_above(value, df) == stats.t.sf(value, df)
    assert distributions.normal_quantile(share) == stats.norm.ppf(share)
    assert distributions.normal_below(value) == stats.norm.cdf(value)


@given(SHARES, st.integers(1, 5000))
def test_chi2_matches_scipy_stats_bit_for_bit(share: float, df: int) -> None:
    assert distributions.chi2_quantile(share, df) == stats.chi2.ppf(share, df)


@given(SHARES, st.integers(1, 100_000), st.integers(1, 100_000))
def test_beta_agrees_with_scipy_stats(share: float, a: int, b: int) -> None:
    np.testing.assert_allclose(distributions.beta_quantile(share, a, b), stats.beta.ppf(share, a, b), rtol=1e-9)


def test_arrays_are_processed_element_by_element_and_nan_stays_nan() -> None:
    found = distributions.beta_quantile(0.01, np.array([1.0, np.nan]), np.array([2.0, np.nan]))
    assert abs(found[0] - stats.beta.ppf(0.01, 1, 2)) < 1e-12
    assert np.isnan(found[1])
    assert distributions.t_above(np.array([0.0, 1.0]), 3).tolist() == stats.t.sf([0.0, 1.0], 3).tolist()


def test_the_limits_of_the_t_distribution_are_infinite() -> None:
    """Old versions of `scipy.special` return NaN for both limits, and new versions return infinity for 0."""
    assert distributions.t_quantile(1.0, 4) == math.inf
    assert distributions.t_quantile([0.0, 0.5, 1.0], 4).tolist() == [-math.inf, 0.0, math.inf]
