"""From a study to its arms and runs: their names, configurations, order and ids."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_study import changed, write

from ablations.planning import plan as planning
from ablations.planning.arms import Arm, differences, expand
from ablations.spec.designs import full_factorial, label, one_at_a_time
from ablations.spec.study import read_study
from aimlib.errors import ConfigError

StudyMaker = Callable[..., Path]
CHANNELS, PLACEMENT = "model.memory.channels", "model.placement"


def arms_of(path: Path, *overrides: str) -> dict[str, Arm]:
    return {arm.name: arm for arm in expand(read_study(path, overrides))}


def laid(study: StudyMaker, factors: dict[str, list[Any]], **more: Any) -> dict[str, Arm]:
    return arms_of(study({"factors/" + path: levels for path, levels in factors.items()} | {"vary": "aim", **more}))


# Designs

LEVELS = st.dictionaries(
    st.sampled_from(["a.b", "a.c", "d.e.f"]),
    st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True),
    min_size=1,
)


@given(LEVELS)
def test_a_full_factorial_design_contains_every_combination_exactly_once(levels: dict[str, list[int]]) -> None:
    before = copy.deepcopy(levels)
    combinations = full_factorial(levels)
    expected = 1
    for choices in levels.values():
        expected *= len(choices)
    assert len({tuple(c.items()) for c in combinations}) == len(combinations) == expected
    assert all(list(c) == list(levels) for c in combinations)
    assert levels == before


@given(LEVELS)
def test_a_one_at_a_time_design_contains_every_level_exactly_once(levels: dict[str, list[int]]) -> None:
    combinations = one_at_a_time(levels)
    assert [(path, level) for c in combinations for path, level in c.items()] == [
        (path, level) for path, choices in levels.items() for level in choices
    ]
    assert {len(c) for c in combinations} == {1}


@pytest.mark.parametrize(
    ("combination", "name"),
    [
        ({CHANNELS: 16}, "channels=16"),
        ({CHANNELS: 16, PLACEMENT: "stage_only"}, "channels=16,placement=stage_only"),
        ({"model.update": None}, "update=none"),
        ({"model.backbone.widths": [4, 8]}, "widths=4-8"),
        ({"model.memory": {"name": "parameter", "rows": 2}}, "memory=parameter/rows=2"),
        ({"training.optimizer.learning_rate": 1e-05}, "learning_rate=1e-05"),
    ],
)
def test_combinations_are_named_after_their_levels(combination: dict[str, Any], name: str) -> None:
    assert label(combination) == name


# Factors


def test_a_full_factorial_design_leaves_out_existing_arms(study: StudyMaker) -> None:
    arms = laid(study, {CHANNELS: [4, 8, 16], PLACEMENT: ["block_entry", "stage_only"]})
    assert list(arms) == [
        "baseline",
        "aim",
        "aim[channels=4,placement=stage_only]",
        "aim[channels=8,placement=block_entry]",
        "aim[channels=8,placement=stage_only]",
        "aim[channels=16,placement=block_entry]",
        "aim[channels=16,placement=stage_only]",
    ]
    varied = arms["aim[channels=8,placement=stage_only]"]
    memory = varied.config.model.memory
    assert memory is not None
    assert memory.identity() == {"name": "conv_ones", "version": 1, "channels": 8, "rows": 2, "columns": 2}
    assert varied.config.model.placement is not None
    assert varied.config.model.placement.name == "stage_only"
    assert (varied.role, varied.of) == ("aim", "aim")


def test_a_one_at_a_time_design_changes_one_option_per_arm(study: StudyMaker) -> None:
    factors = {CHANNELS: [4, 8, 16], PLACEMENT: ["block_entry", "stage_only"]}
    arms = laid(study, factors, design="one_at_a_time")
    assert list(arms) == ["baseline", "aim", "aim[channels=8]", "aim[channels=16]", "aim[placement=stage_only]"]
    for name, arm in list(arms.items())[2:]:
        assert len(differences(arm, arms["aim"])) == 1, name


@pytest.mark.parametrize(
    "levels", [["conv_ones", "parameter"], [{"name": "conv_ones"}, {"name": "parameter", "rows": 3}]]
)
@pytest.mark.parametrize("component_first", [True, False])
def test_a_component_and_its_option_vary_together_in_any_order(
    study: StudyMaker, levels: list[Any], component_first: bool
) -> None:
    both: list[tuple[str, list[Any]]] = [("model.memory", levels), (CHANNELS, [8, 16])]
    arms = laid(study, dict(both if component_first else both[::-1]))
    found = {
        (arm.config.model.memory.name, arm.config.model.memory.channels)  # type: ignore[union-attr]
        for name, arm in arms.items()
        if name.startswith("aim[")
    }
    assert found == {(memory, channels) for memory in ("conv_ones", "parameter") for channels in (8, 16)}
    assert len(arms) == 2 + 4
    for name, arm in arms.items():
        if name.startswith("aim["):
            assert re.findall(r"channels=(\d+)", name) == [str(arm.config.model.memory.channels)]  # type: ignore[union-attr]


def test_no_combination_repeats_the_levels_of_the_varied_arm(study: StudyMaker) -> None:
    arms = laid(study, {"training.optimizer.learning_rate": [1, 0.002]})
    assert list(arms) == ["baseline", "aim", "aim[learning_rate=1]"], "0.002 is the arm that is varied"


@pytest.mark.parametrize(
    ("levels", "places"),
    [
        ([1, 1.0, 0.002], r"levels \[0\] \(1\) and \[1\] \(1.0\) are equal"),
        ([0.1, 0.2, 0.10], r"levels \[0\] \(0.1\) and \[2\] \(0.1\) are equal"),
    ],
)
def test_equal_levels_are_refused_and_both_places_are_named(
    study: StudyMaker, levels: list[float], places: str
) -> None:
    with pytest.raises(ConfigError, match=r"factors.training.optimizer.learning_rate: " + places):
        laid(study, {"training.optimizer.learning_rate": levels})


# Roles


def test_roles_follow_from_the_configuration(study: StudyMaker) -> None:
    arms = arms_of(
        study(
            {
                "arms.frozen": {"of": "aim", "control": "frozen_memory"},
                "arms.matched": {"of": "aim", "control": "matched_parameters"},
                "arms.longer": {"training": {"epochs": 3}},
                "arms.wider": {"of": "aim", "model": {"memory": {"channels": 8}}},
            }
        )
    )
    assert {name: arm.role for name, arm in arms.items()} == {
        "baseline": "baseline",
        "aim": "aim",
        "frozen": "frozen",
        "matched": "matched",
        "longer": "other",
        "wider": "aim",
    }
    assert {name: arm.of for name, arm in arms.items() if arm.of} == dict.fromkeys(
        ("frozen", "matched", "wider"), "aim"
    )
    assert arms["matched"].config.model.memory is None
    assert arms["frozen"].config.model.memory == arms["aim"].config.model.memory


def test_a_role_that_the_study_specifies_is_used(study: StudyMaker) -> None:
    arms = arms_of(study({"arms.longer": {"training": {"epochs": 3}, "role": "baseline"}, "arms.aim.role": "other"}))
    assert {name: arm.role for name, arm in arms.items()} == {"baseline": "other", "aim": "other", "longer": "baseline"}


def test_a_treatment_is_stored_with_the_word_that_plans_have_always_used(study: StudyMaker) -> None:
    arms = arms_of(study({"arms.longer": {"training": {"epochs": 3}, "role": "treatment"}}))
    assert arms["longer"].role == "aim"


PLAIN = {"arms.aim": {"training": {"epochs": 3}, "role": "treatment"}}
"""The tiny study without memory."""
DROPOUT = {"arms.wider": {"model": {"backbone": {"widths": [8, 8, 8]}}, "question": "More than its parameters?"}}


def test_an_arm_with_a_question_is_a_control_and_every_plan_keeps_the_question(study: StudyMaker) -> None:
    arms = arms_of(study({**PLAIN, **DROPOUT, "arms.by_hand": {"role": "matched", "training": {"epochs": 4}}}))
    assert {name: arm.role for name, arm in arms.items()} == {
        "baseline": "baseline",
        "aim": "aim",
        "wider": "control",
        "by_hand": "matched",
    }
    document = planning.document(planning.plan(read_study(study({**PLAIN, **DROPOUT, "what": "a longer budget"}))))
    assert [arm.get("question") for arm in document["arms"]] == [None, None, "More than its parameters?"]
    frozen = planning.analysis_plan(document, document["claim"])
    assert (frozen["what"], frozen["questions"]) == ("a longer budget", {"wider": "More than its parameters?"})
    assert frozen["comparisons"][1] == ["gate", "aim", "wider"]


def test_an_arm_that_corresponds_to_levels_of_the_factors_keeps_its_question(study: StudyMaker) -> None:
    factors = {"training.epochs": [2, 3]}
    arms = {"arms.longer": {"levels": {"training.epochs": "3"}, "question": "More than longer training?"}}
    found = arms_of(study({**arms, "factors": factors, "vary": "aim"}))
    assert (found["longer"].role, found["longer"].question) == ("control", "More than longer training?")


def test_a_measure_is_part_of_the_plan_but_not_of_any_run_id(study: StudyMaker) -> None:
    of_accuracy = planning.plan(read_study(study()))
    of_loss = planning.plan(read_study(study({"measure": "loss", "delta": 0.1})))
    assert [run.run_id for run in of_loss.runs] == [run.run_id for run in of_accuracy.runs]
    document = planning.document(of_loss)
    assert (document["measure"], document["delta"]) == ("loss", 0.1)
    assert "delta_pp" not in document
    frozen = planning.analysis_plan(document, document["claim"])
    assert (frozen["measure"], frozen["delta"]) == ("loss", 0.1)
    before = planning.document(of_accuracy)
    assert not {"measure", "delta"} & before.keys()
    assert "measure" in planning.document(of_loss, before), "the stored plan is not the present one"


def test_a_study_without_memory_is_about_its_treatment_and_a_study_with_memory_stores_no_additional_words(
    study: StudyMaker,
) -> None:
    plan = planning.plan(read_study(study(PLAIN)))
    assert planning.document(plan)["what"] == "aim"
    of_memory = planning.document(planning.plan(read_study(study())))
    assert "what" not in of_memory
    assert all("question" not in arm for arm in of_memory["arms"])


def test_a_plan_stored_without_words_has_none_until_the_study_specifies_them(study: StudyMaker) -> None:
    plan = planning.plan(read_study(study(PLAIN)))
    before = {key: value for key, value in planning.document(plan).items() if key != "what"}
    assert planning.document(plan, before) == before
    said = planning.plan(read_study(study({**PLAIN, "what": "a longer budget"})))
    assert planning.document(said, before)["what"] == "a longer budget"
    with_words = planning.document(said)
    assert planning.document(plan, with_words)["what"] == "aim", "the study no longer says so"


def test_a_control_is_derived_from_its_arm_and_has_its_own_changes(study: StudyMaker) -> None:
    arms = arms_of(
        study({"arms.frozen": {"of": "aim", "control": "frozen_memory", "model": {"memory": {"channels": 8}}}})
    )
    options = [change["option"] for change in differences(arms["frozen"], arms["aim"])]
    assert options == ["model.memory.channels", "model.control"]


# Differences


def test_differences_list_whole_components_and_single_options(study: StudyMaker) -> None:
    arms = arms_of(study({"arms.other": {"of": "aim", "training": {"optimizer": "sgd", "epochs": 3}}}))
    assert differences(arms["baseline"], arms["baseline"]) == []
    found = {
        change["option"]: (change["baseline"], change["value"]) for change in differences(arms["aim"], arms["baseline"])
    }
    assert set(found) == {"model.memory", "model.placement", "model.update"}
    memory = arms["aim"].config.model.memory
    assert memory is not None
    assert found["model.memory"] == (None, memory.model_dump(mode="json"))
    found = {
        change["option"]: (change["baseline"], change["value"]) for change in differences(arms["other"], arms["aim"])
    }
    assert set(found) == {"training.optimizer", "training.epochs"}
    assert found["training.epochs"] == (2, 3)
    assert (found["training.optimizer"][0]["name"], found["training.optimizer"][1]["name"]) == ("adam", "sgd")


# Runs


def test_runs_are_ordered_seed_by_seed(study: StudyMaker) -> None:
    plan = planning.plan(read_study(study({"seeds": [5, 2]})))
    assert [(run.seed, run.arm) for run in plan.runs] == [(5, "baseline"), (5, "aim"), (2, "baseline"), (2, "aim")]
    assert len({run.run_id for run in plan.runs}) == 4
    for run in plan.runs:
        assert run.config.seed == run.seed
        assert run.run_id == run.config.run_id(run.fingerprint)
        assert re.fullmatch("[0-9a-f]{20}", run.run_id)


def ids(path: Path) -> set[str]:
    return {run.run_id for run in planning.plan(read_study(path)).runs}


def test_run_ids_do_not_depend_on_names_or_order_or_resources(tmp_path: Path) -> None:
    document = changed({})
    expected = ids(write(tmp_path, document))
    other = changed({"name": "renamed", "seeds": [1, 0], "resources": {"cpus": 2, "max_retries": 0}, "delta_pp": 2.0})
    other["arms"] = {"b": document["arms"]["aim"], "a": {"role": "other"}}
    assert ids(write(tmp_path, other)) == expected
    written_out = changed({"base.training.shuffle": True, "arms.aim.model.read_init": REMOVED_DEFAULT})
    assert ids(write(tmp_path, written_out)) == expected, "a default that is written out is not another experiment"
    assert not ids(write(tmp_path, changed({"base.training.epochs": 3}))) & expected
    assert len(ids(write(tmp_path, changed({"arms.aim.model.memory.rows": 1}))) & expected) == 2


REMOVED_DEFAULT = None


# Overrides


def test_an_option_is_set_only_in_the_arms_that_have_the_component(study: StudyMaker) -> None:
    path = study(
        {
            "arms.plain": {"of": "aim", "model": {"update": "none"}},
            "arms.other": {"model": {"memory": "none"}, "training": {"epochs": 5}},
        }
    )
    arms = arms_of(path, "model.memory.channels=8")
    assert {name: getattr(arm.config.model.memory, "channels", None) for name, arm in arms.items()} == {
        "baseline": None,
        "aim": 8,
        "plain": 8,
        "other": None,
    }


def test_a_component_is_replaced_only_in_the_arms_that_have_one(study: StudyMaker) -> None:
    arms = arms_of(study({"arms.longer": {"model": {"conv_init": "glorot_uniform"}}}), "model.placement=stage_only")
    assert {name: getattr(arm.config.model.placement, "name", None) for name, arm in arms.items()} == {
        "baseline": None,
        "aim": "stage_only",
        "longer": None,
    }


def test_values_of_single_arms_can_also_be_replaced(study: StudyMaker) -> None:
    path = study({"arms.longer": {"training": {"epochs": 9}}})
    with pytest.raises(ConfigError, match=r"arms.longer: this arm is identical to arms.baseline"):
        arms_of(path, "training.epochs=3")
    arms = arms_of(path, "base.training.epochs=3")
    assert {name: arm.config.training.epochs for name, arm in arms.items()} == {"baseline": 3, "aim": 3, "longer": 9}


def test_options_can_be_set_for_a_component_that_is_specified_by_name(study: StudyMaker, tmp_path: Path) -> None:
    path = study(
        {
            "base.training.optimizer": "adam",
            "base.data": {"name": "image_folder", "size": 16, "classes": 2, "root": "/a"},
        }
    )
    arms = arms_of(path, f"data.root={tmp_path}", "training.optimizer.learning_rate=0.5", "training.tf32=true")
    for arm in arms.values():
        assert str(arm.config.data.root) == str(tmp_path)  # type: ignore[attr-defined]
        assert arm.config.training.optimizer.model_dump()["learning_rate"] == 0.5
        assert arm.config.training.tf32


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("seeds=3", "seeds", (0, 1, 2)),
        ("seeds=[7]", "seeds", (7,)),
        ("name=other", "name", "other"),
        ("delta_pp=2", "delta_pp", 2.0),
    ],
)
def test_overrides_can_change_keys_of_the_study_itself(
    study: StudyMaker, override: str, key: str, value: object
) -> None:
    assert getattr(read_study(study(), [override]).spec, key) == value


def test_later_overrides_take_precedence(study: StudyMaker) -> None:
    arms = arms_of(study(), "training.epochs=3", "training.epochs=4")
    assert {arm.config.training.epochs for arm in arms.values()} == {4}


def test_a_wrong_override_causes_the_same_message_as_a_wrong_file(study: StudyMaker) -> None:
    path = study()
    with pytest.raises(ConfigError) as refusal:
        arms_of(path, "training.epoch=3")
    assert str(refusal.value).startswith(f"{path}: base.training.epoch: unknown key; did you mean 'epochs'?")
    for broken in ("base=5", "arms=5"):
        with pytest.raises(ConfigError, match=broken[:4]):
            arms_of(path, broken, "training.epochs=3")


def test_differences_show_the_name_of_the_weight_file_and_not_its_folder(tmp_path: Path) -> None:
    import torch

    import ablations
    from aimlib.datasets.base import ImageShape
    from aimlib.models import build
    from analysis.reading.factors import options

    found = ablations.check(write(tmp_path, changed({})), timing=False).plan.arms[0].config
    network = build(found.model, ImageShape(1, 8, 8, 10), seed=0)
    torch.save(network.state_dict(), tmp_path / "mine.pt")
    arms = {"baseline": {}, "tuned": {"role": "treatment", "model": {"weights": str(tmp_path / "mine.pt")}}}
    baseline, tuned = ablations.check(write(tmp_path, changed({"arms": arms})), timing=False).plan.arms
    (difference,) = differences(tuned, baseline)
    assert difference["option"] == "model.weights"
    assert difference["value"]["source"] == "mine.pt"
    assert not [path for path in options(tuned.config.model_dump(mode="json")) if path.endswith("source")]


def test_a_message_lists_values_outside_the_base_that_an_override_replaces(tmp_path: Path) -> None:
    import ablations

    arms = {
        "arms.long": {"training": {"epochs": 4, "batch_size": 10}},
        "arms.short": {"training": {"epochs": 1, "batch_size": 20}},
    }
    path = write(tmp_path, changed(arms))
    found = ablations.check(path, ["training.epochs=1"], timing=False)
    assert "training.epochs=1 also replaces the values of individual arms: arms.long (4)" in found.notes
    assert {arm.config.training.epochs for arm in found.plan.arms} == {1}
    assert not [note for note in ablations.check(path, timing=False).notes if "individual arms" in note]


def test_a_message_states_that_an_override_has_no_effect_on_a_factor(tmp_path: Path) -> None:
    import ablations

    path = write(tmp_path, changed({"factors": {"training.batch_size": [5, 10]}, "vary": "aim"}))
    notes = ablations.check(path, ["training.batch_size=25"], timing=False).notes
    text = "training.batch_size=25 has no effect on the varied arms: factors.training.batch_size sets their values"
    assert text in notes
