"""The frozen analysis plan: decisions made in advance, and changes that make a study exploratory."""

from __future__ import annotations

import json

import pytest
from synthetic_study import ARMS, FakeArm, freeze

import analysis
from aimlib.errors import StoreError
from analysis import analysis_plan
from analysis.report.content import compose

pytestmark = pytest.mark.usefixtures("undrawn")
BEFORE, AFTER = "2024-05-01T11:59:00+00:00", "2024-05-01T14:30:00+00:00"


def examine(directory):
    return analysis.examine(analysis.load(directory))


def rewrite(directory, change):
    path = directory / "study.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_a_study_that_follows_its_frozen_plan_is_confirmatory(make_study):
    directory = make_study()
    findings = examine(directory)
    assert findings.deviations == ()
    assert "Exploratory" not in findings.headline
    fact = dict(compose(findings).facts)["Analysis plan"]
    assert fact.startswith("frozen 2024-05-01 11:59:30 UTC, SHA-256 ")
    assert fact.endswith(", followed")


def test_without_a_frozen_plan_the_verdict_is_exploratory(make_study):
    findings = examine(make_study(frozen=""))
    assert findings.headline.endswith("Exploratory: no analysis plan was frozen before the first run.")
    assert dict(compose(findings).facts)["Analysis plan"] == "not frozen"


def test_runs_before_the_freeze_are_exploratory(make_study):
    directory = make_study(seeds=6, frozen=AFTER)
    assert "12 runs began before the freeze" in examine(directory).headline


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("delta_pp", 0.5, "delta_pp is 0.5 but was frozen as 1.0"),
        ("looks", [6, 9], "looks is [6, 9] but was frozen as [6]"),
        ("claim", None, "claim is None"),
        ("seeds", [1, 2, 3, 4, 5], "the seeds do not begin with the frozen seeds"),
    ],
)
def test_the_deciding_parts_of_the_plan_must_not_change(make_study, key, value, said):
    directory = make_study()
    rewrite(directory, lambda document: document.update({key: value}))
    assert any(said in caution for caution in compose(examine(directory)).cautions if caution.startswith("Exploratory"))


def test_seeds_may_be_added_after_the_frozen_seeds(make_study):
    directory = make_study(seeds=6)
    freeze(directory, BEFORE, seeds=[0, 1, 2, 3])
    assert examine(directory).deviations == ()


def test_an_arm_added_later_makes_only_its_own_comparisons_exploratory(make_study):
    directory = make_study([*ARMS, FakeArm("late", "aim", 0.16)])
    freeze(directory, BEFORE, without="late")
    findings = examine(directory)
    assert "Exploratory" not in findings.headline
    assert findings.exploratory("late", "baseline") == ("arm late was added after the freeze",)
    assert findings.exploratory("aim", "baseline") == ()


def test_a_changed_arm_configuration_is_detected_by_its_run_ids(make_study):
    directory = make_study()
    path = directory / analysis_plan.ANALYSIS_PLAN
    document = json.loads(path.read_text())
    document["content"]["runs"][0]["run_id"] = "f" * 20
    document["sha256"] = analysis_plan.digest(document["frozen_at"], 0, document["content"])
    path.write_text(json.dumps(document))
    assert examine(directory).exploratory("baseline") == ("the configuration or the code of arm baseline was changed",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["content"].update(delta_pp=0.1), "was changed after it was frozen"),
        (lambda d: d.update(frozen_at="2024-01-01T00:00:00+00:00"), "was changed after it was frozen"),
        (lambda d: d.pop("sha256"), "not a frozen analysis plan"),
        (lambda d: d.update(schema_version=1), "schema version 1"),
    ],
)
def test_a_frozen_plan_that_was_tampered_with_is_refused(make_study, change, said):
    directory = make_study()
    path = directory / analysis_plan.ANALYSIS_PLAN
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(StoreError, match=said):
        examine(directory)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["content"].update(comparisons=[""]),
        lambda d: d["content"].update(claim_scope=5),
        lambda d: d["content"].update(scope=[["dataset", 1]]),
        lambda d: d["content"].update(seeds=[]),
        lambda d: d["content"].update(seeds=["0"]),
        lambda d: d["content"]["arms"].append({"name": "x"}),
        lambda d: d["content"]["runs"].append({"arm": ["x"], "seed": 0, "run_id": "f" * 20}),
        lambda d: d.update(content=[]),
        lambda d: d.update(frozen_at="2024-01-01T00:00:00"),
    ],
)
def test_a_frozen_plan_with_values_of_the_wrong_type_is_refused_even_if_its_hash_is_correct(make_study, change):
    directory = make_study()
    path = directory / analysis_plan.ANALYSIS_PLAN
    document = json.loads(path.read_text())
    change(document)
    document["sha256"] = analysis_plan.digest(document["frozen_at"], document["runs_before"], document["content"])
    path.write_text(json.dumps(document))
    with pytest.raises(StoreError, match=r"analysis_plan\.json: not a frozen analysis plan"):
        examine(directory)


def test_reordering_arms_does_not_change_the_primary_comparison(make_study):
    arms = [ARMS[0], FakeArm("first", "aim", 0.15), FakeArm("second", "aim", 0.2)]
    directory = make_study(arms)
    assert examine(directory).primary.treatment == "first"
    rewrite(directory, lambda document: document["arms"].append(document["arms"].pop(1)))
    found = examine(directory)
    assert found.primary.treatment == "second"
    assert found.headline.endswith("Exploratory: the gated comparisons differ from the frozen ones.")


def test_a_failed_gate_cannot_be_deleted(make_study):
    directory = make_study([*ARMS, FakeArm("other_image", "permuted", 0.19, "aim")])

    def remove(document):
        document["arms"] = [arm for arm in document["arms"] if arm["name"] != "other_image"]
        document["runs"] = [run for run in document["runs"] if run["arm"] != "other_image"]

    rewrite(directory, remove)
    assert "Exploratory: " in examine(directory).headline


def test_an_unfavorable_seed_cannot_be_dropped(make_study):
    directory = make_study()
    rewrite(directory, lambda d: d.update(runs=[run for run in d["runs"] if run["seed"] != 3]))
    assert "frozen runs of arm baseline are no longer planned" in examine(directory).headline


def test_added_seeds_are_the_next_numbers(make_study):
    directory = make_study(seeds=6)
    freeze(directory, BEFORE, seeds=[0, 1, 2, 3])
    rewrite(directory, lambda d: d["seeds"].__setitem__(5, 17))
    assert "the added seeds, 4, 17, do not continue the frozen seeds" in examine(directory).headline


def test_a_long_list_of_frozen_seeds_is_shortened(make_study):
    directory = make_study(seeds=12)
    rewrite(directory, lambda d: d["seeds"].reverse())
    said = "the seeds do not begin with the frozen seeds, 0, 1, 2, 3, 4, 5, 6, 7 and 4 more."
    assert f"Exploratory: {said}" in compose(examine(directory)).cautions


def test_a_control_added_later_is_exploratory_and_the_others_stay_confirmatory(make_study):
    directory = make_study()
    freeze(directory, BEFORE, without="frozen")
    found = examine(directory)
    assert "Exploratory" not in found.headline
    assert found.exploratory("aim", "frozen") == ("arm frozen was added after the freeze",)
