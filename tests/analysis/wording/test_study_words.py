"""A study about something other than memory is reported in its own words; a memory study is reported as before."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from own_question import FIXED, OWN, WHAT, WIDER, arms

import analysis
from analysis.report.content import compose
from analysis.wording.study_words import question

pytestmark = pytest.mark.usefixtures("undrawn")
MEMORY = re.compile(r"\bAiM\b|\baim\b|\bmemor(y|ies)\b|Keras", re.IGNORECASE)


@pytest.fixture
def report(make_study, tmp_path) -> Path:
    analysis.report(make_study(arms(), seeds=6, **OWN), out=tmp_path / "report")
    return tmp_path / "report"


def visible(page: str) -> str:
    """Return the visible text of a page, without scripts, styles or the name of this package."""
    text = re.sub(r"(?s)<(script|style|svg)\b.*?</\1>|<[^>]*>", " ", page)
    return text.replace("aim-ablations", "")


def test_no_file_in_a_report_without_memory_mentions_memory(report: Path) -> None:
    files = [path for path in report.rglob("*") if path.suffix in (".html", ".md", ".tex")]
    assert len(files) > 5
    for path in files:
        found = [match.group() for match in MEMORY.finditer(visible(path.read_text(encoding="utf-8")))]
        assert not found, f"{path.name}: {found}"


def test_the_report_uses_the_words_and_questions_of_the_study(report: Path) -> None:
    text = (report / "report.md").read_text(encoding="utf-8")
    for said in (
        f"Does {WHAT} cause a gain?",
        "Squeeze-and-excitation causes the gain: every gate is passed.",
        f"Is the network with {WHAT} more accurate?",
        f"To attribute a gain to {WHAT}, the treatment must exceed, in this order and each at the full level, the "
        f"baseline, fixed gate (“{FIXED}”) and wider (“{WIDER}”).",
        f"A gain from {WHAT} is supported only if all gates are passed.",
    ):
        assert said in text
    assert "none named" not in text


def test_the_verdict_table_compares_with_a_reported_gain_only_if_there_is_one(report: Path, make_study) -> None:
    own = visible((report / "report.html").read_text(encoding="utf-8"))
    assert "reported" not in own.replace("reported epoch", "")
    assert "L ≥ δ" in own
    assert "material gain" in own
    with_claim = analysis.report(make_study(seeds=6)).parent / "report.html"
    assert "r: reported gain" in visible(with_claim.read_text(encoding="utf-8"))


def test_a_study_without_further_controls_states_what_it_does_not_show(make_study) -> None:
    plain, _, _, gated = arms()
    findings = analysis.examine(analysis.load(make_study([plain, gated], seeds=6, **OWN)))
    assert [gate.state for gate in findings.family.gates] == ["passed"]
    assert findings.causal == (
        "Squeeze-and-excitation causes the gain. The study does not name a control other than the baseline, so it does "
        "not show what about squeeze-and-excitation causes the gain."
    )
    assert "there is no further control." in compose(findings).methods[1]


def test_a_failed_gate_ends_the_argument_at_its_control(make_study) -> None:
    plain, fixed, wider, gated = arms()
    study = make_study([plain, replace(fixed, mean=0.54), wider, gated], seeds=6, **OWN)
    findings = analysis.examine(analysis.load(study))
    assert findings.family.gates[0].state == "passed"
    assert findings.family.gates[2].state == "not reached"
    assert "gated − fixed gate" in findings.causal


def test_a_plan_without_its_own_words_is_about_memory(make_study) -> None:
    findings = analysis.examine(analysis.load(make_study(seeds=6, images=2000)))
    assert findings.results.plan.what is None
    assert question(findings.results.plan, "frozen") == "Is it more than a memory that never learns?"
    assert question(findings.results.plan, "permuted") == "Is it more than the memory of another image?"
    assert compose(findings).question == "Does memory cause a gain, all else equal?"


def test_a_gain_of_at_least_delta_ends_a_study_without_a_claim(make_study) -> None:
    primary = analysis.examine(analysis.load(make_study(arms(), seeds=6, **OWN))).primary
    assert primary.verdict.text == "material gain"
    assert primary.verdict.stops


def test_a_study_that_was_frozen_without_words_keeps_the_verdict_from_its_table(make_study) -> None:
    directory = make_study(arms(), seeds=6, **{**OWN, "what": None})
    document = json.loads((directory / "study.json").read_text(encoding="utf-8"))
    before = analysis.examine(analysis.load(directory)).primary.verdict
    (directory / "study.json").write_text(json.dumps({**document, "what": WHAT}), encoding="utf-8")
    assert before.text == "positive, size open"
    assert analysis.examine(analysis.load(directory)).primary.verdict == before


def test_a_control_without_a_question_of_its_own_is_named_in_the_default_question(make_study) -> None:
    plain, fixed, wider, gated = arms()
    study = make_study([plain, replace(fixed, question=None), wider, gated], seeds=6, **OWN)
    findings = analysis.examine(analysis.load(study))
    assert [gate.question for gate in findings.family.gates][1:] == ["Is it more than fixed gate?", WIDER]
