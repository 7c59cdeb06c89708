"""Looks: constants for repeated t tests, the verdict of a sequence of looks, and its Holm correction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from synthetic_study import FakeArm, FakeStudy, write_study

import analysis
from analysis.looks import SPENDINGS, Looks
from analysis.looks.sequential import constant, error_of, overall_error
from analysis.statistics.comparison import sequential_p

BASE = [0.150, 0.152, 0.149, 0.151, 0.150, 0.151, 0.149, 0.152]


def two_arms(differences: list[float]) -> list[FakeArm]:
    aim = [base + difference / 100 for base, difference in zip(BASE, differences, strict=True)]
    return [FakeArm("baseline", "baseline", accuracies=BASE), FakeArm("aim", "aim", accuracies=aim)]


def examine(directory):
    return analysis.examine(analysis.load(directory))


@pytest.mark.parametrize(("looks", "expected"), [((5, 8, 12), 0.0212), ((5, 10, 15), 0.0206)])
def test_the_constant_agrees_with_large_simulations(looks, expected):
    assert constant(looks) == pytest.approx(expected, abs=2e-4)


def test_one_look_needs_no_correction():
    assert constant((7,)) == 0.05
    assert Looks((7,)).levels == (0.05,)


def test_the_error_rate_across_all_looks_is_alpha_in_an_independent_simulation():
    rng = np.random.default_rng(1)
    looks, draws = (5, 6, 9), rng.standard_normal((60_000, 9))
    rejected = np.zeros(len(draws), dtype=bool)
    for n in looks:
        rejected |= stats.ttest_1samp(draws[:, :n], 0, axis=1).pvalue <= constant(looks)
    assert rejected.mean() == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / len(draws)))


def test_the_levels_of_many_looks_approach_their_limits():
    assert overall_error((5, 8, 12), 1e-7) == pytest.approx(3e-7, rel=0.05)
    assert overall_error((5, 8, 12), 1.0) == pytest.approx(1.0)


@settings(deadline=None, max_examples=8)
@given(st.lists(st.integers(5, 40), min_size=2, max_size=4, unique=True).map(sorted), st.floats(0.001, 0.2))
def test_a_constant_lies_between_bonferroni_and_no_correction_and_can_be_inverted(looks, alpha):
    level = constant(looks, alpha)
    assert alpha / len(looks) <= level <= alpha
    assert overall_error(looks, level) == pytest.approx(alpha, rel=0.01)


def test_a_sequence_of_p_values_rejects_exactly_when_a_look_does():
    looks = Looks((5, 8, 12))
    level = looks.levels[0]
    assert looks.p_value([0.4, level * 0.99, 0.6]) < 0.05 < looks.p_value([0.4, level * 1.01, 0.6])
    assert looks.p_value([0.4]) == overall_error((5, 8, 12), 0.4), "future looks count too"
    assert np.isnan(looks.p_value([np.nan]))


def test_half_of_alpha_is_reserved_for_a_further_block():
    looks = Looks((5, 8), further_block=10)
    assert looks.numbers == (5, 8, 18)
    assert looks.levels == (constant((5, 8), 0.025),) * 2 + (0.025,)
    assert looks.p_value([0.5, 0.5, 0.024]) < 0.05 < looks.p_value([0.5, 0.5, 0.026])


@pytest.mark.parametrize("pairs", [(), (4,), (5, 5), (8, 5)])
def test_invalid_looks_are_refused(pairs):
    with pytest.raises(ValueError, match="increasing numbers of pairs, at least 5"):
        Looks(pairs)


def test_the_first_look_that_stops_the_study_decides(make_study):
    findings = examine(make_study(two_arms([5.0, 5.2, 4.9, 5.1, 5.0, -9, -9, -9]), seeds=8, images=2000, looks=[5, 8]))
    primary = findings.primary
    assert [look.pairs for look in primary.looks] == [5, 8]
    assert primary.looks[1].verdict.kind != "holds"
    assert (primary.verdict.kind, primary.interval.n, primary.beyond) == ("holds", 5, 3)
    assert "5 paired seeds): holds" in findings.headline


def test_an_open_first_look_leaves_the_decision_to_the_second(make_study):
    findings = examine(make_study(two_arms([0, 9, 1, 8, 5, 5, 5, 5]), seeds=8, images=2000, looks=[5, 8]))
    primary = findings.primary
    assert not primary.looks[0].verdict.stops
    assert primary.interval.n == 8
    assert primary.interval.alpha == constant((5, 8))


def test_pairs_between_looks_do_not_affect_the_verdict(make_study):
    primary = examine(make_study(seeds=7, looks=[5, 8])).primary
    assert (primary.interval.n, primary.beyond, primary.next_look) == (5, 2, 8)


def test_there_is_no_verdict_before_the_first_look(make_study):
    findings = examine(make_study(seeds=6, looks=[8, 12]))
    assert findings.primary.verdict.kind == "screening only"
    assert findings.headline.endswith("screening only, no verdict with fewer than 8 pairs.")
    assert findings.primary.interval.n == 6


def test_a_look_with_a_missing_pair_is_withheld_and_states_the_previous_verdict(make_study):
    status = {("aim", 6): "failed"}
    primary = examine(make_study(two_arms([0, 9, 1, 8, 5, 5, 5, 5]), seeds=8, looks=[5, 8], status=status)).primary
    assert primary.verdict.kind == "withheld"
    assert "1 of 8 pairs incomplete; after 5 pairs: " in primary.verdict.text


def test_looks_count_pairs_in_the_order_of_the_plan(make_study, tmp_path):
    arms = two_arms([5.0, 5.2, 4.9, 5.1, 5.0, -9, -9, -9])
    study = FakeStudy(arms, [70, 60, 50, 40, 30, 3, 2, 1], images=2000, looks=[5, 8])
    found = examine(write_study(tmp_path / "reversed", study, np.random.default_rng(0)))
    assert found.primary.verdict.kind == "holds"


def test_variants_are_tested_by_the_holm_procedure_across_all_looks(make_study):
    arms = [
        FakeArm("baseline", "baseline", 0.15),
        FakeArm("aim", "aim", 0.17),
        *(FakeArm(f"variant{i}", "aim", 0.15 + 0.004 * i) for i in range(3)),
    ]
    findings = examine(make_study(arms, seeds=8, looks=[5, 8], images=2000))
    variants = [c for c in findings.family.comparisons if c.family == "variant"]
    sequential = np.array([sequential_p(c.pairs, Looks((5, 8))) for c in variants])
    order = np.argsort(sequential)
    np.testing.assert_allclose(
        np.array([c.p_holm for c in variants])[order],
        np.minimum(1, np.maximum.accumulate(sequential[order] * [3, 2, 1])),
    )
    for c in variants:
        rejected = any(look.interval.lower > 0 or look.interval.upper < 0 for look in c.looks)
        assert rejected == (c.p_holm <= 0.05)


def test_a_running_study_has_the_verdict_of_its_completed_looks(make_study):
    status = {(arm, seed): "missing" for arm in ("aim", "baseline") for seed in (6, 7)}
    arms = two_arms([0, 9, 1, 8, 5, 5, 5, 5])
    primary = examine(make_study(arms, seeds=8, looks=[5, 8], status=status, images=2000)).primary
    assert [look.pairs for look in primary.looks] == [5]
    assert (primary.interval.n, primary.next_look, primary.verdict.decided) == (5, 8, True)
    assert primary.needed is not None
    early = {(arm, seed): "missing" for arm in ("aim", "baseline") for seed in range(4, 8)}
    found = examine(make_study(arms, seeds=8, looks=[8, 12], status=early))
    assert found.primary.next_look == 8
    assert found.headline.endswith("no verdict with fewer than 8 pairs.")


def test_p_values_ignore_pairs_after_the_deciding_look(make_study):
    arms = two_arms([5.0, 5.2, 4.9, 5.1, 5.0, -9, -9, -9])
    primary = examine(make_study(arms, seeds=8, images=2000, looks=[5, 8])).primary
    assert primary.p_looks == Looks((5, 8)).p_value([primary.p])


@pytest.mark.parametrize("spending", SPENDINGS)
@pytest.mark.parametrize("rest", [0.0, 1e-16, 1e-12, 1e-9, 1e-8, 1e-6, 1e-3])
def test_a_p_value_of_almost_one_is_valid(spending, rest):
    looks = Looks((5, 8, 12), spending=spending)
    for p_values in ([1 - rest], [1 - rest, 0.4], [0.4, 1 - rest]):
        assert 0 <= looks.p_value(p_values) <= 1
    assert looks.p_value([1 - rest]) >= 1 - rest - 1e-6
    assert 0.99 < error_of((5, 8, 12), (1 - rest, 0.5, 0.2)) <= 1


def test_differences_with_a_sum_close_to_zero_have_a_verdict(make_study):
    base, treated = [0.9025, 0.9075, 0.9025, 0.8875, 0.91], [0.905, 0.895, 0.905, 0.9025, 0.9025]
    arms = [FakeArm("baseline", "baseline", accuracies=base), FakeArm("aim", "aim", accuracies=treated)]
    directory = make_study(arms, seeds=5, images=400, looks=[5, 8, 12], procedure=2, claim=None)
    primary = analysis.examine(analysis.load(directory)).primary
    assert 1 - 1e-6 < primary.p < 1, "otherwise, this is a different case"
    assert primary.p_looks == 1
    assert primary.verdict.kind == "inconclusive"
