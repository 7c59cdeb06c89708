"""Stored studies keep their verdict if only the wording changes, and lose it if a decisive value changes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from own_question import FIXED, OWN, WHAT, WIDER, arms

import analysis
from aimlib.errors import StoreError
from analysis import analysis_plan
from analysis.findings import deviations as departures
from analysis.findings.deviations import deviations
from analysis.procedures import FIRST, LATEST

RULES = analysis_plan.rules_of(FIRST)
DATA = Path(__file__).parents[2] / "data"
STORED = sorted(path.parent for path in DATA.rglob(analysis_plan.ANALYSIS_PLAN))
COMPLETE = DATA / "reference" / "complete" / "confirmation"


def departed(directory: Path) -> list[str]:
    return [deviation.text for deviation in analysis.examine(analysis.load(directory)).deviations]


@pytest.fixture
def complete(tmp_path: Path) -> Path:
    return Path(shutil.copytree(COMPLETE, tmp_path / "study"))


def rewrite(path: Path, **changes: Any) -> None:
    """Change a plan and the copy that the session stored."""
    document = json.loads(path.read_text(encoding="utf-8"))
    for each in (path, *(path.parent / "plans").glob("*.json")):
        each.write_text(json.dumps({**document, **changes}), encoding="utf-8")


def refreeze(directory: Path, **changes: Any) -> None:
    """Change a frozen plan and its hash, as someone who wants to hide the change would."""
    path = directory / analysis_plan.ANALYSIS_PLAN
    document = json.loads(path.read_text(encoding="utf-8"))
    content = {**document["content"], **changes}
    sha256 = analysis_plan.digest(document["frozen_at"], document["runs_before"], content)
    path.write_text(json.dumps({**document, "sha256": sha256, "content": content}), encoding="utf-8")


def test_stored_studies_are_available() -> None:
    assert len(STORED) >= 4


@pytest.mark.parametrize("directory", STORED, ids=lambda path: "-".join(path.parts[-2:]))
def test_a_stored_study_is_confirmatory(directory: Path) -> None:
    assert departed(directory) == []


@pytest.mark.parametrize("directory", STORED, ids=lambda path: "-".join(path.parts[-2:]))
@pytest.mark.parametrize("name", RULES)
def test_a_stored_study_stays_confirmatory_when_a_rule_is_reworded(
    name: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = RULES[name]
    reworded = replace(rule, wording="The same in other words.", earlier=((rule.wording, rule.number), *rule.earlier))
    monkeypatch.setattr(departures, "rules_of", lambda _procedure: {**RULES, name: reworded})
    assert departed(directory) == []


@pytest.mark.parametrize("name", RULES)
def test_a_rule_whose_meaning_has_changed_makes_a_stored_study_exploratory(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = RULES[name]
    other = analysis_plan.Rule(rule.number + 1, "Something else.", ((rule.wording, rule.number),))
    monkeypatch.setattr(departures, "rules_of", lambda _procedure: {**RULES, name: other})
    assert departed(COMPLETE) == [f"the rule on {name} is number {other.number} but was frozen as number {rule.number}"]


@pytest.mark.parametrize("name", RULES)
def test_a_frozen_text_that_was_never_written_by_any_version_is_a_deviation(name: str, complete: Path) -> None:
    refreeze(complete, **{name: "The mean of the luckiest seeds."})
    (text,) = departed(complete)
    assert text.startswith(f"{name} is ")
    assert text.endswith(" but was frozen as 'The mean of the luckiest seeds.'")


@pytest.mark.parametrize("name", RULES)
def test_a_frozen_number_is_compared_in_addition_to_its_text(name: str, complete: Path) -> None:
    numbers = {rule: each.number for rule, each in RULES.items()}
    refreeze(complete, procedure=numbers)
    assert departed(complete) == []
    refreeze(complete, procedure={**numbers, name: 7})
    assert departed(complete) == [f"the rule on {name} is number 1 but was frozen as number 7"]


def test_every_text_that_was_ever_frozen_is_known_with_its_number() -> None:
    """To reword a rule, add its old text to `earlier` and its new text to this file, which keeps all texts."""
    recorded = json.loads((DATA / "frozen_rules.json").read_text(encoding="utf-8"))
    assert set(recorded) == set(RULES)
    for name, texts in recorded.items():
        rules = [analysis_plan.rules_of(procedure)[name] for procedure in (FIRST, LATEST)]
        assert {text: next(filter(None, (rule.number_of(text) for rule in rules))) for text in texts} == texts
        assert all(rule.wording in texts for rule in rules)


def test_new_plans_freeze_texts_and_numbers(complete: Path) -> None:
    document = json.loads((complete / "study.json").read_text(encoding="utf-8"))
    content = analysis_plan.content_of(document, {}, (0.05,))
    assert content["procedure"] == {name: rule.number for name, rule in RULES.items()}
    assert {name: content[name] for name in RULES} == {name: rule.wording for name, rule in RULES.items()}


def test_new_studies_freeze_their_procedure_and_stored_studies_keep_theirs(complete: Path) -> None:
    document = json.loads((complete / "study.json").read_text(encoding="utf-8"))
    content = analysis_plan.content_of({**document, "procedure": LATEST}, {}, (0.05,))
    rules = analysis_plan.rules_of(LATEST)
    assert content["procedure"] == LATEST == 2
    assert content["rules"] == {name: rule.number for name, rule in rules.items()}
    assert "best constant answer" in content["failures"]
    was = analysis.examine(analysis.load(complete))
    assert was.procedure == FIRST
    rewrite(complete / "study.json", procedure=LATEST)
    still = analysis.examine(analysis.load(complete))
    assert still.procedure == FIRST, "the frozen procedure applies"
    assert (still.headline, still.deviations) == (was.headline, was.deviations)


def test_a_study_of_the_second_procedure_is_confirmatory(complete: Path) -> None:
    document = json.loads((complete / "study.json").read_text(encoding="utf-8"))
    rewrite(complete / "study.json", procedure=LATEST)
    frozen = json.loads((complete / analysis_plan.ANALYSIS_PLAN).read_text(encoding="utf-8"))["content"]
    new = analysis_plan.content_of({**document, "procedure": LATEST}, frozen["reported_gains_pp"], (0.05,))
    refreeze(complete, **{key: new[key] for key in ("procedure", "rules", "failures")})
    assert departed(complete) == []
    assert analysis.examine(analysis.load(complete)).procedure == LATEST
    refreeze(complete, rules={**new["rules"], "failures": 7})
    assert departed(complete) == ["the rule on failures is number 2 but was frozen as number 7"]


def test_a_procedure_from_a_later_version_is_refused(complete: Path) -> None:
    refreeze(complete, procedure=3)
    with pytest.raises(
        StoreError, match=r"analysis_plan\.json: procedure must be 1 to 2; got 3; read it with the version"
    ):
        analysis.examine(analysis.load(complete))
    rewrite(complete / "study.json", procedure="new")
    with pytest.raises(StoreError, match=r"study\.json: procedure must be 1 to 2; got 'new'"):
        analysis.load(complete)


def test_the_stored_role_aim_equals_the_role_treatment(complete: Path) -> None:
    arms = json.loads((complete / "study.json").read_text(encoding="utf-8"))["arms"]
    assert "aim" in {arm["role"] for arm in arms}
    before = analysis.examine(analysis.load(complete))
    rewrite(complete / "study.json", arms=[{**a, "role": a["role"].replace("aim", "treatment")} for a in arms])
    after = analysis.examine(analysis.load(complete))
    assert [deviation.text for deviation in after.deviations] == []
    assert after.headline == before.headline
    assert {arm.role for arm in after.results.plan.arms} == {arm.role for arm in before.results.plan.arms}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"alpha": 0.1}, "alpha is 0.1 but was frozen as 0.05"),
        ({"delta_pp": 0.5}, "delta_pp is 0.5 but was frozen as 1.0"),
        ({"looks": [5, 10]}, "looks is [5, 10] but was frozen as [5, 8, 12]"),
        ({"further_block": 4}, "further_block is 4 but was frozen as 0"),
    ],
)
def test_a_changed_number_is_a_deviation(complete: Path, changes: dict[str, Any], said: str) -> None:
    rewrite(complete / "study.json", **changes)
    assert said in departed(complete)


@pytest.mark.parametrize("role", ["other", "frozen", "baseline"])
def test_a_changed_arm_role_is_a_deviation(complete: Path, role: str) -> None:
    arms = json.loads((complete / "study.json").read_text(encoding="utf-8"))["arms"]
    rewrite(complete / "study.json", arms=[*arms[:2], {**arms[2], "role": role}])
    assert "the role of arm aim_0004 in the argument differs from the frozen role" in departed(complete)


def test_a_changed_primary_comparison_is_a_deviation(complete: Path) -> None:
    arms = json.loads((complete / "study.json").read_text(encoding="utf-8"))["arms"]
    rewrite(complete / "study.json", arms=[arms[0], arms[2], arms[1]])
    assert departed(complete) == ["the gated comparisons differ from the frozen ones"]


def test_without_a_frozen_plan_a_study_is_exploratory() -> None:
    results = analysis.load(COMPLETE)
    found = deviations(None, results.plan, {}, results.runs)
    assert [deviation.text for deviation in found] == ["no analysis plan was frozen before the first run"]


def test_the_words_of_a_study_are_frozen_and_changing_a_question_makes_its_comparison_exploratory(make_study) -> None:
    directory = make_study(arms(), seeds=6, **OWN)
    frozen = analysis_plan.read(directory)
    assert frozen is not None
    assert frozen.content["what"] == WHAT
    assert frozen.content["questions"] == {"fixed gate": FIXED, "wider": WIDER}
    assert departed(directory) == []
    document = json.loads((directory / "study.json").read_text(encoding="utf-8"))
    document["what"] = "a gate"
    document["arms"][2]["question"] = "More than a few parameters?"
    rewrite(directory / "study.json", **document)
    found = analysis.examine(analysis.load(directory)).deviations
    assert [(each.text, each.arms) for each in found] == [
        ("the question of arm wider differs from the frozen question", frozenset({"wider"}))
    ]


def test_a_plan_without_its_own_words_freezes_no_words(make_study) -> None:
    frozen = analysis_plan.read(make_study(seeds=6))
    assert frozen is not None
    assert not {"what", "questions"} & frozen.content.keys()
