"""Studies with their own training code: options, roles and ids of arms, and mistakes that are refused with a remedy."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import restored_registries
from training_code_study import CODE, DOCUMENT, HELPER, training_code_study

import ablations
from aimlib.errors import UsageError


@pytest.fixture(autouse=True)
def own_registries() -> Iterator[None]:
    with restored_registries():
        yield


def check(path: Path, *overrides: str) -> ablations.commands.check_result.Check:
    return ablations.check(path, overrides, timing=False, trust=True)


def ids(path: Path, *overrides: str) -> set[str]:
    return {run.run_id for run in check(path, *overrides).plan.runs}


def test_without_roles_the_arm_called_baseline_or_else_the_first_arm_is_the_baseline(tmp_path: Path) -> None:
    path = training_code_study(tmp_path)
    assert {arm.name: arm.role for arm in check(path).plan.arms} == {"slow": "baseline", "fast": "aim"}
    arms: dict[str, Any] = {"a": {}, "b": {"options": {"rate": 0.1}}, "baseline": {"options": {"rate": 0.2}}}
    path = training_code_study(tmp_path, {"arms": arms})
    assert {arm.name: arm.role for arm in check(path).plan.arms} == {"a": "aim", "b": "other", "baseline": "baseline"}
    arms["b"]["role"] = "treatment"
    path = training_code_study(tmp_path, {"arms": arms})
    assert {arm.name: arm.role for arm in check(path).plan.arms} == {"a": "other", "b": "aim", "baseline": "baseline"}


def test_factors_that_are_options_become_arms_and_columns(tmp_path: Path) -> None:
    changes = {"arms": {"loop": {}}, "vary": "loop", "factors": {"options.rate": [0.5, 0.7], "training.epochs": [1, 2]}}
    plan = check(training_code_study(tmp_path, changes)).plan
    assert sorted((arm.config.options.rate, arm.config.training.epochs) for arm in plan.arms) == [  # type: ignore[attr-defined]
        (0.5, 1),
        (0.5, 2),
        (0.5, 3),
        (0.7, 1),
        (0.7, 2),
    ]


def test_an_option_can_have_the_name_of_a_component(tmp_path: Path) -> None:
    document = copy.deepcopy(DOCUMENT)
    document["base"]["options"] |= {"optimizer": "adam", "memory": {"name": "none", "size": 2}}
    document["arms"]["fast"]["options"] |= {"optimizer": "sgd", "memory": {"size": 3}}
    slow, fast = check(training_code_study(tmp_path, document)).plan.arms
    assert slow.config.options.optimizer == "adam"  # type: ignore[attr-defined]
    assert fast.config.options.optimizer == "sgd"  # type: ignore[attr-defined]
    assert fast.config.options.memory == {"name": "none", "size": 3}  # type: ignore[attr-defined]


def test_an_edited_helper_changes_the_run_ids_and_an_edited_comment_does_not(tmp_path: Path) -> None:
    before = ids(training_code_study(tmp_path))
    assert ids(training_code_study(tmp_path, helper=f"# nearest mean\n{HELPER}")) == before
    assert not ids(training_code_study(tmp_path, helper=HELPER.replace("float", "np.float32"))) & before
    assert not ids(training_code_study(tmp_path, code=CODE.replace("200 *", "201 *"))) & before
    assert ids(training_code_study(tmp_path)) == before


def test_options_are_part_of_the_run_ids(tmp_path: Path) -> None:
    path = training_code_study(tmp_path)
    before = ids(path)
    assert len(ids(path, "base.options.sleep=1.0") & before) == 0
    assert len(ids(path, "arms.fast.options.rate=0.8") & before) == 2


def test_a_function_can_be_in_a_file_that_also_registers_a_placement(tmp_path: Path) -> None:
    plugin = '''
from aimlib.placements import Placement
from aimlib.registry import placements


@placements.register("own_head")
class OwnHead(Placement):
    """Only the last layer reads."""

    def reads(self, layers):
        return [layers[-1].name]
'''
    model = {"backbone": {"name": "small_resnet", "widths": [4, 8, 8]}}
    memory = {"memory": {"name": "conv_ones", "channels": 2, "rows": 2, "columns": 2}, "placement": "own_head"}
    changes = {
        "plugins": ["loop.py"],
        "base": {**DOCUMENT["base"], "model": model},
        "arms": {
            "aim": {"model": memory},
            "plain": {},
            "frozen": {"of": "aim", "control": "frozen_memory"},
        },
    }
    plan = check(training_code_study(tmp_path, changes, code=plugin + CODE)).plan
    assert {arm.name: arm.role for arm in plan.arms} == {"aim": "aim", "plain": "baseline", "frozen": "frozen"}
    assert plan.summaries["aim"].parameters > plan.summaries["plain"].parameters > 0


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no such function": (
        {"train": "loop.py:trian"},
        "train: loop.py: does not define a function 'trian'; did you mean 'train'?",
    ),
    "no such file": ({"train": "lop.py:train"}, "lop.py: cannot be read"),
    "no function": (
        {"train": "loop.py"},
        "must be a function in a file that takes (config, run), such as my_code.py:train",
    ),
    "unregistered": ({"train": "loop"}, "unknown training code 'loop'"),
    "protocol": ({"protocol": "controlled"}, "sets options of the built-in training loop"),
    "kept network": ({"keep": "best"}, "keep: best is for the built-in training loop"),
    "options without code": (
        {"train": None},
        "options: only the study's own training code reads options; set train: my_code.py:train",
    ),
    "option of the loop": (
        {"base": {**DOCUMENT["base"], "training": {"batch_size": 8}}},
        "batch_size: only the built-in training loop reads this; put what your training code reads under `options`",
    ),
    "misspelled option": (
        {"arms": {"slow": {}, "fast": {"options": {"rat": 0.9}}}},
        "arms.fast.options.rat: arm 'slow' does not have this option; did you mean 'rate'? set a default for every "
        "option",
    ),
    "control": (
        {"arms": {"slow": {}, "fast": {"of": "slow", "control": "frozen_memory", "options": {"rate": 0.9}}}},
        "control: a control changes the network under `model`, but this arm has no `model`",
    ),
    "measured shares": (
        {"resources": {"gpus": "auto"}},
        "specify the share of a GPU that a run of your training code needs",
    ),
    "search": (
        {"search": {"vary": "fast", "over": ["options.rate"], "trials": 2, "seeds": [100]}},
        "a study with its own training code cannot have a search; vary the options as factors",
    ),
    "text that cannot be stored": (
        {"base": {**DOCUMENT["base"], "options": {"a b": 1}}},
        "'a b': a name must consist of letters, digits and '_'",
    ),
    "held out": (
        {"base": {**DOCUMENT["base"], "training": {"selection": "best_validation"}}},
        "validation_fraction is 0, but selection 'best_validation' needs validation images",
    ),
    "same arms": ({"arms": {"slow": {}, "fast": {"options": {"rate": 0.5}}}}, "identical to arms.slow"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_reported_with_its_place_and_remedy(mistake: str, tmp_path: Path) -> None:
    changes, message = MISTAKES[mistake]
    with pytest.raises(UsageError) as error:
        check(training_code_study(tmp_path, changes))
    assert message in str(error.value)


def test_the_check_states_what_is_not_guaranteed_and_does_not_report_sizes(tmp_path: Path) -> None:
    found = ablations.check(training_code_study(tmp_path), trust=True)
    assert found.costs == ()
    assert found.untimed == (
        "slow, fast: a study's own training code is not timed; `ablate status` shows its time after the first run",
    )
    said = " ".join(found.notes)
    assert "Nothing ensures that arms share their initial values" in said
    assert "the first run is computed twice, and the two sets of predictions are compared" in said
    assert "–" in next(line for line in str(found).splitlines() if line.startswith("slow"))
    off = check(training_code_study(tmp_path, {"integrity": "off"}))
    assert "no run is computed twice to test this" in " ".join(off.notes)


def test_code_that_is_not_approved_does_not_run(tmp_path: Path) -> None:
    path = training_code_study(tmp_path)
    with pytest.raises(UsageError, match=r"you have not approved the code in loop\.py with centroids\.py"):
        ablations.check(path, timing=False)


def test_the_built_in_loop_requires_images() -> None:
    document = {
        "name": "x",
        "protocol": "controlled",
        "base": {"data": {"name": "labels", "classes": 2}, "model": {"backbone": "mlp"}},
        "arms": {"a": {}},
    }
    with pytest.raises(UsageError, match="data: labels has no images; only your own training code can use it"):
        ablations.check(document, timing=False)
