"""Variance by source and the gain from pairing: closed forms, and coverage in simulations with known variances."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.statistics.pairing_gain import correlation_interval, pairing_gain
from analysis.statistics.variance_sources import (
    determines,
    enough_seeds,
    ratio_interval,
    remainder_interval,
    source_table,
    uncorrelated_ratio,
    variance_interval,
    variances,
)

REPETITIONS = 4000
ERROR = 4 * math.sqrt(0.05 * 0.95 / REPETITIONS)
"""Four standard errors of a rate of 5 %."""


def test_the_interval_of_a_variance_follows_the_chi_squared_distribution() -> None:
    x = [1.0, 2.0, 4.0, 7.0, 11.0]
    low, high = stats.chi2.ppf([0.975, 0.025], 4)
    assert variance_interval(x) == pytest.approx((4 * np.var(x, ddof=1) / low, 4 * np.var(x, ddof=1) / high))
    assert all(map(math.isnan, variance_interval([3.0, 3.0, 3.0])))


def test_the_limits_of_a_ratio_are_where_the_decision_of_the_pitman_test_changes() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=9)
    y = 2 * x + rng.normal(size=9)
    for limit in ratio_interval(x, y):
        scaled = y * math.sqrt(limit)  # the variances are equal if the sum and the difference are uncorrelated
        assert stats.pearsonr(x + scaled, x - scaled).pvalue == pytest.approx(0.05)


@pytest.mark.parametrize(("init", "rest", "n"), [(1.0, 1.0, 5), (0.3, 2.0, 8), (3.0, 0.5, 12)])
def test_the_interval_of_a_share_has_the_stated_coverage(init: float, rest: float, n: int) -> None:
    rng = np.random.default_rng(n)
    hits = 0
    for _ in range(REPETITIONS):
        a = rng.normal(0, math.sqrt(init), n)  # the same initial values in both series
        low, high = ratio_interval(a, a + rng.normal(0, math.sqrt(rest), n))
        hits += low <= init / (init + rest) <= high
    assert abs(hits / REPETITIONS - 0.95) < ERROR


@pytest.mark.parametrize("extra", [0.0, 1.5])
def test_the_interval_of_the_remainder_has_at_least_the_stated_coverage(extra: float) -> None:
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(REPETITIONS):
        parts = [rng.normal(0, sd, 12) for sd in (1.0, 0.7, 0.5)]
        together = sum(parts) + rng.normal(0, math.sqrt(extra), 12)
        _, low, high = remainder_interval(together, parts)
        hits += low <= extra <= high
    assert hits / REPETITIONS > 0.95 - ERROR


def test_a_share_is_determined_if_its_interval_excludes_a_quarter_of_the_range() -> None:
    assert determines(0.2, 0.95)
    assert determines(0.3, 40.0)
    assert determines(1.2, 40.0)
    assert not determines(0.2, 0.96)
    assert not determines(0.00372, 232.0)
    assert not determines(math.nan, math.nan)


def test_enough_seeds_determine_every_share_and_one_seed_fewer_does_not() -> None:
    enough = enough_seeds()

    def all_shares(n: int) -> bool:
        low, high = uncorrelated_ratio(n)
        return all(determines(share * low, share * high) for share in np.linspace(0.001, 1.2, 2000))

    assert all_shares(enough)
    assert not all_shares(enough - 1)


def test_planted_variances_are_estimated() -> None:
    rng = np.random.default_rng(3)
    n = 4000
    seeds = pd.RangeIndex(n)
    planted = {"split": 0.5, "init": 2.0, "order": 1.0}
    parts = {name: pd.Series(rng.normal(0, math.sqrt(v), n), index=seeds) for name, v in planted.items()}
    found = variances("arm", sum(parts.values()), {**parts, "noise": pd.Series(0.0, index=seeds)})
    for source in found.sources[:3]:
        assert source.variance == pytest.approx(planted[source.source], rel=0.12)
        assert source.share == pytest.approx(planted[source.source] / 3.5, rel=0.15)
        assert source.lower < planted[source.source] < source.upper
    assert found.sources[1].worth == pytest.approx(1 / (1 - found.sources[1].share))
    assert found.remainder_lower < 0 < found.remainder_upper
    noise = found.sources[3]
    assert (noise.variance, noise.share) == (0, 0)
    assert math.isnan(noise.share_lower)
    assert source_table([found])["source"].tolist() == ["split", "init", "order", "noise", "all", "remainder"]


def test_the_pairing_gain_matches_its_closed_forms() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=10)
    y = 0.8 * x + 0.3 * rng.normal(size=10)
    found = pairing_gain(x, y)
    assert found is not None
    r = np.corrcoef(x, y)[0, 1]
    assert found.paired == pytest.approx(
        found.treatment + found.control - 2 * r * math.sqrt(found.treatment * found.control)
    )
    assert found.saved == pytest.approx(1 - np.var(x - y, ddof=1) / (np.var(x, ddof=1) + np.var(y, ddof=1)))
    half = stats.t.ppf(0.975, 9) * (x - y).std(ddof=1) / math.sqrt(10)

    def welch(m: int) -> float:
        df = (m - 1) * found.unpaired**2 / (found.treatment**2 + found.control**2)
        return float(stats.t.ppf(0.975, df) * math.sqrt(found.unpaired / m))

    assert found.unpaired_seeds is not None
    assert welch(found.unpaired_seeds) <= half < welch(found.unpaired_seeds - 1)


def test_the_pairing_gain_of_constant_or_shifted_arms_is_defined() -> None:
    assert pairing_gain([1.0, 1, 1, 1], [1.0, 2, 3, 4]) is None
    assert pairing_gain([1.0, 2], [2.0, 4]) is None
    constant = pairing_gain([1.0, 2, 4, 3], [2.0, 3, 5, 4])
    assert constant is not None
    assert constant.unpaired_seeds is None
    assert constant.saved == pytest.approx(1)


def test_the_interval_of_a_correlation_has_about_the_stated_coverage() -> None:
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(REPETITIONS):
        x, e = rng.normal(size=(2, 12))
        low, high = correlation_interval(float(np.corrcoef(x, 0.6 * x + 0.8 * e)[0, 1]), 12)
        hits += low <= 0.6 <= high
    assert abs(hits / REPETITIONS - 0.95) < ERROR
