"""The factors produce as many arms as the design defines, each with a unique and correct name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tiny_study import changed

from ablations.planning import plan as planning
from ablations.planning.arms import expand
from ablations.planning.factors import arm_specs
from ablations.planning.stored_names import with_stored_names
from ablations.spec.designs import DESIGNS, switched_on
from ablations.spec.study import StudyFile, StudySpec, read_study
from aimlib.errors import ConfigError

TINY = """
name: tiny
base:
  data: {name: digits, size: 8, train_images: 100}
  model: {backbone: {name: small_resnet, widths: [4, 8], blocks: [1, 1]}}
  training: {epochs: 30, batch_size: 25, optimizer: {name: adam, learning_rate: 1e-3}, selection: last_epoch,
             validation_fraction: 0.2, early_stopping: {patience: 20}, schedule: {name: plateau, patience: 3}}
arms:
  baseline: {}
  aim: {model: {memory: {name: conv_ones, channels: 4, rows: 4, columns: 4}, placement: block_entry,
                update: conv_sigmoid}}
vary: aim
seeds: 2
"""


def file(tmp_path: Path, rest: str) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(TINY + rest, encoding="utf-8")
    return path


def names(tmp_path: Path, rest: str) -> list[str]:
    return [arm.name for arm in expand(read_study(file(tmp_path, rest)))]


def test_factors_whose_paths_have_the_same_last_key_are_distinguished(tmp_path: Path) -> None:
    rest = "factors: {training.early_stopping.patience: [5, 10], training.schedule.patience: [5, 10]}\n"
    arms = {arm.name: arm for arm in expand(read_study(file(tmp_path, rest + "design: one_at_a_time\n")))}
    assert list(arms) == [
        "baseline",
        "aim",
        "aim[early_stopping.patience=5]",
        "aim[early_stopping.patience=10]",
        "aim[schedule.patience=5]",
        "aim[schedule.patience=10]",
    ]
    assert arms["aim[schedule.patience=5]"].config.training.early_stopping.patience == 20  # type: ignore[union-attr]
    assert len(names(tmp_path, rest)) == 2 + 4


def test_only_factors_with_the_same_last_key_have_longer_names(tmp_path: Path) -> None:
    rest = (
        "factors: {training.early_stopping.patience: [5], training.schedule.patience: [4], training.batch_size: [10]}\n"
    )
    assert names(tmp_path, rest)[2:] == ["aim[early_stopping.patience=5,schedule.patience=4,batch_size=10]"]


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        (
            "{c: {1: {training: {epochs: 2}}, 01: {training: {epochs: 3}}}}",
            r":14:\d+: .*key '01' .* equals '1' on line 14",
        ),
        ("{c: {0.1: {training: {epochs: 2}}, 0.10: {training: {epochs: 3}}}}", "key '0.10' .* equals '0.1' on line 14"),
        ("{c: {1: {training: {epochs: 2}}, 1.0: {training: {epochs: 3}}}}", "key '1.0' .* equals '1' on line 14"),
        (
            "{c: {1: {training: {epochs: 2}}, '1': {training: {epochs: 3}}}}",
            "factors: c.1: given twice, as 1 and as '1'",
        ),
        ("{c: {a: {training: {epochs: 2}}, b: {training: {epochs: 2}}}}", "factors.c: levels .a and .b are equal"),
        ("{c: {a: {}, b: {training: {epochs: 30}}}}", "factors.c: levels a and b result in the same configuration"),
        ("{training.batch_size: [10, 10]}", r"factors.training.batch_size: levels \[0\] \(10\) and \[1\] \(10\)"),
        ("{training.optimizer.learning_rate: [0.1, 0.10]}", r"levels \[0\] \(0.1\) and \[1\] \(0.1\) are equal"),
        ("{model.backbone.widths: [[4, 8], [4, 8]]}", r"levels \[0\] \(4-8\) and \[1\] \(4-8\) are equal"),
        ("{model.update: [none, null]}", r"levels \[0\] \(none\) and \[1\] \(none\) are equal"),
        ("{model.update: [conv_sigmoid, {name: conv_sigmoid}]}", r"levels \[0\] \(conv_sigmoid\) and \[1\]"),
        (
            "{1: {a: {}, b: {training: {epochs: 2}}}, '1': {a: {}, b: {training: {epochs: 3}}}}",
            "factors: 1: given twice",
        ),
    ],
)
def test_a_level_that_would_be_lost_is_refused_and_both_keys_are_named(
    tmp_path: Path, factors: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        names(tmp_path, f"factors: {factors}\n")


def test_a_combination_must_not_have_the_name_of_a_different_arm(tmp_path: Path) -> None:
    text = TINY.replace("arms:\n", "arms:\n  aim[batch_size=10]: {training: {epochs: 21}}\n")
    path = tmp_path / "study.yaml"
    path.write_text(text + "factors: {training.batch_size: [10]}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"arms.aim\[batch_size=10\]: this is also the name of the combination"):
        expand(read_study(path))


def test_two_combinations_must_not_have_the_same_name(tmp_path: Path) -> None:
    changes = {"a": "epochs: 21", "b": "batch_size: 10", "a+b": "label_smoothing: 0.1"}
    factors = [f"{name}: {{no: {{}}, yes: {{training: {{{change}}}}}}}" for name, change in changes.items()]
    rest = f"factors: {{{', '.join(factors)}}}\n"
    with pytest.raises(ConfigError, match=r"two combinations would have the name 'aim\+a\+b'.*rename a factor"):
        names(tmp_path, rest)


@pytest.mark.parametrize(
    ("labels", "on"),
    [
        (("off", "on"), "on"),
        (("on", "off"), "on"),
        (("without", "with"), "with"),
        (("with", "without"), "with"),
        (("True", "False"), "True"),
        (("yes", "no"), "yes"),
        (("mixup", "none"), "mixup"),
        (("none", "mixup"), "mixup"),
        (("flips", "no flips"), "flips"),
        (("no_flips", "flips"), "flips"),
        (("half", "off"), "half"),
        (("2", "1"), "1"),
        (("glorot", "he"), "he"),
        (("norm", "nothing special"), "nothing special"),
        (("on", "half"), None),
        (("off", "none"), None),
        (("yes", "on"), None),
    ],
)
def test_the_label_that_means_on_is_recognized_by_its_meaning(labels: tuple[str, str], on: str | None) -> None:
    assert switched_on(labels) == on


def test_an_arm_is_named_after_its_active_factors(tmp_path: Path) -> None:
    rest = (
        "factors: {augmentation: {on: {}, off: {training: {epochs: 21}}}, "
        "norm: {with: {}, without: {training: {batch_size: 50}}}}\n"
    )
    arms = {arm.name: arm for arm in expand(read_study(file(tmp_path, rest)))}
    assert list(arms) == ["baseline", "aim", "aim+augmentation", "aim+norm", "aim[augmentation=off,norm=without]"]
    for name, arm in arms.items():
        if name.startswith("aim+"):
            assert ("augmentation" in name) == (arm.config.training.epochs == 30)
            assert ("norm" in name) == (arm.config.training.batch_size == 25)
    assert dict(arms["aim+norm"].levels) == {"augmentation": "off", "norm": "with"}


def test_levels_are_written_out_if_no_label_means_on(tmp_path: Path) -> None:
    rest = "factors: {augmentation: {on: {}, half: {training: {epochs: 21}}}}\n"
    assert names(tmp_path, rest)[2:] == ["aim[augmentation=half]"]


labels = st.lists(
    st.sampled_from(["on", "off", "1", "01", "a", "a=1,b", "none", "x+y"]), min_size=1, max_size=3, unique=True
)
factors = st.dictionaries(
    st.sampled_from(["a", "b", "a+b", "c,b"]),
    labels.flatmap(
        lambda chosen: st.lists(st.integers(0, 50), min_size=len(chosen), max_size=len(chosen)).map(
            lambda sizes: dict(zip(chosen, sizes, strict=True))
        )
    ),
    min_size=1,
    max_size=3,
)


@given(factors, st.sampled_from(sorted(set(DESIGNS) - {"ladder", "leave_one_out"})))
def test_a_study_has_as_many_arms_as_its_design_defines_or_is_refused(given: Any, design: str) -> None:
    options = dict(zip(given, ("epochs", "batch_size", "label_smoothing"), strict=False))  # one for each factor
    levels = {
        name: {label: {"training": {options[name]: size}} for label, size in sizes.items()}
        for name, sizes in given.items()
    }
    document = changed({"vary": "aim", "design": design}) | {"factors": levels}
    try:
        spec = StudySpec.parse(document)
        arms = arm_specs(spec)
    except ConfigError:
        return
    wanted = DESIGNS[design]({name: list(levels) for name, levels in spec.factors.items()})
    assert len(arms) == 2 + len(wanted)
    told = {name: tuple((arm.levels or {}).items()) for name, arm in arms.items() if name not in spec.arms}
    assert len(set(told.values())) == len(wanted)


def stored(study: StudyFile, old_names: dict[str, str]) -> tuple[planning.Plan, dict[str, Any]]:
    plan = planning.plan(study)
    document = planning.document(plan)
    for item in (*document["runs"], *document["arms"]):
        key = "arm" if "arm" in item else "name"
        item[key] = old_names.get(item[key], item[key])
    return plan, document


RENAMED = {"aim+augmentation": "aim+norm", "aim+norm": "aim+augmentation"}  # as earlier versions named these arms


def test_runs_that_are_stored_under_an_earlier_name_keep_that_name(tmp_path: Path) -> None:
    rest = (
        "factors: {augmentation: {on: {}, off: {training: {epochs: 21}}}, "
        "norm: {with: {}, without: {training: {batch_size: 50}}}}\n"
    )
    plan, before = stored(read_study(file(tmp_path, rest)), RENAMED)
    kept, notices = with_stored_names(plan, before)
    assert planning.document(kept)["runs"] == before["runs"]
    assert set(kept.summaries) == set(kept.data) == {arm.name for arm in kept.arms}
    assert {arm.name: arm.config for arm in kept.arms}["aim+augmentation"].training.epochs == 21
    assert notices == (
        "arm 'aim+norm' keeps its stored name; it stands for augmentation=on, norm=without, and a new study would "
        "call it "
        "'aim+augmentation'",
        "arm 'aim+augmentation' keeps its stored name; it stands for augmentation=off, norm=with, and a new study "
        "would "
        "call it 'aim+norm'",
    )
    again, notices = with_stored_names(plan, planning.document(kept))
    assert planning.document(again)["runs"] == before["runs"]
    assert len(notices) == 2


def test_a_new_arm_does_not_take_a_stored_name(tmp_path: Path) -> None:
    rest = (
        "factors: {augmentation: {on: {}, off: {training: {epochs: 21}}}, "
        "norm: {with: {}, without: {training: {batch_size: 50}}}}\n"
    )
    plan, before = stored(read_study(file(tmp_path, rest)), {"aim+norm": "aim+augmentation"})
    before["runs"] = [run for run in before["runs"] if run["run_id"] in ids(plan, "aim+norm")]
    kept, _ = with_stored_names(plan, before)
    assert [arm.name for arm in kept.arms][2:] == [
        "aim[augmentation=on,norm=without]",
        "aim+augmentation",
        "aim[augmentation=off,norm=without]",
    ]


def ids(plan: planning.Plan, arm: str) -> set[str]:
    return {run.run_id for run in plan.runs if run.arm == arm}


def test_without_a_stored_plan_or_with_the_same_names_there_is_no_notice(tmp_path: Path) -> None:
    plan, before = stored(read_study(file(tmp_path, "factors: {training.batch_size: [10]}\n")), {})
    assert with_stored_names(plan, None) == (plan, ())
    assert with_stored_names(plan, before) == (plan, ())


def test_an_arm_that_the_study_names_itself_has_that_name(tmp_path: Path) -> None:
    plan, before = stored(read_study(file(tmp_path, "factors: {training.batch_size: [10]}\n")), {"aim": "ours"})
    assert with_stored_names(plan, before) == (plan, ())


def test_every_shipped_study_keeps_the_names_of_its_arms() -> None:
    recorded = yaml.safe_load((Path(__file__).parents[2] / "data" / "arm_names.yaml").read_text(encoding="utf-8"))
    assert {name: list(arm_specs(read_study(name).spec)) for name in recorded} == recorded


# Levels that set the same option


def changes(tmp_path: Path, rest: str) -> dict[str, Any]:
    return {arm.name: arm.config for arm in expand(read_study(file(tmp_path, rest))) if "[" in arm.name}


@pytest.mark.parametrize("none", ["none", "null", "{name: none}"])
def test_an_option_of_a_part_that_a_level_removes_has_no_effect(tmp_path: Path, none: str) -> None:
    rest = f"factors: {{training.schedule: [{none}, cosine], training.schedule.warmup_epochs: [1, 2]}}\n"
    found = changes(tmp_path, rest)
    assert [
        (name, config.training.schedule and config.training.schedule.warmup_epochs) for name, config in found.items()
    ] == [
        ("aim[schedule=none,warmup_epochs=1]", None),
        ("aim[schedule=cosine,warmup_epochs=1]", 1),
        ("aim[schedule=cosine,warmup_epochs=2]", 2),
    ]


OFF = "mem: {on: {}, off: {model: {memory: none, placement: none, update: none}}}"
SIZES = "ch: {'2': {model: {memory: {channels: 2}}}, '3': {model: {memory: {channels: 3}}}}"


@pytest.mark.parametrize("factors", [f"{OFF}, {SIZES}", f"{SIZES}, {OFF}", f"{OFF}, model.memory.channels: [2, 3]"])
def test_an_arm_at_a_level_without_memory_has_no_memory(tmp_path: Path, factors: str) -> None:
    arms = expand(read_study(file(tmp_path, f"factors: {{{factors}}}\n")))
    assert [arm.config.model.memory and arm.config.model.memory.channels for arm in arms] == [None, 4, 2, 3]  # type: ignore[attr-defined]
    assert {arm.levels["mem"] for arm in arms[2:]} == {"on"}
    assert {level["mem"] for level in (arms[0].levels, *arms[0].also)} == {"off"}


@pytest.mark.parametrize("order", [1, -1])
def test_a_level_that_names_a_component_keeps_the_options_set_by_other_factors(tmp_path: Path, order: int) -> None:
    factors = [
        "stem: {'2': {model: {backbone: {stem_stride: 2}}}, '1': {model: {backbone: {stem_stride: 1}}}}",
        "net: {own: {}, wide: {model: {backbone: {name: small_resnet, widths: [8, 8], blocks: [1, 1]}}}}",
    ][::order]
    arms = expand(read_study(file(tmp_path, f"factors: {{{', '.join(factors)}}}\n")))
    found = {(arm.config.model.backbone.widths, arm.config.model.backbone.stem_stride) for arm in arms[1:]}  # type: ignore[union-attr, attr-defined]
    assert found == {((width, 8), stride) for width in (4, 8) for stride in (1, 2)}


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        (
            "training.early_stopping: [{patience: 3}, {patience: 4, min_delta: 0.1}], "
            "training.early_stopping.patience: [3, 5]",
            r"factors.training.early_stopping: level patience=3 sets training.early_stopping.patience to 3, and level "
            r"5 of factors.training.early_stopping.patience sets it differently",
        ),
        (
            "training.optimizer: [sgd, {name: adam, learning_rate: 0.5}], training.optimizer.learning_rate: [0.1]",
            r"level adam/learning_rate=0.5 sets training.optimizer.learning_rate to 0.5, and level 0.1 of",
        ),
        (
            "a: {x: {training: {epochs: 21}}, y: {training: {epochs: 22, batch_size: 10}}}, training.epochs: [21, 23]",
            r"factors.a: level x sets training.epochs to 21, and level 23 of factors.training.epochs",
        ),
        (
            "a: {x: {training: {epochs: 21}}, y: {training: {epochs: 22}}}, b: {x: {}, y: {training: {epochs: 23}}}",
            r"factors.a: level x sets training.epochs to 21, and level y of factors.b sets it differently",
        ),
        (
            "mem: {dense: {model: {memory: dense_ones}}, own: {}}, model.memory: [conv_ones, parameter]",
            r"factors.mem: level dense sets model.memory to dense_ones, and level conv_ones of factors.model.memory",
        ),
    ],
)
def test_two_levels_that_set_one_option_differently_are_refused_and_both_places_are_named(
    tmp_path: Path, factors: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=r"study.yaml: .*" + message + r".* design: one_at_a_time"):
        names(tmp_path, f"factors: {{{factors}}}\n")
    assert len(names(tmp_path, f"factors: {{{factors}}}\ndesign: one_at_a_time\n")) > 3


# Names that look the same, and names that cannot be printed


@pytest.mark.parametrize(
    ("one", "other"),
    [("a", "a "), ("a b", "a  b"), ("\u00e9", "e\u0301"), ("\ufb01", "fi"), ("a", "\uff41"), ("a b", "a\u00a0b")],
)
def test_levels_and_arms_that_look_the_same_are_refused_and_both_are_named(
    tmp_path: Path, one: str, other: str
) -> None:
    factor = {"c": {one: {"training": {"epochs": 2}}, other: {"training": {"epochs": 3}}}}
    both = re.escape(f"{one!a} and as {other!a}, which look the same; rename one")
    with pytest.raises(ConfigError, match=rf"factors: c.*given twice, as {both}"):
        StudySpec.parse(changed({"factors": factor, "vary": "aim"}))
    arms = changed({})["arms"] | {one: {"training": {"epochs": 2}}, other: {"training": {"epochs": 3}}}
    with pytest.raises(ConfigError, match=re.escape(f"{one!a} and {other!a} look the same; rename one of the arms")):
        StudySpec.parse(changed({"arms": arms}))


@pytest.mark.parametrize("label", ["a\tb", "a\nb", "\u202eabc", "a\u200b", "", " ", "z" * 101])
def test_a_label_that_cannot_be_part_of_a_name_is_refused(label: str) -> None:
    factor = {"c": {label: {"training": {"epochs": 2}}, "x": {"training": {"epochs": 3}}}}
    with pytest.raises(
        ConfigError, match=r"factors.c: level '.*(unprintable characters; remove them|1 to 100 characters)"
    ):
        StudySpec.parse(changed({"factors": factor, "vary": "aim"}))
