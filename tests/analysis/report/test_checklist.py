"""The reviewer's checklist and the methods section describe only what happened in this study."""

from __future__ import annotations

import re
from typing import Any

import pytest
from synthetic_study import ARMS, FakeArm

import analysis
from analysis.report.checklist import checklist, page
from analysis.report.methods import methods


def examined(make_study: Any, *args: Any, **options: Any) -> analysis.Findings:
    return analysis.examine(analysis.load(make_study(*args, **options)), unproven=True)


def text_of(findings: analysis.Findings) -> str:
    return " ".join(methods(findings)[0])


def test_the_checklist_has_16_items_and_leaves_unknown_items_open(make_study: Any) -> None:
    findings = examined(make_study)
    items = checklist(findings)
    assert len(items) == 16
    answers = {item.title: item.answer for item in items}
    assert answers["Statistical significance"] == "yes"
    assert answers["Compute resources"] == "partly"
    unknown = {"Theory, assumptions and proofs", "Code of ethics", "Broader impacts", "Use of large language models"}
    assert {answers[title] for title in unknown} == {"open"}
    assert all(item.left for item in items if item.answer in ("partly", "open"))
    assert all(item.text for item in items if item.answer in ("yes", "partly"))
    claims = next(item for item in items if item.title == "Claims")
    assert claims.text[0] == f"The study found: {findings.headline}"


def test_facts_in_the_checklist_come_from_the_rows(make_study: Any) -> None:
    findings = examined(make_study, status={("aim", 1): "failed"})
    whole = page(findings)
    hours = len(findings.results.runs["seconds"].dropna()) * 164.0 / 3600
    assert re.search(rf"The total run time is {hours:.2f} h on NVIDIA A100; the median run took 160 s\.", whole)
    assert "1 run failed, and 0 were interrupted and resumed." in whole
    assert "Images: 10 800 training, 1 200 validation, 400 test." in whole.replace("\u202f", " ")
    assert findings.results.frozen is not None
    assert findings.results.frozen.sha256 in whole


def test_sentences_keep_their_spaces_and_omit_parts_without_a_name(make_study: Any) -> None:
    config = {"training": {"optimizer": {"name": "adam", "learning_rate": 0.01}, "augmentation": {"passes": 2}}}
    arms = [FakeArm("baseline", "baseline", 0.15, config=config), FakeArm("aim", "aim", 0.17, config=config)]
    whole = page(examined(make_study, arms))
    assert (
        "* `ablate archive` packs the rows, the plan, the ledger and the source code; `ablate recompute` computes the "
        "verdict again."
    ) in whole
    said = "training.optimizer adam; training.optimizer.learning\\_rate 0.01; training.augmentation.passes 2."
    assert said in whole
    assert "object at" not in whole


def test_a_study_without_pairs_has_no_error_bars(make_study: Any) -> None:
    status = {(arm.name, seed): "missing" for arm in ARMS for seed in range(6)}
    answers = {item.title: item.answer for item in checklist(examined(make_study, status=status))}
    assert answers["Statistical significance"] == "no"
    assert answers["Compute resources"] == "open"


def test_the_report_contains_the_checklist(make_study: Any, undrawn: None, tmp_path: Any) -> None:
    written = analysis.report(make_study(), tmp_path / "report").parent / "checklist.md"
    assert written.read_text("utf-8").count("\n## ") == 16


@pytest.mark.parametrize(
    ("frozen", "said"),
    [
        ("2024-05-01T11:59:30+00:00", "was frozen before the first run (SHA-256"),
        ("2024-05-01T15:30:00+00:00", "was frozen after 16 runs of this study had begun (SHA-256"),
        ("", "No analysis plan was frozen; the results are exploratory."),
    ],
)
def test_the_methods_section_states_when_the_plan_was_frozen(make_study: Any, frozen: str, said: str) -> None:
    assert said in text_of(examined(make_study, frozen=frozen))


def test_the_methods_section_states_the_number_of_runs(make_study: Any) -> None:
    status = {("aim", 0): "failed", ("baseline", 1): "diverged", ("frozen", 2): "missing"}
    assert "Of 24 planned runs, 22 are settled (1 of them diverged) and 1 failed." in text_of(
        examined(make_study, status=status)
    )


def test_the_methods_section_states_that_runs_from_other_studies_were_included(make_study: Any) -> None:
    said = text_of(examined(make_study, reused_from="other@0123"))
    assert "was frozen before the first run of its own, with 24 runs from other studies" in said


def test_the_methods_section_lists_only_the_controls_that_a_memory_study_has(make_study: Any) -> None:
    whole = text_of(examined(make_study))
    assert "in this order and each at the full level, the baseline, an arm with the same number of parameters" in whole
    assert "lacks" not in whole
    two = [FakeArm("baseline", "baseline", 0.15), FakeArm("aim", "aim", 0.17)]
    lacking = text_of(examined(make_study, two))
    assert (
        "the treatment must exceed the baseline. This study lacks an arm with the same number of parameters but no "
        "memory and an "
        "arm whose memory never learns, so it cannot attribute a gain to memory."
    ) in lacking
