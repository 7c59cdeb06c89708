"""Procedure 2 bases its verdict only on the data of a look; procedure 1 is unchanged."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic_study import ARMS, SCOPE, FakeArm

import analysis
from analysis.figures import forest
from analysis.report.cautions import cautions
from analysis.report.methods import methods
from analysis.report.provenance import facts
from analysis.report.sentences import remarks
from analysis.statistics.interval import t_interval, unpaired_prediction
from analysis.statistics.outcomes import largest_share, outcomes

GAIN = [0.02, 0.021, 0.019, 0.02, 0.022]


def examine(directory):
    return analysis.examine(analysis.load(directory))


def arms(differences, base=0.15):
    values = [base + 0.001 * (i % 3) for i in range(len(differences))]
    return [
        FakeArm("baseline", "baseline", accuracies=values),
        FakeArm("aim", "aim", accuracies=[value + d for value, d in zip(values, differences, strict=True)]),
    ]


def said(findings) -> str:
    return " ".join(caution.text for caution in cautions(findings))


def runs_of(accuracies, images=1000, classes=4, data="d"):
    return pd.DataFrame(
        {
            "run_id": [str(i) for i in range(len(accuracies))],
            "arm": "aim",
            "seed": range(len(accuracies)),
            "status": "finished",
            "test_accuracy": accuracies,
            "classes": classes,
            "test_images": images,
            "data_fingerprint": data,
        }
    )


def test_chance_level_is_the_accuracy_of_the_best_constant_prediction():
    images = pd.DataFrame({"data_fingerprint": "d", "label": [0] * 600 + [1] * 300 + [2] * 100})
    assert largest_share(images) == {"d": 0.6}
    judged = outcomes(runs_of([0.6, 0.62, 0.7]), images)
    assert judged["chance"].tolist() == [0.6] * 3
    assert judged["outcome"].tolist() == ["at chance", "at chance", "trained"], "one class is not enough"
    assert outcomes(runs_of([0.6]))["outcome"].tolist() == ["trained"], "procedure 1 requires 1 / classes"
    assert outcomes(runs_of([0.6], data="e"), images)["chance"].tolist() == [0.25], "data without a table of images"


def test_a_harmful_procedure_1_study_also_states_the_verdict_of_procedure_2(make_study):
    lower = arms([-0.004, -0.005, -0.006, -0.005, -0.004], base=0.3)
    one = examine(make_study(lower, seeds=5, images=4000))
    assert one.primary.verdict.kind == "harmful"
    assert (
        "This study froze procedure 1, which determines the verdict. With procedure 2, the verdict would be "
        "“trivially lower”."
    ) in said(one)
    two = examine(make_study(lower, seeds=5, images=4000, procedure=2))
    assert two.primary.verdict.kind == "trivially lower"
    assert two.newer is None
    assert "procedure" not in said(two)


def test_an_arm_that_has_hardly_trained_decides_nothing_within_the_scope_of_the_claim(make_study):
    flat = arms([0.0001, -0.0002, 0.0003, 0.0, 0.0001], base=0.02)
    assert examine(make_study(flat, seeds=5, images=8000)).primary.verdict.kind == "no material gain"
    two = examine(make_study(flat, seeds=5, images=8000, procedure=2))
    assert two.primary.verdict.kind == "withheld"
    assert "aim has hardly trained: it reaches 2.08 %" in two.headline
    assert "3 times the accuracy of the best constant answer" in two.headline
    outside = examine(make_study(flat, seeds=5, images=8000, procedure=2, scope={**SCOPE, "image_size": 64}))
    assert outside.primary.verdict.kind == "no material gain", "a proxy is outside the scope of the claim"


def test_runs_after_a_look_do_not_withhold_its_verdict(make_study):
    status = {("baseline", seed): "chance" for seed in (5, 6, 7)}
    study = arms([*GAIN, *GAIN[:3]], base=0.3)
    one = examine(make_study(study, seeds=8, looks=[5, 8], images=2000, status=status))
    assert "trained in only 5 of 8 seeds" in one.primary.verdict.text
    two = examine(make_study(study, seeds=8, looks=[5, 8], images=2000, status=status, procedure=2))
    assert two.primary.verdict.kind == "real, smaller than reported"
    assert two.primary.interval.n == 5


def test_later_pairs_that_would_change_the_verdict_are_reported(make_study):
    overturned = arms([*GAIN, -0.3, -0.2, -0.25], base=0.4)
    for procedure in (1, 2):
        findings = examine(make_study(overturned, seeds=8, looks=[5, 8], images=2000, procedure=procedure))
        assert findings.primary.verdict.kind == "real, smaller than reported"
        assert "3 complete pairs after the deciding look are shown but have no effect on the verdict." in said(findings)
        assert "If all pairs counted, the verdict would be “inconclusive”." in said(findings)
    alike = examine(make_study(arms([*GAIN, *GAIN[:3]], base=0.4), seeds=8, looks=[5, 8], images=2000, procedure=2))
    assert "have no effect on the verdict." in said(alike)
    assert "If all pairs counted" not in said(alike)


@pytest.mark.parametrize("draw", range(4))
def test_an_adjusted_p_value_is_never_below_the_unadjusted_p_value(make_study, draw):
    rng = np.random.default_rng(draw)
    more = [FakeArm(f"other{i}", "other", 0.15 + 0.01 * rng.normal()) for i in range(3)]
    findings = examine(make_study([*ARMS, *more], seeds=12, looks=[5, 8, 12], draw=draw, procedure=2))
    for each in findings.family.comparisons:
        assert not each.p_looks < each.p
        assert not each.p_holm < each.p_looks


def test_later_pairs_do_not_change_the_adjustment_at_an_earlier_look(make_study):
    names = ["left", "right"]
    early = {name: [0.15 + d for d in np.random.default_rng(i).normal(0.03, 0.002, 5)] for i, name in enumerate(names)}
    base = FakeArm("baseline", "baseline", accuracies=[0.15] * 5)
    options = {"looks": [5, 8], "procedure": 2, "claim": None, "what": "a filter", "images": 4000}
    few = make_study([base, *(FakeArm(n, "other", accuracies=early[n]) for n in names)], seeds=5, **options)
    later = [FakeArm(n, "other", accuracies=[*early[n], 0.4, 0.1, 0.3]) for n in names]
    base = FakeArm("baseline", "baseline", accuracies=[0.15] * 8)
    many = make_study([base, *later], seeds=8, **options)
    stopped = {c.name: c for c in examine(many).family.comparisons if c.interval.n == 5}
    assert stopped
    for each in examine(few).family.comparisons:
        if each.name in stopped:
            assert stopped[each.name].p_holm == each.p_holm
            assert stopped[each.name].interval == each.interval


def test_an_unpaired_reported_gain_is_compared_with_its_own_spread(make_study):
    rng = np.random.default_rng(5)
    common = rng.normal(0, 0.02, 8)
    study = [
        FakeArm("baseline", "baseline", accuracies=list(0.15 + common)),
        FakeArm("aim", "aim", accuracies=list(0.17 + common + rng.normal(0, 0.002, 8))),
    ]
    one = examine(make_study(study, seeds=8, images=100_000))
    two = examine(make_study(study, seeds=8, images=100_000, procedure=2))
    assert one.primary.further_pair == one.primary.interval.prediction
    low, high = two.primary.further_pair
    assert high - low > 3 * (one.primary.further_pair[1] - one.primary.further_pair[0])
    assert "(The post) is not compatible" not in " ".join(remarks(two))
    assert "one further pair, with its own seed for each arm, is expected to lie between" in " ".join(remarks(two))
    assert "one further pair, with one seed for both arms, is expected to lie between" in " ".join(remarks(one))
    drawn = forest.caption(two.family.comparisons)
    assert "thin: prediction interval for one further pair with one seed for both arms." in drawn


def test_a_tiny_smallest_effect_of_interest_is_printed_with_as_many_decimals_as_needed(make_study):
    findings = examine(make_study(delta_pp=1e-6, procedure=2))
    assert "δ = 0.000001 pp" in forest.caption(findings.family.comparisons)
    assert "the smallest effect of interest (0.000001 pp)" in " ".join(methods(findings)[0])
    assert ("Smallest effect of interest δ", "0.000001 pp") in facts(findings)
    assert "smallest effect of interest is 0.000001 pp; the claim file declares 1.00 pp" in " ".join(
        each.text for each in cautions(findings)
    )


@pytest.mark.parametrize(("correlation", "spread"), [(0.0, 1), (0.8, 1), (0.95, 1), (0.0, 3), (0.0, 10), (0.5, 3)])
@pytest.mark.parametrize("pairs", [5, 12])
def test_the_unpaired_prediction_interval_has_the_stated_coverage(correlation, spread, pairs):
    rng, covered = np.random.default_rng(3), 0
    for _ in range(6000):
        seeds, own = rng.normal(0, correlation**0.5, pairs), (1 - correlation) ** 0.5
        treated, control = (size * (seeds + rng.normal(0, own, pairs)) for size in (spread, 1))
        low, high = unpaired_prediction(t_interval(treated - control, 0.0213), treated, control)
        covered += low <= spread * rng.normal() - rng.normal() <= high
    assert 0.9735 <= covered / 6000 <= 0.99


def test_the_unpaired_prediction_interval_uses_the_satterthwaite_degrees_of_freedom():
    treated, control = np.array([1.0, 4.0, 2.0, 7.0]), np.array([0.5, 1.0, 0.0, 2.5])
    found = t_interval(treated - control, 0.05)
    parts = np.array([treated.var(ddof=1), control.var(ddof=1), found.sd**2 / 4])
    shared = np.cov(treated, control)[0, 1]
    of_arms = shared**2  # covariances of two sample variances are 2 cov² / (n - 1); of an arm and the difference:
    with_difference = ((parts[0] - shared) ** 2 + (parts[1] - shared) ** 2) / 4
    freedom = 3 * parts.sum() ** 2 / ((parts**2).sum() + 2 * (of_arms + with_difference))
    margin = stats.t.ppf(0.975, freedom) * np.sqrt(parts.sum())
    assert unpaired_prediction(found, treated, control) == pytest.approx((found.mean - margin, found.mean + margin))
    assert np.isnan(unpaired_prediction(t_interval([1.0]), [1.0], [0.0])).all()


def test_the_headline_states_both_verdicts_if_new_photos_change_the_verdict(make_study):
    study = [FakeArm("baseline", "baseline", 0.3), FakeArm("aim", "aim", 0.33)]
    few = {"seeds": 5, "images": 150, "spread": 0.012, "draw": 50}
    two = examine(make_study(study, procedure=2, **few))
    assert two.primary.verdict.kind == "real, smaller than reported"
    assert ": real, smaller than reported. For new photos: inconclusive. No run of aim failed" in two.headline
    one = examine(make_study(study, **few))
    assert "For new photos" not in one.headline
    assert "For new photos: inconclusive; the verdict is about these test images." in said(one)
    many = examine(make_study(arms(GAIN, base=0.3), seeds=5, images=50_000, procedure=2))
    assert many.new_photos == ""
