"""A collapse is reported with the verdict; otherwise, the headline states which rate the pairs do not rule out."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import synthetic_study
from rich.console import Console
from synthetic_study import FakeArm

import analysis
from ablations.commands.options import print_verdict
from analysis.findings.collapses import NotExcluded
from analysis.findings.robust_readings import contradiction, robust_verdict
from analysis.findings.standing import standing
from analysis.report.cautions import cautions
from analysis.report.methods import methods
from analysis.statistics.interval import t_interval
from analysis.statistics.robust import robust_reading

BASE = [0.150, 0.156, 0.152, 0.149, 0.154, 0.151, 0.155, 0.153]
GAIN = [0.052, 0.047, 0.050, 0.053, 0.049, 0.051, 0.048, 0.050]


def arms(pairs=5, fallen=None, to=0.045, gain=GAIN):
    """Return a baseline and a treatment; the treatment run `fallen` has the low accuracy `to`, above chance level."""
    treated = [base + more for base, more in zip(BASE, gain, strict=True)][:pairs]
    if fallen is not None:
        treated[fallen] = to
    return [
        FakeArm("baseline", "baseline", accuracies=BASE[:pairs]),
        FakeArm("aim", "aim", accuracies=treated),
    ]


def examine(directory):
    return analysis.examine(analysis.load(directory))


def said(findings):
    return [caution.text for caution in cautions(findings)]


def console_of(directory):
    shown = io.StringIO()
    print_verdict(directory, Console(file=shown, width=1000))
    return shown.getvalue()


@pytest.mark.parametrize("procedure", [1, 2])
def test_a_planted_collapse_is_shown_on_the_first_screen_of_the_report_and_on_the_console(
    make_study, undrawn, procedure
):
    directory = make_study(arms(fallen=3), seeds=5, images=2000, procedure=procedure)
    findings = examine(directory)
    (found,) = findings.collapses
    assert (found.arm, found.seed, found.why, found.comparison) == ("aim", 3, "far below", "aim − baseline")
    assert found.run_id == findings.results.runs.set_index(["arm", "seed"])["run_id"]["aim", 3]
    assert found.accuracy == 0.045
    assert findings.judged.set_index("run_id")["outcome"][found.run_id] == "trained", "the accuracy is above chance"
    text = (
        f"A run of aim collapsed: seed 3 (run {found.run_id}, accuracy 4.50 %) is 15.75 pp worse than the median of "
        "the other seeds. A t interval assumes normally distributed differences and is not valid if runs collapse. "
        "Because 1 of 5 runs failed, a failure rate of up to 66 % cannot be excluded (at 95 % confidence)."
    )
    assert said(findings)[0] == text
    page = analysis.report(directory)
    first_screen = page.read_text(encoding="utf-8").split('id="forest"')[0].split("</section>")[0]
    assert "A run of aim collapsed: seed 3" in first_screen
    what_went_wrong = page.read_text(encoding="utf-8").split('id="trouble"')[1].split("</section>")[0]
    assert "Nothing to report" not in what_went_wrong
    for part in ("collapsed", "15.75 pp worse than the median of the other seeds", found.run_id):
        assert part in what_went_wrong
    for shown in (console_of(directory), standing(analysis.load(directory))):
        assert "Of the compared runs, aim with seed 3 collapsed." in shown
    assert findings.not_excluded is None
    assert ("collapsed" in findings.headline) == (procedure == 2), "the headline of procedure 1 does not change"


def test_without_a_collapse_the_report_states_which_rate_the_pairs_do_not_rule_out(make_study, undrawn):
    directory = make_study(arms(), seeds=5, images=2000, procedure=2)
    findings = examine(directory)
    assert findings.collapses == ()
    rate = 1 - 0.05 ** (1 / 5)
    gap = 100 * (np.mean(findings.primary.deciding_pairs["treatment"]) - 17 / 2000)  # the largest of 120 classes
    assert findings.not_excluded.rate == pytest.approx(rate)
    assert findings.not_excluded.cost_pp == pytest.approx(rate * gap)
    line = (
        "No run of aim failed in 5 pairs; at 95 % confidence, the pairs do not exclude a failure rate of up to 45 %, "
        f"which would lower its mean by {rate * gap:.2f} pp."
    )
    assert findings.headline.endswith(line)
    assert line in console_of(directory)
    assert line in standing(analysis.load(directory))
    assert line in analysis.report(directory).read_text(encoding="utf-8")
    assert not any("collapsed" in each for each in said(findings))


def test_procedure_1_keeps_its_verdict_and_headline(make_study):
    one, two = (examine(make_study(arms(), seeds=5, images=2000, procedure=procedure)) for procedure in (1, 2))
    assert one.primary.verdict == two.primary.verdict
    assert one.headline == one.primary.sentence()
    assert one.short == one.headline, "there are no failures, so the console does not add anything"
    assert one.not_excluded is not None, "it is known but not part of the headline"
    assert one.robust == two.robust
    assert not one.checks["check"].str.startswith("robust").any(), "its tables do not change either"
    assert two.checks["check"].str.startswith("robust").sum() == 1
    assert "Yuen" not in " ".join(methods(one)[1])


def test_only_pairs_of_the_deciding_look_count(make_study):
    late = make_study(arms(8, fallen=7), seeds=8, images=2000, procedure=2, looks=[5, 8])
    findings = examine(late)
    assert findings.primary.interval.n == 5
    assert findings.collapses == ()
    assert findings.not_excluded.runs == 5


def test_a_pair_with_an_untrained_run_counts_as_a_failure(make_study):
    findings = examine(make_study(arms(), seeds=5, images=2000, procedure=2, status={("aim", 2): "chance"}))
    (found,) = findings.collapses
    assert (found.why, found.seed, found.text) == ("at chance", 2, "stayed at chance level")
    assert findings.not_excluded is None
    assert findings.headline.endswith(" Of the compared runs, aim with seed 2 did not train.")
    assert said(findings).count("aim: 1 of 5 runs did not train.") == 1
    assert not any("collapsed" in each for each in said(findings)), "the outcome already says so"


def test_a_run_that_predicts_only_one_class_has_collapsed_regardless_of_its_accuracy(make_study, monkeypatch):
    """It predicts one class for 97 % of the images and the rest correctly: above chance, and close to its arm."""
    written = synthetic_study.record

    def record(study, rng, arm, seed, status):
        found = written(study, rng, arm, seed, status)
        if (arm, seed) != (1, 2):
            return found
        labels = np.arange(study.images) % 4
        kept = np.flatnonzero(labels)[: round(0.03 * study.images)]
        found.predictions[-1] = 0
        found.predictions[-1][kept] = labels[kept]
        accuracy = float((found.predictions[-1] == labels).mean())
        found.run["test_accuracy"] = found.epochs[-1]["test_accuracy"] = accuracy
        return found

    monkeypatch.setattr(synthetic_study, "record", record)
    near = [
        FakeArm("baseline", "baseline", accuracies=[0.29, 0.291, 0.292, 0.29, 0.291]),
        FakeArm("aim", "aim", accuracies=[0.3, 0.301, 0.299, 0.3, 0.3]),
    ]
    scope = {**synthetic_study.SCOPE, "classes": 4}
    findings = examine(make_study(near, seeds=5, images=4000, procedure=2, scope=scope))
    (found,) = findings.collapses
    assert findings.judged.set_index("run_id")["outcome"][found.run_id] == "trained"
    assert (found.arm, found.seed, found.why, found.accuracy) == ("aim", 2, "one class", 0.28)
    assert found.text == "predicts the same class for 97.0 % of the test images"
    assert "A run of aim collapsed: seed 2" in said(findings)[0]


def test_the_robust_reading_is_reported_but_never_decides(make_study):
    few = examine(make_study(arms(), seeds=5, images=2000, procedure=2))
    many = examine(make_study(arms(8), seeds=8, images=2000, procedure=2))
    assert few.robust["aim − baseline"].method == "trimmed mean"
    assert many.robust["aim − baseline"].method == "signed ranks"
    assert few.robust["aim − baseline"].alpha == few.primary.interval.alpha
    row = many.checks.set_index("check").loc["robust: Hodges-Lehmann estimate"]
    assert (row["lower"], row["upper"]) == (many.robust["aim − baseline"].lower, many.robust["aim − baseline"].upper)
    assert row["verdict"] == robust_verdict(many.primary, many.robust["aim − baseline"]).text
    cited = " ".join(methods(many)[1])
    assert "Hodges" in cited
    assert "Wilcoxon" in cited
    assert "Yuen" not in cited
    assert "Yuen" in " ".join(methods(few)[1])
    assert "Hanley" in cited


def test_a_robust_reading_that_contradicts_the_t_interval_about_0_is_reported(make_study):
    """Because of one large difference, the t interval includes 0, but the sign-based intervals do not."""
    gain = [0.010, 0.012, 0.011, 0.013, 0.009, 0.012, 0.011, 0.110]
    findings = examine(make_study(arms(8, gain=gain), seeds=8, images=2000, procedure=2))
    primary, reading = findings.primary, findings.robust["aim − baseline"]
    assert primary.interval.lower < 0 < reading.lower
    text = contradiction(primary, reading)
    assert text in said(findings)
    assert (
        "aim − baseline: the interval for the Hodges-Lehmann estimate, which does not affect the verdict, excludes 0, "
        "but" in text
    )
    agreeing = examine(make_study(arms(8), seeds=8, images=2000, procedure=2))
    assert contradiction(agreeing.primary, agreeing.robust["aim − baseline"]) == ""


def test_a_center_outside_the_t_interval_is_reported(make_study):
    findings = examine(make_study(arms(8), seeds=8, images=2000, procedure=2))
    reading = replace(findings.robust["aim − baseline"], estimate=-1.0, lower=-9.0, upper=7.0)
    text = contradiction(findings.primary, reading)
    assert "does not exclude 0, but the t interval does, and the robust center lies outside the t interval" in text
    inside = replace(reading, estimate=findings.primary.interval.mean)
    assert contradiction(findings.primary, inside) == ""


@pytest.mark.parametrize("n", [5, 8, 12])
@pytest.mark.parametrize("gain", [0.0, 1.0, 2.0, 2.46, 5.0])
def test_normal_runs_rarely_have_a_robust_reading_that_contradicts_the_t_interval_about_0(make_study, n, gain):
    primary = examine(make_study(arms(5), seeds=5, images=2000, procedure=2)).primary
    rng, studies, named = np.random.default_rng(n), 800, 0
    for _ in range(studies):
        drawn = rng.normal(gain, 2**0.5, n)
        interval = t_interval(drawn, 0.0213)
        reading = robust_reading(drawn, interval.alpha)
        named += "exclude" in contradiction(replace(primary, interval=interval), reading)
    assert named / studies <= 0.05 + 3 * (0.05 * 0.95 / studies) ** 0.5


@pytest.mark.parametrize("status", ["missing", "failed"])
def test_without_a_verdict_collapses_are_not_mentioned(make_study, status):
    lost = {(arm, seed): status for arm in ("baseline", "aim") for seed in range(5)}
    none = examine(make_study(arms(), seeds=5, procedure=2, status=lost))
    assert (none.collapses, none.not_excluded, none.robust, none.failed) == ((), None, {}, "")
    assert "failure rate" not in none.headline
    few = examine(make_study(arms(4), seeds=4, procedure=2))
    assert (few.collapses, few.not_excluded, few.robust) == ((), None, {})


@pytest.mark.filterwarnings("error")
def test_a_single_pair_that_did_not_train_cannot_be_compared_with_others(make_study):
    (found,) = examine(make_study(arms(1), seeds=1, procedure=2, status={("aim", 0): "chance"})).collapses
    assert (found.why, found.text) == ("at chance", "stayed at chance level")


def test_collapses_are_found_without_the_table_of_images(make_study):
    findings = examine(make_study(arms(fallen=3), seeds=5, images=2000, procedure=2, write_images=False))
    assert [(each.arm, each.seed, each.why) for each in findings.collapses] == [("aim", 3, "far below")]


def test_the_sentence_about_failure_rates_is_complete_without_a_cost():
    assert NotExcluded("aim", 12, 0.2209, None).text == (
        "No run of aim failed in 12 pairs; at 95 % confidence, the pairs do not exclude a failure rate of up to 22 %."
    )


def test_other_measures_are_judged_in_their_own_units(make_study):
    loss = {"measure": "loss", "delta": 0.05, "claim": None, "what": "a filter"}
    worse = examine(make_study(arms(fallen=3), seeds=5, images=2000, procedure=2, **loss))
    (found,) = worse.collapses
    assert (found.arm, found.seed) == ("aim", 3)
    assert found.text == "is 0.7875 nats worse than the median of the other seeds"
    fine = examine(make_study(arms(), seeds=5, images=2000, procedure=2, **loss))
    assert fine.not_excluded.cost_pp is None
