"""Paired differences, intervals, p-values and corrections, compared with closed forms and scipy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.statistics import (
    accuracy_lower_bound,
    compatible,
    complete,
    holm,
    holm_levels,
    paired_differences,
    sign_flip_p,
    t_interval,
    t_p_value,
)

VALUES = st.lists(st.floats(-50, 50), min_size=2, max_size=12)
P_VALUES = st.lists(st.floats(1e-6, 1), min_size=1, max_size=8)


def runs(rows: list[tuple[str, int, str, float | None]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["arm", "seed", "status", "test_accuracy"])


def test_differences_are_in_percentage_points_per_seed():
    frame = runs(
        [("a", 1, "finished", 0.2), ("b", 1, "finished", 0.15), ("b", 0, "finished", 0.3), ("a", 0, "diverged", 0.1)]
    )
    before = frame.copy(deep=True)
    pairs = paired_differences(frame, "a", "b")
    assert list(pairs["seed"]) == [0, 1]
    np.testing.assert_allclose(pairs["difference"], [-20, 5])
    pd.testing.assert_frame_equal(frame, before)


def test_pairs_that_lack_a_value_are_incomplete():
    rows = [("a", 0, "finished", 0.2), ("b", 0, "failed", None), ("a", 1, "pruned", 0.4), ("b", 1, "finished", 0.1)]
    pairs = paired_differences(runs(rows), "a", "b", pairs=[0, 1, 2])
    assert pairs["difference"].isna().all()
    assert list(pairs["control_status"]) == ["failed", "finished", "missing"]
    assert list(pairs["treatment_status"]) == ["finished", "pruned", "missing"]
    assert complete(pairs).empty


def test_two_runs_with_the_same_seed_are_refused():
    with pytest.raises(ValueError, match="more than one run"):
        paired_differences(runs([("a", 0, "finished", 0.1), ("a", 0, "finished", 0.2)]), "a", "b")


@given(VALUES, st.sampled_from([0.05, 0.0212, 0.01]))
def test_the_t_interval_matches_scipy(values, alpha):
    found = t_interval(values, alpha)
    if found.sd > 1e-6:
        theirs = stats.ttest_1samp(values, 0).confidence_interval(1 - alpha)
        np.testing.assert_allclose((found.lower, found.upper), theirs, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(t_p_value(values), stats.ttest_1samp(values, 0).pvalue, rtol=1e-6, atol=1e-12)


def test_the_t_interval_equals_a_manual_calculation():
    found = t_interval([1.0, 2.0, 3.0])
    assert (found.n, found.mean, found.sd) == (3, 2.0, 1.0)
    half = 4.302652729911275 / np.sqrt(3)
    np.testing.assert_allclose((found.lower, found.upper), (2 - half, 2 + half))
    np.testing.assert_allclose(found.prediction, (2 - 2 * half, 2 + 2 * half))  # sqrt(1 + 1/3) = 2 / sqrt(3)


@pytest.mark.parametrize("values", [[], [1.0]])
def test_too_few_values_have_no_interval(values):
    found = t_interval(values)
    assert np.isnan(found.lower)
    assert np.isnan(found.prediction[0])
    assert np.isnan(t_p_value(values))
    assert compatible(1.0, found) is None


def test_invalid_values_are_refused():
    with pytest.raises(ValueError, match="finite"):
        t_interval([1.0, np.nan])
    for alpha in (-0.1, 1.0, 5.0):
        with pytest.raises(ValueError, match="alpha"):
            t_interval([1.0, 2.0], alpha)


@given(VALUES, st.floats(-50, 50))
def test_an_interval_shifts_with_its_values(values, shift):
    here, there = t_interval(values), t_interval(np.asarray(values) + shift)
    np.testing.assert_allclose((there.lower, there.upper), (here.lower + shift, here.upper + shift), atol=1e-6)


def test_intervals_and_predictions_have_their_stated_coverage():
    rng = np.random.default_rng(3)
    draws = rng.normal(1.3, 2.0, size=(4000, 6))
    found = [t_interval(row[:5]) for row in draws]
    covered = np.mean([i.lower <= 1.3 <= i.upper for i in found])
    predicted = np.mean([compatible(row[5], i) for row, i in zip(draws, found, strict=True)])
    assert abs(covered - 0.95) < 0.012
    assert abs(predicted - 0.95) < 0.012


@given(P_VALUES)
def test_the_holm_procedure_follows_its_definition(p_values):
    p = np.sort(p_values)
    stepped = [max(min(1.0, (len(p) - j) * p[j]) for j in range(i + 1)) for i in range(len(p))]
    np.testing.assert_allclose(np.sort(holm(p_values)), stepped)
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(holm(p_values)[order]) >= 0).all(), "in the order of the p-values"


@given(P_VALUES)
def test_the_holm_levels_reject_exactly_what_the_procedure_rejects(p_values):
    p = np.asarray(p_values)
    adjusted = holm(p)
    clear = np.abs(adjusted - 0.05) > 1e-9
    assert ((p <= holm_levels(p)) == (adjusted <= 0.05))[clear].all()
    assert (holm_levels(p) <= 0.05).all()


def test_the_holm_procedure_counts_a_test_without_a_p_value():
    np.testing.assert_allclose(holm([0.01, np.nan, 0.02]), [0.03, np.nan, 0.04])
    np.testing.assert_allclose(holm_levels([0.01, np.nan, 0.02]), [0.05 / 3, 0.05, 0.05 / 2])
    assert len(holm([])) == len(holm_levels([])) == 0


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=9))
def test_the_sign_flip_test_matches_scipy(values):
    x = np.asarray(values, dtype=float)  # sums of integers are exact, so both detect the same ties
    ours = sign_flip_p(x, np.random.default_rng(0))
    if len(values) > 1:
        test = stats.permutation_test((x,), np.sum, permutation_type="samples", n_resamples=np.inf)
        np.testing.assert_allclose(ours, test.pvalue, atol=1e-12)
    assert ours >= 2 / 2 ** len(values) - 1e-12


def test_sign_flips_of_many_values_are_drawn_at_random():
    values = np.random.default_rng(5).normal(0.4, 1, 25)
    draws = [sign_flip_p(values, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert draws[0] == draws[1]
    assert abs(draws[0] - stats.ttest_1samp(values, 0).pvalue) < 0.02
    assert np.isnan(sign_flip_p([], np.random.default_rng(0)))


@pytest.mark.parametrize(("right", "images"), [(0, 100), (1, 100), (50, 8580), (100, 100)])
def test_the_lower_bound_matches_clopper_and_pearson(right, images):
    bound = accuracy_lower_bound([right / images], [images])[0]
    theirs = stats.binomtest(right, images, alternative="greater").proportion_ci(0.99, method="exact").low
    np.testing.assert_allclose(bound, theirs, atol=1e-12)
    assert np.isnan(accuracy_lower_bound([np.nan], [images])[0])
