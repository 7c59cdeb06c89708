"""The key reference agrees with the classes that read a study, and contains a meaning for every key."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_study import TINY, changed

import ablations
from ablations.planning.plan import plan
from ablations.spec.keys.field_docstrings import field_docstrings
from ablations.spec.keys.records import OWN_CODE, Key, records
from ablations.spec.keys.words import words
from ablations.spec.study import StudySpec, read_study
from aimlib.config import EarlyStoppingConfig, ModelConfig, TrainingConfig
from aimlib.errors import UsageError
from aimlib.registry import DISTRIBUTION, FAMILIES
from analysis.wording import number_format

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "study-keys.md"


@pytest.fixture(scope="module")
def every() -> tuple[Key, ...]:
    return tuple(records())


def one(keys: tuple[Key, ...], address: str) -> Key:
    (found,) = [key for key in keys if key.address == address and key.section != OWN_CODE]
    return found


def shipped(keys: tuple[Key, ...]) -> list[Key]:
    """Return the keys, without those of components that other tests register in this process."""
    own = {
        (info.family, info.name)
        for family in FAMILIES
        for info in family.plugins()
        if DISTRIBUTION not in info.distribution
    }
    names = {name for _, name in own}
    return [key for key in keys if key.component not in names]


def test_every_key_has_a_meaning_and_every_option_a_type(every: tuple[Key, ...]) -> None:
    assert [key.address for key in shipped(every) if not key.meaning] == []
    assert [key.address for key in every if not key.type] == []
    assert len(every) > 500


def test_a_key_has_the_type_default_and_meaning_of_its_field(every: tuple[Key, ...]) -> None:
    found = one(every, "training.validation_fraction")
    assert (found.type, found.default, found.in_run_id) == ("share from 0 to below 1", "0.1", True)
    assert "even last_epoch" in found.meaning
    assert one(every, "training.epochs").default == "required"
    assert one(every, "training.monitor").type == "one of: validation, test"
    assert one(every, "training.batch_size").type == "integer of at least 1"
    assert one(every, "resources.gpus").type == "number of at least 0, or auto"
    assert one(every, "training.optimizer").type.startswith("an optimizer: adadelta, adagrad, adam, ")
    assert one(every, "model.update").type.endswith(", or none")
    assert one(every, "training.early_stopping.patience").meaning.startswith(
        "Number of consecutive epochs without a gain"
    )


def test_a_component_has_its_source_and_precedes_its_options(every: tuple[Key, ...]) -> None:
    addresses = [key.address for key in every]
    at = addresses.index("training.schedule.cosine")
    assert "SGDR" in every[at].source
    assert addresses[at + 1 : at + 3] == [
        "training.schedule.cosine.warmup_epochs",
        "training.schedule.cosine.final_fraction",
    ]
    assert every[at + 1].path == "training.schedule.warmup_epochs"


def test_every_field_and_every_component_is_listed(every: tuple[Key, ...]) -> None:
    paths = {key.path for key in every}
    assert set(StudySpec.model_fields) <= paths
    assert {f"training.{name}" for name in TrainingConfig.model_fields} <= paths
    assert {f"model.{name}" for name in ModelConfig.model_fields} - {"model.control"} <= paths
    assert {"training.select_on", "model.memory.floats", "arms.NAME.control", "data.columns.group"} <= paths
    listed = {key.component for key in every if key.is_component}
    assert {name for family in FAMILIES if family.family != "trainers" for name in family.names()} <= listed


def test_null_is_listed_for_options_that_give_it_a_meaning(every: tuple[Key, ...]) -> None:
    says = [key for key in shipped(every) if key.component and "null" in key.type and key.default not in ("null", "")]
    assert {key.path for key in says} == {"training.loss.alpha", "data.columns.split", "data.columns.group"}
    for key in says:
        *_, parent, name = key.path.split(".")
        document = {"name": key.component, name: None} if parent in ("loss", "data") else {parent: {name: None}}
        assert f"{name}=none" in number_format.option(document)


def test_exactly_the_keys_marked_as_part_of_the_run_id_change_it(tmp_path: Path, every: tuple[Key, ...]) -> None:
    def ids(document: dict[str, object]) -> set[str]:
        return {run.run_id for run in plan(read_study(document)).runs}

    own = ids(TINY)
    changes = {
        "delta_pp": 2.0,
        "description": "more",
        "integrity": "off",
        "keep": "best",
        "keep_scores": "float16",
        "looks": [6, 9],
        "resources.max_retries": 1,
        "training.data_on": "host",
        "training.tf32": True,
        "training.drop_last": True,
        "model.conv_init": "glorot_uniform",
    }
    for path, value in changes.items():
        place = f"base.{path}" if path.split(".")[0] in ("model", "training") else path
        assert (ids(changed({place: value})) != own) == one(every, path).in_run_id, path


def test_a_redeclared_field_keeps_the_text_from_its_base_class() -> None:
    class Base:
        pass

    assert field_docstrings(EarlyStoppingConfig)["min_delta"].startswith("Gain in the monitored accuracy")
    assert field_docstrings(Base) == {}
    adam = next(f for f in FAMILIES if f.family == "optimizers").get("adamw").Config
    assert field_docstrings(adam)["learning_rate"].startswith("The learning rate")


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "number", "minimum": 0, "maximum": 1}, "share from 0 to 1"),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, "share above 0, at most 1"),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, "share above 0 and below 1"),
        ({"type": "number", "minimum": 0, "maximum": 255}, "number from 0 to 255"),
        ({"type": "integer", "minimum": 0, "maximum": 1}, "integer from 0 to 1"),
        ({"type": "number"}, "number"),
        ({"type": "integer", "maximum": 3}, "integer of at most 3"),
        (
            {"type": "array", "items": {"type": "integer", "minimum": 4}, "minItems": 4, "maxItems": 4},
            "list of 4 integers of at least 4",
        ),
        ({"type": "array"}, "list of values"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "text, or null"),
        ({}, "any value"),
    ],
)
def test_schemas_are_described_in_words(schema: dict[str, object], expected: str) -> None:
    assert words(schema).replace("any values", "values") == expected


@pytest.mark.parametrize(
    ("prefix", "first"),
    [
        ("training", "training.epochs"),
        ("model.memory", "model.memory"),
        ("training.schedule.cosine", "training.schedule.cosine"),
        ("training.schedule.final_fraction", "training.schedule.cosine.final_fraction"),
        ("base.training.early_stopping", "training.early_stopping"),
        ("arms.mine.training.early_stopping", "training.early_stopping"),
        ("arms.mine.of", "arms.NAME.of"),
        ("arms.mine.training", "arms.NAME.training"),
    ],
)
def test_keys_below_a_prefix_are_listed(prefix: str, first: str) -> None:
    assert ablations.keys(prefix)[0].address == first


@pytest.mark.parametrize(
    ("prefix", "said"),
    [
        ("training.epoch", "there is no key 'training.epoch'; nearest: training.epochs"),
        ("lr", "use training.optimizer.learning_rate"),
        ("cosine", "keys of that name: training.schedule.cosine"),
        ("patience", "keys of that name: search.pruner.patience, training.early_stopping.patience"),
        ("xyzzy", "`ablate keys` without a prefix lists all keys"),
    ],
)
def test_an_unknown_prefix_is_refused_with_the_nearest_keys(prefix: str, said: str) -> None:
    with pytest.raises(UsageError, match="keys: there is no key") as error:
        ablations.keys(prefix)
    assert said in str(error.value)


def test_the_page_of_keys_matches_the_code() -> None:
    # This needs a separate process, because other tests register components.
    code = "from ablations.commands.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "keys", "--format", "markdown"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == PAGE.read_text(encoding="utf-8"), "run: ablate keys --format markdown > docs/study-keys.md"
