"""Protocols under a study's base, and the protocol that a study's arms follow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_study import REMOVED

from ablations.planning.arms import Arm, expand
from ablations.planning.protocol import protocol
from ablations.spec import yaml_documents
from ablations.spec.study import read_study
from aimlib.errors import ConfigError
from aimlib.training.protocols import PROTOCOLS

StudyMaker = Callable[..., Path]
IDS = {
    "as_run": ["fdf21a40b378de5433d7", "788918505ecaa9da889b"],
    "as_described": ["217ea67f5d40d291acaa", "984bb53bb4ed0f3763d0"],
}
"""Ids of the runs with seed 0 from before `as_run_exact` existed. They must not change, because the protocol of a
stored study is resolved again whenever the study is read."""


def arms_of(source: str | Path, *overrides: str) -> tuple[Arm, ...]:
    return tuple(expand(read_study(source, overrides)))


def test_the_base_overrides_its_protocol(study: StudyMaker) -> None:
    training = {"epochs": 3, "schedule": {"warmup_epochs": 1}}
    arm = arms_of(study({"protocol": "controlled", "base.training": training}))[0].config
    expected = PROTOCOLS["controlled"].common["training"]
    assert arm.training.epochs == 3
    assert arm.training.batch_size == expected["batch_size"]
    assert arm.training.optimizer.name == "adamw"
    assert arm.training.schedule is not None
    assert (arm.training.schedule.name, arm.training.schedule.warmup_epochs) == ("cosine", 1)


def test_a_component_with_a_different_name_replaces_that_of_the_protocol(study: StudyMaker) -> None:
    training = {"optimizer": {"name": "sgd", "learning_rate": 0.1}}
    arm = arms_of(study({"protocol": "controlled", "base.training": training}))[0].config
    assert arm.training.optimizer.model_dump(exclude_defaults=True) == {"name": "sgd"}


def test_photo_options_apply_only_to_photos(study: StudyMaker) -> None:
    digits = arms_of(study({"protocol": "as_run", "base.training": {"epochs": 9}, "base.data": {"name": "digits"}}))[0]
    assert digits.config.data.name == "digits"
    photos = {"base.data": {"name": "stanford_dogs", "size": 64}, "base.training": {}, "protocol": "as_run"}
    dogs = arms_of(study(photos))[0].config.data
    assert (dogs.size, dogs.antialias, dogs.resize) == (64, False, "squash")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_can_be_the_base_of_a_study(study: StudyMaker, name: str) -> None:
    changes: dict[str, Any] = {"protocol": name, "base.training": {}, "base.data": {"name": "digits", "size": 16}}
    assert len(arms_of(study(changes))) == 2


def test_an_unknown_protocol_is_refused_and_the_nearest_name_is_suggested(study: StudyMaker) -> None:
    with pytest.raises(ConfigError, match=r"protocol: unknown protocol 'as_ran'; did you mean 'as_run'\?"):
        read_study(study({"protocol": "as_ran"}))


def test_a_study_without_a_protocol_specifies_all_training_options(study: StudyMaker) -> None:
    with pytest.raises(ConfigError, match=r"training.*epochs: missing"):
        arms_of(study({"base.training.epochs": REMOVED}))


def test_the_shipped_replication_has_the_two_arms_of_as_run_exact() -> None:
    baseline, aim = arms_of("replication")
    sides = PROTOCOLS["as_run_exact"]
    for arm, side in ((baseline, sides.baseline), (aim, sides.aim)):
        said = yaml_documents.merge(sides.common, side)
        dumped = arm.config.model_dump(mode="json")
        assert yaml_documents.merge(dumped, said) == dumped
    assert protocol((baseline, aim)) == "as_run_exact"


def test_the_shipped_replication_has_its_old_run_ids_if_it_uses_the_old_protocol() -> None:
    found = arms_of("replication", "protocol=as_run")
    assert protocol(found) == "as_run"
    assert {arm.run(0).run_id("data") for arm in found} == set(IDS["as_run"])


@pytest.mark.parametrize(
    "override",
    [
        "training.epochs=49",
        "training.label_smoothing=0.1",
        "training.select_on=validation",
        "data.decoder=accurate",
        "data.pixels=whole",
        "model.backbone.stem_stride=2",
        "model.backbone.widths=[8, 16, 32, 64]",
        "model.routing=current",
        "arms.aim.model.memory.channels=512",
    ],
)
def test_a_recipe_that_differs_from_that_of_the_author_is_custom(override: str) -> None:
    assert protocol(arms_of("replication", override)) == "custom"


@pytest.mark.parametrize("name", ["as_run", "as_run_exact", "as_described"])
def test_the_pair_of_a_protocol_is_recognized_and_keeps_its_run_ids(tmp_path: Path, name: str) -> None:
    sides = PROTOCOLS[name]
    path = tmp_path / "pair.yaml"
    base = {"data": {"name": "stanford_dogs"}, "model": {"backbone": "resnet50_keras"}}
    arms = {"baseline": dict(sides.baseline), "aim": dict(sides.aim)}
    path.write_text(yaml.safe_dump({"name": "pair", "protocol": name, "base": base, "arms": arms}))
    found = arms_of(path)
    assert protocol(found) == name
    ids = [arm.run(0).run_id("data") for arm in found]
    assert ids == IDS.get(name, ids)
    assert name in IDS or not {*ids}.intersection(*IDS.values())


def test_the_exact_protocol_differs_from_as_run_only_in_pixels_and_order() -> None:
    run, exact = PROTOCOLS["as_run"], PROTOCOLS["as_run_exact"]
    assert exact.common["data"] == {**run.common["data"], "decoder": "fast", "pixels": "fine"}
    assert exact.common["training"] == {**run.common["training"], "order": "tfds"}
    assert (exact.baseline, exact.aim) == (run.baseline, run.aim)


def test_an_arm_whose_learning_rate_follows_the_test_accuracy_is_not_controlled(study: StudyMaker) -> None:
    options = {"schedule": "plateau", "monitor": "test", "selection": "last_epoch"}
    watched = {f"base.training.{key}": value for key, value in options.items()}
    assert protocol(arms_of(study(watched))) == "custom"
    assert protocol(arms_of(study({**watched, "base.training.monitor": "validation"}))) == "controlled"


def test_memory_options_contain_only_memory(study: StudyMaker) -> None:
    assert protocol(arms_of(study({"arms.aim.model.carry": {}}))) == "controlled"
    assert protocol(arms_of(study({"arms.aim.model.conv_init": "glorot_uniform"}))) == "custom"


@pytest.mark.parametrize(
    ("select_on", "selection", "monitor", "fraction"),
    [("test", "best_test", "test", 0.0), ("validation", "best_validation", "validation", 0.1)],
)
def test_select_on_sets_one_option(select_on: str, selection: str, monitor: str, fraction: float) -> None:
    training = arms_of("replication", f"training.select_on={select_on}")[0].config.training
    assert training.selection.name == selection
    assert (training.monitor, training.validation_fraction) == (monitor, fraction)


def test_select_on_accepts_last_and_refuses_unknown_values() -> None:
    assert arms_of("controlled_small", "training.select_on=last")[0].config.training.selection.name == "last_epoch"
    assert arms_of("controlled_small", "training.select_on=test")[0].config.training.monitor == "validation"
    with pytest.raises(ConfigError, match="select_on: must be 'test', 'validation' or 'last'; got 'best'"):
        arms_of("controlled_small", "training.select_on=best")
