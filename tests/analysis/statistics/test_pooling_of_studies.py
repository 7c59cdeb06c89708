"""Pooling of studies, compared with scipy, statsmodels, closed forms, brute force and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from statsmodels.stats.meta_analysis import combine_effects
from statsmodels.stats.oneway import anova_oneway

from analysis.statistics.interval import Interval, t_interval
from analysis.statistics.pooling import (
    difference,
    equal_weight_mean,
    heterogeneity,
    partial_pooling,
    probability_of_improvement,
    random_effects_mean,
)


def drawn(seed: int, sizes: list[int], spread: float = 1.0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(rng.normal(1, spread), rng.uniform(0.3, 2), n) for n in sizes]


SIZES = st.lists(st.integers(2, 12), min_size=3, max_size=7)


@given(n=st.integers(2, 12), m=st.integers(2, 12), alpha=st.sampled_from([0.05, 0.0213, 0.2]), seed=st.integers(0, 99))
def test_two_studies_have_the_welch_difference_and_a_mean_with_half_the_width(
    n: int, m: int, alpha: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(2, 1, n), rng.normal(-1, 3, m)
    first, second = t_interval(x, alpha), t_interval(y, 0.05)
    found, mean = difference(first, second), equal_weight_mean([first, second])
    low, high = stats.ttest_ind(x, y, equal_var=False).confidence_interval(1 - alpha)
    assert (found.lower, found.upper) == pytest.approx((low, high))
    assert mean.mean == pytest.approx((x.mean() + y.mean()) / 2)
    half = (high - low) / 4
    assert (mean.lower, mean.upper) == pytest.approx((mean.mean - half, mean.mean + half))
    for interval in (mean, found):
        assert interval.n == min(n, m)
        assert interval.alpha == alpha
        assert interval.mean + interval.critical * interval.sd / np.sqrt(interval.n) == pytest.approx(interval.upper)


@given(sizes=SIZES, seed=st.integers(0, 10_000))
def test_the_mean_across_settings_matches_statsmodels(sizes: list[int], seed: int) -> None:
    values = drawn(seed, sizes)
    effects = [t_interval(each) for each in values]
    means, variances = np.array([e.mean for e in effects]), np.array([e.sd**2 / e.n for e in effects])
    found, between = random_effects_mean(effects), heterogeneity(effects).sd ** 2
    weights = 1 / (variances + between)
    off = (weights * (means - np.average(means, weights=weights)) ** 2).sum()
    assert off == pytest.approx(len(sizes) - 1) or (between == 0 and off < len(sizes) - 1)
    # For some data, statsmodels' own Paule-Mandel iteration ends at 0 although the equation has a positive root.
    theirs = combine_effects(means, variances + between, method_re="pm", use_t=True)
    assert found is not None
    assert found.mean == pytest.approx(theirs.mean_effect_fe)
    assert found.sd / np.sqrt(found.n) == pytest.approx(theirs.sd_eff_w_fe_hksj)
    assert found.critical == pytest.approx(stats.t.ppf(0.975, len(sizes) - 1))


@given(sizes=SIZES, seed=st.integers(0, 10_000))
def test_the_test_that_all_effects_are_equal_is_the_welch_test(sizes: list[int], seed: int) -> None:
    values = drawn(seed, sizes, spread=0.5)
    found = heterogeneity([t_interval(each) for each in values]).p
    assert found == pytest.approx(anova_oneway(values, use_var="unequal").pvalue, abs=1e-9)


def test_with_fewer_than_three_studies_there_is_no_mean_across_settings() -> None:
    assert random_effects_mean([t_interval([1.0, 2.0]), t_interval([1.0, 3.0])]) is None


@pytest.mark.parametrize("values", [([1.0], [1.0, 2.0]), ([1.0, 2.0], [1.0]), ([1.0, 2.0],)])
def test_one_pair_and_one_study_are_refused(values: tuple[list[float], ...]) -> None:
    with pytest.raises(ValueError, match="at least two studies are needed, and two pairs in each"):
        equal_weight_mean([t_interval(each) for each in values])


def test_differences_without_spread_have_an_interval_of_width_zero() -> None:
    effects = [t_interval([1.0, 1.0]), t_interval([3.0, 3.0, 3.0])]
    assert (equal_weight_mean(effects).lower, equal_weight_mean(effects).upper) == (2.0, 2.0)
    assert np.isnan(heterogeneity(effects).p)
    found = partial_pooling(effects, 1.0, 2.0)
    assert found.means == pytest.approx([1.0, 3.0], abs=0.02)


def normal_effect(mean: float, error: float) -> Interval:
    """Return an effect for which the seed SD is practically known."""
    n = 100_000
    return Interval(n, mean, error * n**0.5, mean, mean, 0.05, 1.96)


def test_with_a_spread_close_to_0_all_effects_equal_their_weighted_mean() -> None:
    means, errors = np.array([0.0, 1.0, 2.5]), np.array([0.5, 0.4, 1.0])
    effects = [normal_effect(*each) for each in zip(means, errors, strict=True)]
    found = partial_pooling(effects, 1.0, 1e-3)
    weights = 1 / errors**2
    assert found.means == pytest.approx(np.full(3, np.average(means, weights=weights)), abs=2e-3)
    sd = weights.sum() ** -0.5
    assert (found.mean_lower, found.mean_upper) == pytest.approx(
        (found.mean - 1.96 * sd, found.mean + 1.96 * sd), abs=2e-3
    )
    assert found.further_above_zero == pytest.approx(stats.norm.sf(-found.mean / sd), abs=2e-3)


def test_the_posterior_matches_a_closed_form_for_normal_effects() -> None:
    means, errors, scale = np.array([0.2, 1.4, -0.5, 3.0]), np.array([0.5, 0.4, 1.0, 0.7]), 1.5
    found = partial_pooling([normal_effect(*each) for each in zip(means, errors, strict=True)], 1.0, scale)

    def given_spread(spread: float) -> tuple[float, float, float, np.ndarray]:
        weights = 1 / (errors**2 + spread**2)
        total, centre = weights.sum(), np.average(means, weights=weights)
        density = stats.halfnorm.pdf(spread, scale=scale) * np.sqrt(weights.prod() / total)
        density *= np.exp(-0.5 * (weights * (means - centre) ** 2).sum())
        share = errors**2 / (errors**2 + spread**2)
        above = stats.norm.sf((1.0 - centre) / np.sqrt(1 / total + spread**2))
        return density, centre, above, (1 - share) * means + share * centre

    def mean_of(number: int) -> float:
        return float(integrate.quad(lambda s: given_spread(s)[0] * given_spread(s)[number], 0, 12, limit=200)[0])

    whole = integrate.quad(lambda s: given_spread(s)[0], 0, 12, limit=200)[0]
    assert found.mean == pytest.approx(mean_of(1) / whole, abs=1e-4)
    assert found.further[2] == pytest.approx(mean_of(2) / whole, abs=1e-4)
    for study in range(4):
        shrunken = integrate.quad(lambda s, at=study: given_spread(s)[0] * given_spread(s)[3][at], 0, 12, limit=200)[0]
        assert found.means[study] == pytest.approx(shrunken / whole, abs=1e-4)
    spread = integrate.quad(lambda s: given_spread(s)[0] * s, 0, 12, limit=200)[0] / whole
    assert found.sd == pytest.approx(spread, abs=1e-4)


@given(
    sizes=st.lists(st.integers(2, 8), min_size=2, max_size=4),
    seed=st.integers(0, 999),
    shift=st.floats(-20, 20),
    factor=st.sampled_from([0.01, 3.0, 100.0]),
)
@settings(max_examples=10, deadline=None)
def test_units_and_origin_do_not_affect_the_result(sizes: list[int], seed: int, shift: float, factor: float) -> None:
    values = drawn(seed, sizes)
    effects, moved = ([t_interval(f * (v + s)) for v in values] for f, s in ((1.0, 0.0), (factor, shift)))
    one, other = partial_pooling(effects, 1.0, 2.0), partial_pooling(moved, factor, 2.0 * factor)
    assert other.means == pytest.approx(factor * (one.means + shift), rel=1e-3, abs=1e-3 * factor)
    assert other.sd == pytest.approx(factor * one.sd, rel=1e-3)
    assert sum(one.further) == pytest.approx(1)
    order = list(reversed(range(len(sizes))))
    turned = partial_pooling([effects[at] for at in order], 1.0, 2.0)
    assert turned.means[::-1] == pytest.approx(one.means, abs=1e-9)


@pytest.mark.slow  # 200 draws; the estimates themselves are compared with scipy and statsmodels
def test_intervals_have_their_stated_coverage_if_the_model_is_true() -> None:
    rng, hits, draws = np.random.default_rng(4), np.zeros(3), 200
    for _ in range(draws):
        spread = abs(rng.normal(0, 2))
        true = rng.normal(0.7, spread, 4)
        pooled = partial_pooling([t_interval(rng.normal(each, 1.2, 5), 0.1) for each in true], 1.0, 2.0)
        covered = (pooled.lower <= true) & (true <= pooled.upper)
        hits += (
            covered.mean(),
            pooled.mean_lower <= 0.7 <= pooled.mean_upper,
            pooled.sd_lower <= spread <= pooled.sd_upper,
        )
    assert np.all(np.abs(hits / draws - 0.9) < 4 * np.sqrt(0.09 / draws))


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_prior_without_scale_is_refused(value: float) -> None:
    effects = [t_interval([1.0, 2.0]), t_interval([1.0, 3.0])]
    with pytest.raises(ValueError, match="scale and delta must be positive"):
        partial_pooling(effects, 1.0, value)


def test_the_probability_of_improvement_is_the_share_of_run_pairs_that_mann_whitney_counts() -> None:
    rng = np.random.default_rng(0)
    treated, control = [rng.normal(1, 1, 6), rng.integers(0, 3, 5)], [rng.normal(0, 1, 6), rng.integers(0, 3, 5)]
    expected = np.mean(
        [stats.mannwhitneyu(x, y).statistic / x.size / y.size for x, y in zip(treated, control, strict=True)]
    )
    share, low, high = probability_of_improvement(treated, control, 0.05, rng)
    assert share == pytest.approx(expected)
    assert low <= share <= high
