"""From a study directory to its verdict: scope, gates, failures as outcomes, Holm's procedure, and sensitivity."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic_study import ARMS, SCOPE, FakeArm

import analysis
from analysis.statistics import baseline_trains, comparison_table, conclusion, failure_table, holm, outcomes

PROXY_SCOPE = {**SCOPE, "dataset": "digits", "classes": 10, "image_size": 8}


def examine(directory):
    return analysis.examine(analysis.load(directory))


def test_the_claim_holds_for_a_gain_of_the_reported_size(make_study):
    arms = [FakeArm("baseline", "baseline", 0.15), FakeArm("aim", "aim", 0.20)]
    findings = examine(make_study(arms, images=2000))
    assert findings.primary.verdict.kind == "holds"
    assert findings.primary.reported == {"post": 4.92, "logs": 4.8}
    assert not findings.proxy
    assert findings.headline.startswith("aim scores ")
    assert "higher than baseline on average (95 % interval +" in findings.headline
    assert findings.headline.endswith("6 paired seeds): holds.")


def test_the_interval_is_the_paired_t_interval_of_the_table(make_study):
    findings = examine(make_study())
    runs = findings.results.runs.pivot_table(index="seed", columns="arm", values="test_accuracy")
    test = stats.ttest_rel(runs["aim"], runs["baseline"])
    low, high = test.confidence_interval()
    row = comparison_table(findings.family.comparisons).iloc[0]
    np.testing.assert_allclose([row["lower"], row["upper"], row["p"]], [100 * low, 100 * high, test.pvalue])


def test_outside_the_scope_of_the_claim_r_is_not_used_and_the_sentence_says_proxy(make_study):
    arms = [FakeArm("baseline", "baseline", 0.15), FakeArm("aim", "aim", 0.20)]
    findings = examine(make_study(arms, scope=PROXY_SCOPE))
    assert findings.proxy
    assert findings.reported == {}
    assert findings.headline.startswith("Proxy: does not test the claim. aim scores ")
    assert findings.primary.verdict.kind == "positive, size open"
    assert findings.reasons[0] == "data set digits, not stanford_dogs"


def test_a_study_without_a_claim_is_not_a_proxy(make_study):
    findings = examine(make_study(claim=None))
    assert not findings.proxy
    assert not findings.headline.startswith("Proxy")


def test_a_margin_too_wide_for_the_reported_gain_is_out_of_scope(make_study):
    findings = examine(make_study(delta_pp=2.45))
    assert "half the reported gain" in findings.reasons[0]
    assert findings.primary.verdict.kind != "holds"


def test_fewer_than_five_pairs_count_as_a_screening(make_study):
    findings = examine(make_study(seeds=4))
    assert findings.primary.verdict.kind == "screening only"
    assert findings.headline.endswith("screening only, no verdict with fewer than 5 pairs.")


def test_an_unbalanced_table_withholds_the_verdict(make_study):
    findings = examine(make_study(seeds=7, status={("aim", 3): "failed", ("baseline", 5): "missing"}))
    assert findings.primary.interval.n == 5
    assert findings.primary.verdict.text == "verdict withheld (unbalanced: 2 of 7 pairs incomplete)"


def test_identical_arms_count_as_an_error_in_the_study(make_study):
    same = [0.15, 0.16, 0.14, 0.155, 0.1525]
    arms = [FakeArm("baseline", "baseline", accuracies=same), FakeArm("aim", "aim", accuracies=same)]
    findings = examine(make_study(arms, seeds=5))
    assert findings.primary.verdict.text == "arms identical: check the study"
    assert findings.primary.needed is None


def test_a_diverged_run_counts_and_results_without_it_are_reported_separately(make_study):
    base = [0.150, 0.152, 0.149, 0.151, 0.150, 0.151]
    aim = [0.170, 0.171, 0.169, 0.172, 0.170, 0.010]
    arms = [FakeArm("baseline", "baseline", accuracies=base), FakeArm("aim", "aim", accuracies=aim)]
    findings = examine(make_study(arms, images=2000, status={("aim", 5): "diverged"}))
    primary = findings.primary
    assert primary.interval.n == 6
    assert primary.verdict.kind == "inconclusive"
    assert primary.survivors.n == 5
    assert primary.survivors_verdict.kind == "real, smaller than reported"
    assert primary.unstable
    assert "unstable training" in findings.headline
    assert primary.checks.set_index("check").loc["survivors only", "n"] == 5


def test_a_baseline_that_does_not_train_withholds_every_verdict(make_study):
    status = {("baseline", seed): "chance" for seed in (0, 1)}
    findings = examine(make_study(seeds=6, status=status, images=2000))
    for comparison in findings.family.comparisons:
        assert "trained in only 4 of 6 seeds" in comparison.verdict.text
    one = examine(make_study(seeds=5, status={("baseline", 0): "chance"}, images=2000))
    assert one.primary.verdict.decided, "4 of 5 are enough"


def test_chance_is_judged_by_the_exact_bound():
    runs = pd.DataFrame(
        {
            "run_id": list("abcde"),
            "arm": ["x"] * 5,
            "seed": range(5),
            "status": ["finished", "finished", "diverged", "failed", "pruned"],
            "test_accuracy": [14 / 360, 60 / 360, 0.5, np.nan, 0.2],
            "classes": pd.array([10] * 5, dtype="Int64"),
            "test_images": pd.array([360, 360, 360, pd.NA, 360], dtype="Int64"),
        }
    )
    before = runs.copy(deep=True)
    judged = outcomes(runs)
    assert list(judged["outcome"]) == ["at chance", "trained", "diverged", "failed", "pruned"]
    pd.testing.assert_frame_equal(runs, before)
    table = failure_table(judged, ["x", "y"])
    assert table.set_index("arm").loc["x", ["trained", "at chance", "not_trained", "judged"]].tolist() == [1, 1, 2, 3]
    assert table.set_index("arm").loc["y", "judged"] == 0
    assert baseline_trains(judged, "x") is False
    assert baseline_trains(judged, "y") is None


def test_failures_are_compared_with_fishers_exact_test(make_study):
    status = {("aim", seed): "diverged" for seed in range(4)}
    findings = examine(make_study(seeds=6, status=status))
    table = findings.failures.set_index("arm")
    assert table.loc["aim", "fisher_p"] == pytest.approx(stats.fisher_exact([[4, 2], [0, 6]]).pvalue)
    assert np.isnan(table.loc["baseline", "fisher_p"])


def test_gates_are_passed_in_order(make_study):
    findings = examine(make_study(images=2000))
    assert [gate.state for gate in findings.family.gates] == ["passed"] * 3
    assert conclusion(findings.family.gates) == "Memory causes the gain: every gate is passed."
    level = [FakeArm("baseline", "baseline", 0.15), FakeArm("matched", "matched", 0.185), *ARMS[2:]]
    closed = examine(make_study(level, images=2000))
    assert closed.family.gates[0].state == "passed"
    assert closed.family.gates[1].state in ("open", "not passed")
    assert closed.family.gates[2].state == "not reached"
    assert "aim − matched" in conclusion(closed.family.gates)
    without = examine(make_study([ARMS[0], ARMS[3]], images=2000))
    assert [gate.state for gate in without.family.gates] == ["passed", "no such arm", "no such arm"]


def test_further_arms_are_corrected_by_the_holm_procedure(make_study):
    more = [FakeArm(f"variant {i}", "aim", 0.15 + 0.006 * i) for i in range(4)]
    findings = examine(make_study([ARMS[0], ARMS[3], *more]))
    table = comparison_table(findings.family.comparisons)
    assert list(table["family"]) == ["gate"] + ["variant"] * 4
    variants = table[table["family"] == "variant"]
    np.testing.assert_allclose(variants["p_holm"], holm(variants["p"]))
    excludes = (variants["lower"] > 0) | (variants["upper"] < 0)
    assert (excludes == (variants["p_holm"] < 0.05)).all()
    assert table["p_holm"].isna().iloc[0]


def test_comparisons_follow_from_roles(make_study):
    arms = [
        *ARMS,
        FakeArm("gated", "aim", 0.16),
        FakeArm("gated matched", "matched", 0.16, "gated"),
        FakeArm("wide", "other", 0.16),
    ]
    names = [c.name for c in examine(make_study(arms)).family.comparisons]
    assert names == [
        "aim − baseline",
        "aim − matched",
        "aim − frozen",
        "gated − baseline",
        "gated − gated matched",
        "wide − baseline",
    ]


def test_studies_without_a_pair_to_compare_say_so(make_study):
    alone = examine(make_study([FakeArm("baseline", "baseline", 0.15)]))
    assert alone.family.comparisons == ()
    assert alone.headline == "No verdict: the study has no arm with the role treatment."
    other = examine(make_study([FakeArm("x"), FakeArm("y")]))
    assert "baseline or treatment" in other.headline
    nothing = {(arm.name, seed): "missing" for arm in ARMS for seed in range(2)}
    assert (
        examine(make_study(seeds=2, status=nothing)).headline
        == "None of 8 planned runs has a result yet, so no conclusion is possible."
    )
    one_sided = examine(make_study([ARMS[0], ARMS[3]], seeds=1, status={("aim", 0): "missing"}))
    assert one_sided.headline == "No verdict on aim − baseline: no seed has a result in both arms."


def test_the_last_epoch_is_only_used_as_a_check(make_study):
    directory = make_study([ARMS[0], ARMS[3]], images=2000)
    results = analysis.load(directory)
    epochs = results.epochs.assign(
        test_accuracy=results.epochs["test_accuracy"].where(results.epochs["epoch"] < 6, 0.5)
    )
    before = epochs.copy(deep=True)
    changed = analysis.examine(
        analysis.Results(directory, results.plan, results.runs, epochs, results.stale, results.missing)
    )
    rows = changed.primary.checks.set_index("check")
    assert rows.loc["last epoch instead of the selected one", "mean"] == pytest.approx(0, abs=1e-9)
    assert changed.primary.verdict == analysis.examine(results).primary.verdict
    pd.testing.assert_frame_equal(epochs, before)


def test_computing_findings_does_not_change_the_results(make_study):
    results = analysis.load(make_study(status={("aim", 1): "diverged", ("frozen", 0): "failed"}))
    runs, epochs = results.runs.copy(deep=True), results.epochs.copy(deep=True)
    analysis.examine(results)
    pd.testing.assert_frame_equal(results.runs, runs)
    pd.testing.assert_frame_equal(results.epochs, epochs)
