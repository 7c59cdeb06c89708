"""The rule for collapsed runs: comparison with brute force, the rule's constants, and its invariances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.statistics.collapse import LEAST_DROP, collapsed, constant, gap_of, highest_rate, predicts_one_class

eighths = st.integers(-160, 160).map(lambda number: number / 8)  # sums and differences of these numbers are exact


@st.composite
def arms(draw):
    n = draw(st.integers(5, 12))
    return [np.array(draw(st.lists(eighths, min_size=n, max_size=n))) for _ in range(2)]


def marked(treated, control, delta=1.0):
    return [side.tolist() for side in collapsed(treated, control, delta)]


def by_hand(treated, control, delta):
    """Apply the rule in the module's docstring, run by run."""
    n, found = len(treated), [set(), set()]

    def examined(values, pooled_with, rank, kind):
        edge, rest = sorted(values)[rank - 1], sorted(values)[rank:]
        other = sorted(pooled_with)[rank:]
        spread = max(np.std(rest, ddof=1), np.sqrt((np.var(rest, ddof=1) + np.var(other, ddof=1)) / 2))
        drop = np.median(rest) - edge
        far = drop >= LEAST_DROP * delta and drop > constant(kind, rank, n) * spread
        return {i for i in range(n) if values[i] <= edge} if far else set()

    difference = treated - control
    for rank in (1, 2):
        found[0] |= examined(treated, control, rank, "accuracies")
        found[1] |= examined(control, treated, rank, "accuracies")
        for side, (own, values) in enumerate(((treated, difference), (control, -difference))):
            low = {i for i in range(n) if np.median(own) - own[i] >= LEAST_DROP * delta}
            found[side] |= examined(values, values, rank, "differences") & low
    for side, (own, differences) in enumerate(((treated, difference), (control, -difference))):
        found[side] |= group_by_hand(own, own, n - 2, delta) | group_by_hand(differences, own, n // 2, delta)
    return [[i in side for i in range(n)] for side in found]


def group_by_hand(values, own, most, delta):
    """Return the group of three to `most` values below the largest gap, without runs that are not low in `own`."""
    n, ordered = len(values), sorted(values)
    gaps = []
    for size in range(3, min(most, n - 2) + 1):
        below, above = ordered[:size], ordered[size:]
        within = np.sqrt((size * np.var(below) + (n - size) * np.var(above)) / (n - 2))
        gap = above[0] - below[-1]
        if gap >= LEAST_DROP * delta and gap > gap_of(n) * within:
            gaps.append((gap / within if within else np.inf, below[-1]))
    if not gaps:
        return set()
    edge = max(gaps, key=lambda found: found[0])[1]
    group = {i for i in range(n) if values[i] <= edge}
    rest = np.median([own[i] for i in range(n) if i not in group])
    return {i for i in group if rest - own[i] >= LEAST_DROP * delta}


@given(
    arms(), st.sets(st.integers(0, 11), max_size=8), st.sampled_from([0.0, 20.0, 80.0]), st.sampled_from([0.25, 1.0])
)
@settings(max_examples=400, deadline=None)
def test_marked_runs_follow_the_rule(both, places, loss, delta):
    treated, control = both
    treated[[place for place in places if place < len(treated)]] -= loss
    assert marked(treated, control, delta) == by_hand(treated, control, delta)


@given(arms(), eighths, st.sampled_from([0.5, 2.0, 8.0]), st.randoms(), st.sampled_from([0.0, 60.0]))
@settings(max_examples=200, deadline=None)
def test_shift_scale_and_order_do_not_affect_which_runs_are_marked(both, shift, scale, random, loss):
    treated, control = both
    treated[0] -= loss
    found = marked(treated, control)
    assert marked(scale * treated + shift, scale * control + shift, scale) == found
    order = list(range(len(treated)))
    random.shuffle(order)
    assert marked(treated[order], control[order]) == [[side[i] for i in order] for side in found]
    assert marked(control, treated) == found[::-1], "neither arm is treated differently"


def test_a_planted_collapse_is_the_only_run_that_is_marked():
    treated = np.array([20.1, 19.4, 5.9, 20.7, 20.0])
    control = np.array([15.0, 15.4, 14.7, 15.9, 15.2])
    assert marked(treated, control) == [[False, False, True, False, False], [False] * 5]
    assert marked(treated[:4], control[:4]) == [[False] * 4] * 2, "with fewer than five pairs, no run is marked"
    assert marked(treated, control, delta=3.0) == [[False] * 5] * 2, "14 pp is less than 5 δ"
    assert not any(map(any, marked(np.where(treated < 10, 34, treated), control))), "runs far above are not collapses"


def test_two_collapses_do_not_mask_each_other():
    treated = np.array([20.1, 6.2, 5.9, 20.7, 20.0, 19.4, 20.3, 19.9])
    control = np.linspace(14.5, 15.5, 8)
    assert marked(treated, control)[0] == [False, True, True] + [False] * 5


def test_differences_reveal_a_collapse_if_seeds_vary_more_than_the_collapse():
    control = np.array([10.0, 16.0, 22.0, 28.0, 34.0, 40.0, 46.0, 52.0])
    treated = control + np.array([3.1, 2.9, 3.0, 3.2, 2.8, 3.0, 3.1, 2.9])
    treated[1] -= 14
    assert marked(treated, control)[0] == [False, True] + [False] * 6
    lucky = control + 3
    lucky[6] += 14
    assert marked(lucky, control) == [[False] * 8] * 2, "the control of a lucky run is above its arm's median"


@pytest.mark.parametrize("pairs", [5, 7, 8, 12, 17])
def test_each_constant_is_the_99th_percentile_for_normal_runs(pairs):
    rng, studies = np.random.default_rng(pairs), 100_000
    both = rng.standard_normal((2, studies, pairs))
    ordered, differences = np.sort(both, axis=2), both[0] - both[1]
    for rank in (1, 2):
        rest = ordered[:, :, rank:]
        variances = rest.var(axis=2, ddof=1)
        spread = np.sqrt(np.maximum(variances, variances.mean(axis=0)))
        far = (np.median(rest, axis=2) - ordered[:, :, rank - 1]) > constant("accuracies", rank, pairs) * spread
        assert far.any(axis=0).mean() == pytest.approx(0.01, abs=0.0018)
        sides = np.sort([differences, -differences], axis=2)
        rest = sides[:, :, rank:]
        drop = np.median(rest, axis=2) - sides[:, :, rank - 1]
        far = drop > constant("differences", rank, pairs) * rest.std(axis=2, ddof=1)
        assert far.any(axis=0).mean() == pytest.approx(0.01, abs=0.0018)


def test_constants_are_interpolated_and_extrapolated():
    assert constant("accuracies", 1, 5) == 6.08
    assert constant("accuracies", 1, 12) > constant("accuracies", 1, 13) > constant("accuracies", 1, 15)
    assert constant("differences", 2, 500) == constant("differences", 2, 100)


def test_the_failure_rate_that_runs_do_not_rule_out_is_exact():
    assert highest_rate(0, 5) == pytest.approx(1 - 0.05 ** (1 / 5))
    assert [round(100 * highest_rate(0, n)) for n in (5, 8, 12)] == [45, 31, 22]
    assert highest_rate(0, 1000) == pytest.approx(3 / 1000, rel=0.01), "rule of three"
    exact = stats.binomtest(2, 9).proportion_ci(0.9, method="exact").high  # 90 % two-sided: 95 % one-sided
    assert highest_rate(2, 9) == pytest.approx(exact)
    assert highest_rate(4, 4) == 1
    for failures, runs in ((1, 0), (-1, 5), (6, 5)):
        with pytest.raises(ValueError, match="failures of at least one run"):
            highest_rate(failures, runs)


def test_predictions_of_almost_one_class_are_recognized():
    assert predicts_one_class(1.0, 0.25)
    assert predicts_one_class(0.97, 0.25)
    assert not predicts_one_class(0.95, 0.25)
    assert not predicts_one_class(0.99, 0.95), "a correct network predicts a large class just as often"
    assert predicts_one_class(1.0, 0.95)
    assert not predicts_one_class(1.0, 1.0), "there is only one class"


def test_impossible_input_is_refused():
    good = np.arange(5.0)
    with pytest.raises(ValueError, match=r"two runs per pair are required; got \(5,\) and \(4,\)"):
        collapsed(good, good[:4], 1)
    with pytest.raises(ValueError, match="values must be finite"):
        collapsed(good, np.where(good == 2, np.nan, good), 1)
    with pytest.raises(ValueError, match="delta must be positive; got 0"):
        collapsed(good, good, 0)
