"""Planning: the uncertainty of a spread, pairs for a half-width, power given a pilot, and looks after any number of
pairs.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from analysis.looks import Looks
from analysis.statistics.half_width import (
    chance_of_half_width,
    level_at,
    mean_half_width,
    pairs_for_half_width,
)
from analysis.statistics.interval import t_interval
from analysis.statistics.simulation import pairs_for_power, power_of, power_over, simulate
from analysis.statistics.spread import Spread
from analysis.statistics.verdict import STOPPING

FIXED, ONE, ANY = Looks((5, 8, 12)), Looks((12,)), Looks.at_any_time()


def test_the_interval_of_a_spread_follows_the_chi_squared_distribution():
    spread = Spread(1.3, 7)
    low, high = spread.interval(0.05)
    assert low == pytest.approx(1.3 * np.sqrt(7 / stats.chi2.ppf(0.975, 7)))
    assert high == pytest.approx(1.3 * np.sqrt(7 / stats.chi2.ppf(0.025, 7)))
    found = t_interval(np.random.default_rng(0).normal(size=8))
    assert Spread(found.sd, 7).cautious == pytest.approx(found.cautious_sd)


def test_a_known_spread_has_no_interval():
    assert Spread(2.0).interval() == (2.0, 2.0)
    assert (Spread(2.0).mean, Spread(2.0).cautious) == (2.0, 2.0)
    assert (Spread(2.0).draws(np.random.default_rng(0), 3) == 2.0).all()


@pytest.mark.parametrize(("sd", "freedom"), [(0.0, 5), (-1.0, 5), (np.inf, 5), (1.0, 0), (np.nan, 3)])
def test_a_missing_spread_is_refused(sd, freedom):
    with pytest.raises(ValueError, match="a spread needs 0 < sd"):
        Spread(sd, freedom)


@pytest.mark.parametrize("freedom", [2, 4, 11])
def test_draws_and_means_follow_the_posterior(freedom):
    spread = Spread(1.4, freedom)
    drawn = spread.draws(np.random.default_rng(1), 400_000)
    np.testing.assert_allclose(np.quantile(drawn, [0.1, 0.5, 0.9]), spread.quantile([0.1, 0.5, 0.9]), rtol=0.01)
    if freedom > 2:
        assert drawn.mean() == pytest.approx(spread.mean, rel=0.01)
    assert Spread(1.4, 1).mean == np.inf


@settings(deadline=None, max_examples=60)
@given(st.floats(0.05, 6), st.floats(0.2, 5), st.integers(3, 200), st.floats(0.001, 0.2))
def test_power_matches_scipy_to_a_millionth(effect, sd, n, alpha):
    shift, critical = effect * np.sqrt(n) / sd, stats.t.isf(alpha / 2, n - 1)
    if shift > 30:
        return
    one_sided = stats.nct.sf(critical, n - 1, shift)
    assert one_sided - 1e-6 <= power_of(effect, sd, n, alpha) <= one_sided + alpha / 2 + 1e-6

    def rejected(root: float) -> float:  # drawn from the normal distribution of the mean, given the standard deviation
        cut = critical * root / np.sqrt(n - 1)
        return (stats.norm.sf(cut - shift) + stats.norm.cdf(-cut - shift)) * stats.chi.pdf(root, n - 1)

    edges = [0.0, *stats.chi.ppf([1e-6, 1e-3, 0.1, 0.5, 0.9, 1 - 1e-12], n - 1)]
    expected = sum(integrate.quad(rejected, *ends, limit=200, epsabs=1e-10)[0] for ends in itertools.pairwise(edges))
    assert power_of(effect, sd, n, alpha) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("effect", "sd", "freedom", "n"), [(1.0, 1.0, 4, 10), (2.0, 1.4, 9, 6), (1.0, 2.5, 2, 40)])
def test_power_given_a_pilot_is_the_integral_over_the_spread(effect, sd, freedom, n):
    def weighted(variance_ratio: float) -> float:
        own = sd * np.sqrt(freedom / variance_ratio)
        return power_of(effect, own, n, 0.02) * stats.chi2.pdf(variance_ratio, freedom)

    expected, _ = integrate.quad(weighted, 0, np.inf, limit=400)
    assert power_over(effect, Spread(sd, freedom), n, 0.02) == pytest.approx(expected, abs=2e-4)
    assert power_over(effect, Spread(sd), n, 0.02) == power_of(effect, sd, n, 0.02)


def test_the_number_of_pairs_for_a_power_can_be_computed_at_a_different_level():
    level = level_at(ANY)

    def at(pairs: int) -> float:
        return float(level(np.array([pairs], dtype=float))[0])

    found = pairs_for_power(2.0, np.sqrt(2), at)
    assert found is not None
    assert power_of(2.0, np.sqrt(2), found, at(found)) >= 0.8 > power_of(2.0, np.sqrt(2), found - 1, at(found - 1))
    assert power_of(2.0, 1.0, 3, 0.0) == 0.0


@pytest.mark.parametrize("looks", [ONE, FIXED, ANY])
@pytest.mark.parametrize("freedom", [np.inf, 4.0])
def test_simulations_confirm_the_assured_and_the_expected_half_width(looks, freedom):
    rng, spread, studies = np.random.default_rng(2), Spread(1.4, freedom), 200_000
    for assurance in (None, 0.8, 0.9):
        pairs = pairs_for_half_width(1.0, spread, looks, assurance)
        level = level_at(looks)(np.array([pairs], dtype=float))[0]
        true = spread.draws(rng, studies)
        seen = true * np.sqrt(rng.chisquare(pairs - 1, studies) / (pairs - 1))
        half = stats.t.isf(level / 2, pairs - 1) * seen / np.sqrt(pairs)
        if assurance is None:
            assert half.mean() <= 1.0 + 0.01
            assert half.mean() == pytest.approx(
                float(mean_half_width(spread, np.array([pairs]), level_at(looks))[0]), rel=0.01
            )
        else:
            assert (half <= 1.0).mean() >= assurance - 0.004
            before = float(chance_of_half_width(1.0, spread, np.array([pairs - 1]), level_at(looks))[0])
            assert before < assurance


def test_a_half_width_that_10_000_pairs_cannot_reach_is_reported():
    assert pairs_for_half_width(1e-4, Spread(1.0), FIXED, 0.8) is None
    assert pairs_for_half_width(1.0, Spread(1.0, 1), FIXED) is None, "the mean of its spread is infinite"
    for half_width, assurance in ((0.0, None), (-1.0, 0.8), (1.0, 1.0), (1.0, 0.0)):
        with pytest.raises(ValueError, match="are required"):
            pairs_for_half_width(half_width, Spread(1.0), FIXED, assurance)


def test_a_study_that_is_read_at_any_time_ends_with_its_last_pair():
    rng = np.random.default_rng(4)
    drawn = rng.normal(2.0, 1.0, size=(60, 14))
    found = simulate(drawn, ANY, 1.0, 4.92)
    for x, kind, pairs, settled in zip(drawn, found.kinds, found.pairs, found.settled, strict=True):
        from analysis.statistics.verdict import decide

        for number, level in zip(range(5, 15), ANY.levels, strict=False):
            i = t_interval(x[:number], level)
            verdict = decide(i.lower, i.upper, i.sd, i.n, 1.0, 4.92)
            if verdict.stops:
                break
        assert (verdict.kind, number, verdict.stops) == (kind, pairs, settled)
    assert found.settled_by(14) == pytest.approx(np.isin(found.kinds, list(STOPPING)).mean())
    assert found.pairs_up_to(9) <= 9
