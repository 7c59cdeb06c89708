"""Hidden failures: several in one arm, failures after the deciding look, or failures among runs that vary a lot."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_study import FakeArm

import analysis
from analysis.report.cautions import cautions
from analysis.report.sweeps import sweep
from analysis.report.tables.contents import text_tables
from analysis.report.tables.frames import table_frames
from analysis.statistics.collapse import collapsed, gap_of


def accuracies(mean, pairs, draw, sd=0.003):
    return list(mean + sd * np.random.default_rng(draw).standard_normal(pairs))


def fallen(values, seeds, to):
    return [to if seed in seeds else value for seed, value in enumerate(values)]


def pair(base, treated):
    return [FakeArm("baseline", "baseline", accuracies=base), FakeArm("aim", "aim", accuracies=treated)]


def examine(directory):
    return analysis.examine(analysis.load(directory))


@pytest.mark.parametrize(("seeds", "pairs"), [((2, 6, 9), 12), ((0, 2, 4, 6, 8, 10), 12), ((1, 3, 4, 7), 8)])
@pytest.mark.parametrize("arm", ["aim", "baseline"])
def test_three_or_more_failures_in_an_arm_are_reported(make_study, arm, seeds, pairs):
    base, treated = accuracies(0.2, pairs, 1), accuracies(0.26, pairs, 2)
    if arm == "aim":
        treated = fallen(treated, seeds, 0.05)
    else:
        base = fallen(base, seeds, 0.05)
    findings = examine(make_study(pair(base, treated), seeds=pairs, images=2000, procedure=2, looks=[pairs]))
    assert [(each.arm, each.seed) for each in findings.collapses] == [(arm, seed) for seed in seeds]
    assert findings.not_excluded is None
    assert f"{arm} with seeds {seeds[0]}, " in findings.headline
    assert cautions(findings)[0].text.startswith(f"{len(seeds)} runs of {arm} collapsed: seed {seeds[0]} (run ")


def test_failed_runs_of_a_control_are_reported_with_their_cause(make_study):
    """Half of the control's runs fail; the others are as accurate as the treatment."""
    pairs, seeds = 24, range(0, 24, 2)
    arms = [
        FakeArm("baseline", "baseline", accuracies=accuracies(0.2, pairs, 1)),
        FakeArm("matched", "matched", of="aim", accuracies=fallen(accuracies(0.26, pairs, 2), seeds, 0.08)),
        FakeArm("frozen", "frozen", of="aim", accuracies=accuracies(0.2, pairs, 3)),
        FakeArm("aim", "aim", accuracies=accuracies(0.26, pairs, 4)),
    ]
    findings = examine(make_study(arms, seeds=pairs, images=2000, procedure=2, looks=[pairs]))
    assert findings.causal.endswith("Of the compared runs, matched with 12 seeds (0, 2, 4, …) collapsed.")
    text = cautions(findings)[0].text
    assert text.startswith("12 runs of matched collapsed: seed 0 (run ")
    assert "so did 7 more, with seeds 10, 12, 14, 16, 18, 20 and 22" in text


def test_failures_after_the_deciding_look_are_counted_and_listed(make_study):
    treated = fallen(accuracies(0.56, 12, 1), (6, 9), 0.06)
    arms = pair(accuracies(0.2, 12, 2), treated)
    findings = examine(make_study(arms, seeds=12, images=2000, procedure=2, looks=[5, 8, 12]))
    assert findings.primary.interval.n == 5
    assert findings.collapses == ()
    assert [each.seed for each in findings.later_collapses] == [6, 9]
    found = findings.not_excluded
    assert (found.runs, found.later, found.failed_later) == (5, 7, 2)
    assert found.rate == pytest.approx(0.4381, abs=1e-4), "Clopper and Pearson's upper end of 2 of 12 at .95"
    said = "No run of aim failed in 5 pairs, but 2 of 7 later runs did; at 95 % confidence, all 12 runs do not exclude"
    assert said in findings.headline
    assert any(
        each.text.startswith("After the deciding look: 2 runs of aim collapsed: seed 6") for each in cautions(findings)
    )


def test_if_runs_vary_too_much_to_reveal_a_failure_the_report_says_so(make_study):
    treated = accuracies(0.4, 8, 5, sd=0.08)
    findings = examine(make_study(pair(accuracies(0.2, 8, 6), treated), seeds=8, images=2000, procedure=2, looks=[8]))
    found = findings.not_excluded
    assert found.hidden_by == pytest.approx(100 * np.std(findings.primary.deciding_pairs["treatment"], ddof=1))
    assert "No run of aim stands out as failed in 8 pairs, but its runs vary so much (SD " in found.text
    calm = examine(make_study(pair(accuracies(0.2, 8, 6), accuracies(0.4, 8, 5)), seeds=8, images=2000, procedure=2))
    assert calm.not_excluded.hidden_by is None
    assert calm.not_excluded.text.startswith("No run of aim failed in 8 pairs; ")


def test_a_run_that_fails_in_one_gate_is_listed_for_all_gates(make_study):
    """Seeds affect both arms equally, so only the differences from a control reveal the failure."""
    seeds = np.array([0.30, 0.42, 0.34, 0.46, 0.38, 0.50, 0.33, 0.44])
    draw = np.random.default_rng(4)
    treated = seeds + 0.05 + 0.002 * draw.standard_normal(8)
    treated[2] -= 0.14
    arms = pair(accuracies(0.3, 8, 5, sd=0.06), [float(value) for value in treated])
    arms.append(FakeArm("matched", "matched", of="aim", accuracies=[float(value) for value in seeds]))
    findings = examine(make_study(arms, seeds=8, images=2000, procedure=2, looks=[8]))
    assert {(each.comparison, each.arm, each.seed) for each in findings.collapses} == {("aim − matched", "aim", 2)}
    assert findings.not_excluded is None
    assert "aim with seed 2 collapsed" in findings.headline
    assert "But a t interval" not in findings.causal, "the headline already says so"
    assert "Because 1 of 8 runs failed" in cautions(findings)[0].text


def test_with_a_measure_other_than_accuracy_a_run_is_called_far_off_instead_of_collapsed(make_study):
    """A loss far above the others does not prove that a run failed to train."""
    arms = pair(accuracies(0.2, 8, 1), fallen(accuracies(0.26, 8, 2), (5,), 0.2))
    directory = make_study(arms, seeds=8, images=2000, procedure=2, looks=[8], measure="loss", delta=0.01, claim=None)
    findings = examine(directory)
    assert [(each.arm, each.seed) for each in findings.collapses] == [("aim", 5)]
    assert "aim with seed 5 did far worse than the others" in findings.headline
    assert "collapse" not in cautions(findings)[0].text
    assert "not valid with such outliers" in cautions(findings)[0].text


@pytest.mark.parametrize("variants", [1, 7])
def test_failures_in_arms_outside_the_gates_are_reported(make_study, variants):
    arms = pair(accuracies(0.2, 8, 1), accuracies(0.26, 8, 2))
    for number in range(variants):
        values = fallen(accuracies(0.25, 8, 10 + number), (3,), 0.06)
        arms.append(FakeArm(f"wide{number}", "other", accuracies=values))
    directory = make_study(arms, seeds=8, images=2000, procedure=2, looks=[8])
    findings = examine(directory)
    assert findings.collapses == (), "none of the gates compares them"
    assert findings.far_below == {f"wide{number} − baseline": [(f"wide{number}", 3)] for number in range(variants)}
    (said,) = (each for each in cautions(findings) if "outside the gates" in each.text)
    assert "wide0 with seed 3" in said.text
    assert ("and in 3 further arms" in said.text) == (variants == 7)
    assert len(said.arms) == (7 if variants == 7 else 0)
    table = text_tables(findings, table_frames(findings, sweep(findings)), sweep(findings))["comparisons"]
    assert all(row[-2].endswith("; 1 run collapsed") == row[0].startswith("wide") for row in table.rows)


@pytest.mark.parametrize("pairs", [8, 12, 20])
def test_differences_reveal_a_group_of_failures_if_seeds_affect_both_arms(pairs):
    rng = np.random.default_rng(pairs)
    seed = 4 * rng.standard_normal(pairs)
    treated, control = (seed + 0.2 * rng.standard_normal(pairs) for _ in range(2))
    fell = np.argsort(np.abs(seed))[:3]
    treated[fell] -= 14
    marks = collapsed(treated, control, 1.0)
    assert set(np.flatnonzero(marks[0])) == set(fell)
    assert not marks[1].any()


def test_in_one_of_400_cases_groups_of_normal_runs_are_as_far_apart_as_stated():
    rng = np.random.default_rng(0)
    for pairs in (5, 9, 14):
        values = rng.normal(0, 1e6, size=(40_000, pairs))
        ordered = np.sort(values, axis=1)
        largest = np.zeros(len(values))
        for size in range(3, pairs - 1):
            below, above = ordered[:, :size], ordered[:, size:]
            within = ((below - below.mean(1, keepdims=True)) ** 2).sum(1)
            within += ((above - above.mean(1, keepdims=True)) ** 2).sum(1)
            largest = np.maximum(largest, (above[:, 0] - below[:, -1]) / np.sqrt(within / (pairs - 2)))
        assert (largest > gap_of(pairs)).mean() == pytest.approx(0.0025, abs=0.0012)


def test_a_single_study_is_judged_like_many_studies():
    treated, control = np.array([26, 26.1, 5, 26.2, 5.1, 25.9, 26, 5.2]), np.arange(8) / 20 + 20
    one, many = collapsed(treated, control, 1.0), collapsed(treated[None], control[None], 1.0)
    assert one[0].tolist() == many[0][0].tolist() == [False, False, True, False, True, False, False, True]
