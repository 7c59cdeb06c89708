"""The JSON Schema of a study accepts every shipped study and refuses frequent mistakes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tiny_study import REMOVED, TINY, changed

from ablations.spec import yaml_documents
from ablations.spec.keys.study_schema import study_schema
from ablations.spec.study import read_study

ROOT = Path(__file__).parents[3]
STUDIES = [path for path in sorted((ROOT / "ablations" / "studies").rglob("*.yaml")) if path.name != "claim.yaml"]
EXAMPLES = [*(ROOT / "examples" / "training_code").glob("*.yaml"), ROOT / "examples" / "own_code" / "study.yaml"]


@cache
def validator() -> Draft202012Validator:
    schema = study_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def is_valid(document: dict[str, Any]) -> bool:
    return bool(validator().is_valid(document))


@pytest.mark.parametrize("path", [*STUDIES, *EXAMPLES], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_shipped_studies_and_templates_are_valid(path: Path) -> None:
    problems = [
        f"{list(error.absolute_path)}: {error.message}" for error in validator().iter_errors(yaml_documents.read(path))
    ]
    assert problems == []


GOOD: dict[str, dict[str, Any]] = {
    "no change": {},
    "a component by its name": {"base.training.optimizer": "sgd"},
    "options without the name": {"arms.aim.model.memory": {"channels": 8}},
    "none": {"arms.aim.model.update": "none", "base.training.schedule": None},
    "a memory with a given number of values": {"arms.aim.model.memory": {"name": "conv_ones", "floats": 16}},
    "select_on": {"base.training.select_on": "validation"},
    "one freeze": {"base.training.fine_tuning": {"freeze": {"layers": "conv1"}}},
    "weights as text": {"base.model.weights": "start.pt"},
    "a control with options": {
        "arms.same": {"of": "aim", "control": {"name": "matched_parameters", "tolerance": 0.01}}
    },
    "a role": {"arms.aim.role": "treatment"},
    "a measure": {"measure": {"scalar": "perplexity", "better": "lower"}, "delta": 0.1},
    "looks": {"looks": "any", "seeds": [1, 2, 3]},
    "resources": {"resources": {"gpus": "auto", "memory": "4GiB", "custom": {"tpu": 1}}},
    "a factor by its path": {
        "vary": "aim",
        "factors": {"model.memory.channels": [4, 8], "model.memory.name": ["noise"]},
    },
    "a factor by its name": {"vary": "aim", "factors": {"m": {"off": {}, "on": {"model": {"memory": "noise"}}}}},
    "an additional component from the user's own code": {
        "plugins": ["a.py"],
        "base.model.backbone": {"name": "my_net", "depth": 3},
    },
    "the bare name of a component from the user's own code": {"plugins": "a.py", "arms.aim.model.update": "my_update"},
    "a factor in the user's own code": {"plugins": "a.py", "vary": "aim", "factors": {"model.update.strength": [1, 2]}},
    "the user's own training code": {"train": "a.py:train", "base.options": {"depth": 3}, "base.model": REMOVED},
    "a search": {"search": {"vary": "aim", "trials": 3, "sampler": "random", "pruner": {"name": "median", "rungs": 3}}},
}
BAD: dict[str, dict[str, Any]] = {
    "a misspelled study key": {"seed": 3},
    "a misspelled training key": {"base.training.epoch": 3},
    "a misspelled arm key": {"arms.aim.modle": {}},
    "a key in the wrong place": {"base.epochs": 3},
    "a misspelled component": {"base.model.backbone": "small_resnett"},
    "a misspelled component with options": {"base.training.optimizer": {"name": "admw", "learning_rate": 0.1}},
    "a misspelled option": {"base.training.optimizer": {"name": "adam", "learningrate": 0.1}},
    "an option of a different component": {"base.training.optimizer": {"name": "sgd", "beta1": 0.1}},
    "text instead of a number": {"base.training.epochs": "ten"},
    "a fraction instead of an integer": {"base.training.batch_size": 2.5},
    "a number out of range": {"base.training.validation_fraction": 1.5},
    "a word that is not one of the choices": {"base.training.monitor": "train"},
    "a control in the model": {"arms.aim.model.control": "frozen_memory"},
    "a protocol that does not exist": {"protocol": "control"},
    "a factor with a misspelled path": {"vary": "aim", "factors": {"model.memory.chanels": [4, 8]}},
    "a factor with a level of a different type": {"vary": "aim", "factors": {"training.epochs": [1, "two"]}},
    "a missing base": {"base": REMOVED},
    "an option of a known component next to the user's own code": {
        "plugins": "a.py",
        "base.training.optimizer": {"name": "adam", "learningrate": 0.1},
    },
}


@pytest.mark.parametrize("name", GOOD)
def test_permitted_notations_are_valid(name: str) -> None:
    assert is_valid(changed(GOOD[name]))


@pytest.mark.parametrize("name", BAD)
def test_a_frequent_mistake_is_invalid(name: str) -> None:
    assert not is_valid(changed(BAD[name]))


def test_valid_studies_can_be_loaded() -> None:
    for name in ("a component by its name", "looks", "a role", "a factor by its path", "a search", "resources"):
        assert read_study(changed(GOOD[name])).spec.name == TINY["name"]


def test_the_schema_contains_the_meaning_of_every_key_without_markup() -> None:
    schema = study_schema()
    text = str(schema)
    assert "x-family" not in text
    assert "x-run" not in text
    assert "x-names" not in text
    training = schema["$defs"]["TrainingConfig"]["properties"]
    assert [name for name, key in training.items() if not key.get("description")] == []
    assert schema["$defs"]["schedules.cosine"]["properties"]["warmup_epochs"]["description"]
