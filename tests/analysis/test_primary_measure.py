"""Measures other than accuracy decide on their own scale and in their own units; accuracy works as before."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from own_question import OWN, arms
from scipy import stats
from sklearn import metrics
from synthetic_study import FakeArm

import analysis
from aimlib.errors import StoreError
from analysis import analysis_plan
from analysis.primary_measure import ACCURACY, primary_measure
from analysis.reading.measured import SCALARS, metric, scalar_names

LOSS = {"measure": "loss", "delta": 0.05}
SCALAR = {"scalar": "perplexity", "better": "lower", "unit": "bits"}


def examine(directory: Path) -> analysis.Findings:
    return analysis.examine(analysis.load(directory))


def by_hand(findings: analysis.Findings, column: str) -> pd.DataFrame:
    return findings.results.runs.pivot(index="seed", columns="arm", values=column)


def test_a_lower_loss_is_a_gain_in_units_of_the_loss(make_study) -> None:
    findings = examine(make_study(arms(), seeds=6, **OWN, **LOSS))
    primary, losses = findings.primary, by_hand(findings, "test_loss")
    expected = stats.ttest_rel(losses["plain"], losses["gated"])
    low, high = expected.confidence_interval()
    np.testing.assert_allclose(
        [primary.interval.mean, primary.interval.lower, primary.interval.upper, primary.p],
        [(losses["plain"] - losses["gated"]).mean(), low, high, expected.pvalue],
    )
    assert primary.name == "plain − gated"
    assert primary.verdict.text == "material gain"
    assert re.match(
        r"The test loss of gated is \d\.\d{4} nats lower than that of plain on average "
        r"\(95 % interval of the reduction \+\d\.\d{4} to \+\d\.\d{4} nats, 6 paired seeds\): material gain\.",
        findings.headline,
    )
    assert findings.photos is None


def test_a_higher_loss_is_harmful(make_study) -> None:
    findings = examine(make_study(arms(gain=-0.04), seeds=6, **OWN, **LOSS))
    assert findings.primary.verdict.text == "harmful"
    assert "nats higher than that of plain" in findings.headline


@pytest.mark.parametrize("name", ["macro_f1", "balanced_accuracy"])
def test_metrics_of_the_predictions_match_scikit_learn(make_study, name: str) -> None:
    findings = examine(make_study(arms(), seeds=5, **{**OWN, "images": 300}, measure=name, delta=1.0))
    predicted = analysis.load(findings.results.directory).predictions
    score = {
        "macro_f1": lambda own: metrics.f1_score(own["label"], own["predicted"], average="macro"),
        "balanced_accuracy": lambda own: metrics.balanced_accuracy_score(own["label"], own["predicted"]),
    }[name]
    expected = predicted.groupby("run_id")[["label", "predicted"]].apply(score)
    found = findings.results.runs.set_index("run_id")[f"test_{name}"]
    np.testing.assert_allclose(found, expected[found.index])
    values = by_hand(findings, f"test_{name}")
    assert findings.primary.interval.mean == pytest.approx(100 * (values["gated"] - values["plain"]).mean())
    assert " pp higher than that of plain on average" in findings.headline
    epochs = findings.results.epochs.set_index(["run_id", "epoch"])[f"test_{name}"]
    assert epochs.notna().all()
    last = epochs.groupby("run_id").last()
    np.testing.assert_allclose(last[found.index], found)


def test_metrics_are_averaged_over_the_classes_that_occur() -> None:
    labels, predicted = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 3, 1, 0, 1])
    assert metric(labels, predicted, "balanced_accuracy") == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    # F1 for the classes 0, 1 and 2; class 3 does not occur in any label.
    assert metric(labels, predicted, "macro_f1") == pytest.approx((2 * 2 / 6 + 2 * 1 / 4 + 0) / 3)


def reported(results: analysis.Results, values: Any) -> analysis.Results:
    """Return results of runs that reported scalars after every epoch."""
    from dataclasses import replace

    by_run: dict[str, list[dict[str, Any]]] = {}
    for row in results.epochs.sort_values("epoch").to_dict("records"):
        by_run.setdefault(row["run_id"], []).append(values(row))
    told = {
        run_id: json.dumps({name: [each[name] for each in all_] for name in all_[0]}) for run_id, all_ in by_run.items()
    }
    return replace(results, runs=results.runs.assign(**{SCALARS: results.runs["run_id"].map(told)}))


def test_a_scalar_that_runs_report_can_decide_the_verdict(make_study) -> None:
    results = analysis.load(make_study(arms(), seeds=6, **OWN, measure=SCALAR, delta=0.1))
    findings = analysis.examine(reported(results, lambda row: {"perplexity": 9 - 5 * row["test_accuracy"], "other": 1}))
    perplexity = by_hand(findings, "scalar:perplexity")
    np.testing.assert_allclose(perplexity, 9 - 5 * by_hand(findings, "test_accuracy"))
    assert findings.primary.interval.mean == pytest.approx((perplexity["plain"] - perplexity["gated"]).mean())
    assert "The perplexity of gated is" in findings.headline
    assert "bits lower than that of plain" in findings.headline


def test_a_scalar_that_no_run_reports_is_refused_and_the_available_scalars_are_listed(make_study) -> None:
    directory = make_study(arms(), seeds=6, **OWN, measure=SCALAR, delta=0.1)
    lacking = "No verdict: no run has a value for this study’s measure, perplexity."
    assert examine(directory).headline.startswith(lacking)
    others = reported(analysis.load(directory), lambda row: {"bleu": 0.3, "nan": None})
    assert scalar_names(others.runs) == ["bleu", "nan"]
    assert "Runs report: bleu, nan." in analysis.examine(others).headline
    empty = reported(analysis.load(directory), lambda row: {"perplexity": None})
    assert "Runs report it, but not as a finite number at the selected epoch" in analysis.examine(empty).headline


def test_a_scalar_that_only_one_arm_has_in_its_selected_epoch_is_reported_as_missing(make_study) -> None:
    results = analysis.load(make_study(arms(), seeds=6, **OWN, measure=SCALAR, delta=0.1))
    one = set(results.runs.loc[results.runs["arm"] == "plain", "run_id"])
    findings = analysis.examine(reported(results, lambda row: {"perplexity": 3.0 if row["run_id"] in one else None}))
    assert "no seed has perplexity in the selected epochs of both arms" in findings.headline


@pytest.mark.parametrize(
    ("measure", "delta", "words"),
    [
        ("loss", 0.05, "test loss"),
        ("macro_f1", 1.0, "macro-averaged F1 score on test images"),
        ("balanced_accuracy", 1.0, "balanced test accuracy"),
    ],
)
def test_the_entire_report_is_in_the_unit_of_the_measure(make_study, undrawn, tmp_path, measure, delta, words) -> None:
    page = analysis.report(make_study(arms(), seeds=6, **OWN, measure=measure, delta=delta), out=tmp_path / "report")
    text = (page.parent / "report.md").read_text(encoding="utf-8")
    assert f"paired difference in {words}" in text
    assert "Is it more" not in text
    unit = "nats" if measure == "loss" else "pp"
    assert f"Δ, {unit}" in text
    if measure == "loss":
        assert not re.search(r"\bpp\b|percentage points|, %", text), re.findall(r".*\bpp\b.*|.*, %.*", text)[:3]
    columns = pd.read_csv(page.parent / "tables" / "columns.csv").set_index(["table", "column"])
    assert columns.loc[("pairs", "difference"), "unit"] == unit
    written = json.loads((page.parent / "report.json").read_text(encoding="utf-8"))
    assert (written["measure"], written["delta"]) == (measure, delta)


def test_a_sweep_is_ranked_by_increasing_loss(make_study, tmp_path) -> None:
    many = [FakeArm(f"arm {i}", "other", 0.40 + 0.01 * i) for i in range(13)]
    page = analysis.report(make_study([*arms(), *many], seeds=5, **OWN, **LOSS), out=tmp_path / "report")
    ranking = pd.read_csv(page.parent / "tables" / "ranking.csv")
    assert ranking["arm"].iloc[0] == "gated"
    assert ranking["mean"].is_monotonic_increasing
    text = (page.parent / "report.md").read_text(encoding="utf-8")
    assert "has the lowest mean test loss at the selected epoch" in text
    assert "lowest mean" in text


def test_the_plan_freezes_the_measure_and_changing_it_later_is_a_deviation(make_study) -> None:
    directory = make_study(arms(), seeds=6, **OWN, **LOSS)
    frozen = analysis_plan.read(directory).content
    assert (frozen["measure"], frozen["delta"]) == ("loss", 0.05)
    assert "delta_pp" not in frozen
    assert frozen["estimand"].endswith(
        "test loss of each run's selected epoch, paired by seed, in nats, control minus treatment."
    )
    assert examine(directory).deviations == ()
    path = directory / "study.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**document, "measure": "macro_f1", "delta": 1.0}), encoding="utf-8")
    said = [deviation.text for deviation in examine(directory).deviations]
    assert "measure is 'macro_f1' but was frozen as 'loss'" in said
    assert "delta is 1.0 but was frozen as 0.05" in said
    assert any(text.startswith("estimand is") for text in said)


def test_accuracy_is_not_stored_or_frozen_as_the_measure(make_study) -> None:
    directory = make_study(seeds=6)
    assert analysis.load(directory).plan.measure == ACCURACY
    assert not {"measure", "delta"} & analysis_plan.read(directory).content.keys()


@pytest.mark.parametrize(
    "stored", ["f2", {"scalar": "x"}, {"scalar": 3, "better": "lower"}, {"scalar": "x", "better": "up"}]
)
def test_a_plan_with_an_unknown_measure_is_refused(make_study, stored) -> None:
    directory = make_study(arms(), seeds=5, **OWN, **LOSS)
    path = directory / "study.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**document, "measure": stored}), encoding="utf-8")
    with pytest.raises(StoreError, match="measure must be one of accuracy, balanced_accuracy, macro_f1, loss"):
        analysis.load(directory)


def test_an_earlier_version_refuses_a_plan_with_a_different_measure(make_study) -> None:
    """It refuses the plan because a key that it requires is missing; otherwise, it would use the accuracy."""
    document = json.loads((make_study(arms(), seeds=5, **OWN, **LOSS) / "study.json").read_text(encoding="utf-8"))
    assert "delta_pp" not in document


def test_differences_have_as_many_decimals_as_the_smallest_effect_needs() -> None:
    assert primary_measure("loss", 0.05).points(0.0123) == "+0.0123"
    assert primary_measure("loss", 2.0).points(0.0123) == "+0.01"
    assert primary_measure("macro_f1", 0.05).points(1.234) == "+1.23"


def test_diverged_runs_count_with_their_loss_and_missing_pairs_withhold_the_verdict(make_study) -> None:
    findings = examine(make_study(arms(), seeds=6, status={("gated", 2): "diverged"}, **OWN, **LOSS))
    assert findings.primary.interval.n == 6
    lost = examine(make_study(arms(), seeds=6, status={("gated", 2): "failed"}, **OWN, **LOSS))
    assert "unbalanced" in lost.primary.verdict.reason


@pytest.mark.parametrize(
    "changes",
    [
        {"measure": {"scalar": "a\x1b[2Jb", "better": "lower"}},
        {"measure": {"scalar": "x", "better": "lower", "unit": "\u202e"}},
        {"what": "two\nlines"},
        {"delta": float("inf")},
        {"delta": 0},
    ],
)
def test_invalid_words_and_numbers_are_refused(make_study, changes) -> None:
    path = make_study(arms(), seeds=5, **OWN, **LOSS) / "study.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")
    with pytest.raises(StoreError, match=r"not printable text|delta must be a positive number|measure must be one of"):
        analysis.load(path.parent)
