"""Configurations are strict and complete, and a round trip through JSON does not change them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError
from tiny_runs import AIM, document, run_config

from aimlib.config import RunConfig
from aimlib.errors import ConfigError
from aimlib.registry import memories

FULL: dict[str, Any] = {
    "model": {
        **AIM,
        "update_after": "block",
        "read_init": "own",
        "conv_init": "glorot_uniform",
        "control": "frozen_memory",
    },
    "training__schedule": {"name": "cosine", "warmup_epochs": 1.5},
    "training__early_stopping": {"patience": 2, "min_delta": 0.01},
    "training__augmentation": {"rotation": 0.1, "contrast": 0.2, "passes": 2},
    "training__selection": "best_validation",
    "training__precision": "bfloat16",
}


def problems(**changes: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        run_config(**changes)
    return caught.value.problems


@pytest.mark.parametrize("changes", [{}, FULL], ids=["short", "full"])
def test_a_configuration_survives_a_round_trip_through_json(changes: dict[str, Any]) -> None:
    config = run_config(**changes)
    text = json.dumps(config.model_dump(mode="json"))
    again = RunConfig.parse(json.loads(text))
    assert again == config
    assert again.run_id("d") == config.run_id("d")
    assert json.loads(config.model_dump_json()) == json.loads(text)
    assert json.loads(text)["model"]["backbone"]["widths"] == [4, 4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sed": 1}, "sed: unknown key; did you mean 'seed'? known keys: data, model, seed, training"),
        ({"training__epoch": 1}, "training.epoch: unknown key; did you mean 'epochs'? "),
        (
            {"training__augmentation": {"rotatoin": 0.1}},
            "training.augmentation.rotatoin: unknown key; did you mean 'rotation'? ",
        ),
        (
            {"model__backbone": {"name": "small_resnet", "width": [4]}},
            "model.backbone.width: unknown key; did you mean 'widths'? ",
        ),
        (
            {"training__optimizer": {"name": "sgd", "momentun": 0.5}},
            "training.optimizer.momentun: unknown key; did you mean 'momentum'? ",
        ),
        (
            {"training__selection": {"name": "last_epoch", "x": 1}},
            "training.selection.x: unknown key; known keys: none: it takes no options",
        ),
        (
            {"model__backbone": "smal_resnet"},
            "model.backbone.name: unknown backbone 'smal_resnet'; did you mean 'small_resnet'? known: ",
        ),
        (
            {"model__backbone": {"widths": [4]}},
            "model.backbone.name: missing: set it to the name of the backbone, one of ",
        ),
    ],
)
def test_mistakes_are_reported_with_their_path_and_the_nearest_name(changes: dict[str, Any], message: str) -> None:
    found = problems(**changes)
    assert len(found) == 1
    assert found[0].startswith(message)


def test_all_mistakes_are_reported_at_once() -> None:
    found = problems(
        sed=1, training__epochs="3", training__optimizer={"name": "adam", "beta1": 2.0}, model__backbone="x"
    )
    assert [problem.partition(":")[0] for problem in found] == [
        "model.backbone.name",
        "training.epochs",
        "training.optimizer.beta1",
        "sed",
    ]


def test_a_missing_key_is_reported() -> None:
    wanting = document()
    del wanting["training"]["epochs"]
    with pytest.raises(ConfigError, match=r"^training\.epochs: missing; this key has no default, so set a value$"):
        RunConfig.parse(wanting)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("training__epochs", "3", "training.epochs: must be a valid integer; got '3' (text)"),
        ("training__epochs", True, "training.epochs: must be a valid integer; got True (true/false)"),
        ("training__epochs", 3.0, "training.epochs: must be a valid integer; got 3.0 (number)"),
        ("training__epochs", 0, "training.epochs: must be greater than or equal to 1; got 0 (integer)"),
        ("training__shuffle", 1, "training.shuffle: must be a valid boolean; got 1 (integer)"),
        ("training__shuffle", "yes", "training.shuffle: must be a valid boolean; got 'yes' (text)"),
        ("training__label_smoothing", "0.1", "training.label_smoothing: must be a valid number; got '0.1' (text)"),
        ("training__label_smoothing", True, "training.label_smoothing: must be a valid number; got True (true/false)"),
        ("training__label_smoothing", float("nan"), "training.label_smoothing: "),
        ("training__label_smoothing", 1.0, "training.label_smoothing: must be less than 1; got 1.0 (number)"),
        (
            "training__validation_fraction",
            20,
            "training.validation_fraction: must be less than 1; got 20 (integer); if 20 % is meant, write 0.2",
        ),
        ("training__precision", "float16", "training.precision: must be 'float32' or 'bfloat16'; got 'float16' (text)"),
        ("seed", -1, "seed: must be greater than or equal to 0; got -1 (integer)"),
        ("seed", 2**31, "seed: must be less than 2147483648; "),
        ("seed", None, "seed: must be a valid integer; got None (nothing)"),
        (
            "training__optimizer",
            {"name": "sgd", "learning_rate": "0.1"},
            "training.optimizer.learning_rate: must be a valid number",
        ),
        ("training__optimizer", {"name": "sgd", "nesterov": 1}, "training.optimizer.nesterov: must be a valid boolean"),
        (
            "model__backbone",
            {"name": "small_resnet", "widths": [4, "5"], "blocks": [1, 1]},
            "model.backbone.widths.1: must be a valid integer; got '5' (text)",
        ),
        (
            "model__backbone",
            {"name": "small_resnet", "widths": "45", "blocks": [1, 1]},
            "model.backbone.widths: must be a list; got '45' (text)",
        ),
        (
            "model__backbone",
            {"name": "small_resnet", "widths": [4, 4], "blocks": [1]},
            "model.backbone.widths has 2 stages and blocks has 1",
        ),
    ],
)
def test_values_are_never_converted_silently(path: str, value: Any, message: str) -> None:
    found = problems(**{path: value})
    assert len(found) == 1
    assert found[0].startswith(message)


def test_an_integer_is_accepted_as_a_float() -> None:
    config = run_config(training__validation_fraction=0)
    assert config.training.validation_fraction == 0.0
    assert isinstance(config.training.validation_fraction, float)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model__placement": "every_layer"},
            "model: placement: no effect, because this model has no memory; set memory: ",
        ),
        ({"model__update": "conv_sigmoid", "model__read_init": "own"}, "model: update, read_init: no effect"),
        ({"model__update_after": "block"}, "model: update_after: no effect"),
        ({"model__control": "frozen_memory"}, "model: control: no effect"),
        ({"model__memory": "conv_ones"}, "model: no layer reads the memory; set placement: "),
        (
            {"model__memory": "conv_ones", "model__placement": "every_layer", "model__update_after": "block"},
            "model: update_after has no effect: set update: attention",
        ),
        (
            {"training__selection": "best_validation"},
            "training: validation_fraction is 0, but selection 'best_validation' needs",
        ),
        (
            {"training__schedule": "plateau"},
            "training: validation_fraction is 0, but schedule 'plateau' needs validation images",
        ),
        ({"training__early_stopping": {"patience": 1}}, "training: validation_fraction is 0, but early_stopping needs"),
        ({"training__optimizer": {"name": "sgd", "nesterov": True, "momentum": 0.0}}, "training.optimizer.nesterov"),
    ],
)
def test_options_without_effect_are_refused(changes: dict[str, Any], message: str) -> None:
    found = problems(training__validation_fraction=0.0, **changes)
    assert len(found) == 1
    assert found[0].startswith(message)


def test_validation_fraction_may_be_zero_if_no_option_needs_validation() -> None:
    config = run_config(training__validation_fraction=0.0, training__schedule="cosine", training__selection="best_test")
    assert config.training.validation_fraction == 0


@pytest.mark.parametrize("value", [None, "none", {"name": "none"}])
def test_none_means_that_there_is_no_component(value: Any) -> None:
    assert run_config(model__memory=value, training__schedule=value) == run_config()


def test_a_required_component_cannot_be_none() -> None:
    assert problems(model__backbone="none")[0].startswith("model.backbone.name: unknown backbone 'none'")
    assert problems(training__optimizer=None)[0].startswith("training.optimizer.name: missing")


def test_a_component_from_a_different_family_is_refused() -> None:
    assert "adam" in problems(model__backbone="adam")[0]
    other = run_config().training.optimizer
    assert problems(model__backbone=other)[0].startswith("model.backbone")


def test_configurations_are_frozen() -> None:
    config = run_config(**FULL)
    for target, name in ((config, "seed"), (config.training, "epochs"), (config.model.memory, "rows")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(target, name, 1)
    with pytest.raises(ValidationError, match="frozen"):
        config.training.optimizer.learning_rate = 1.0
    assert isinstance(config.model.backbone.widths, tuple)
    assert hash(config) == hash(run_config(**FULL))


def test_placement_none_gives_the_baseline() -> None:
    """Therefore, a factor that varies the placement can include `none`, although the varied arm has a memory."""
    baseline = run_config(model={"backbone": "mlp"})
    options = {"memory": "conv_ones", "update": "conv_sigmoid", "update_after": "block", "carry": {}}
    for none in ("none", {"name": "none"}):
        assert run_config(model={"backbone": "mlp", "placement": none, **options}) == baseline
    with pytest.raises(ConfigError, match="no layer reads the memory; set placement"):
        run_config(model={"backbone": "mlp", "memory": "conv_ones"})


def test_a_size_in_floats_equals_the_size_in_channels() -> None:
    channels, floats = (
        run_config(model={"backbone": "mlp", "placement": "every_layer", "memory": {"name": "conv_ones", **size}})
        for size in ({"channels": 8, "rows": 2, "columns": 3}, {"floats": 48, "rows": 2, "columns": 3})
    )
    assert channels == floats
    assert memories.parse({"name": "conv_ones", "floats": 50_176}) == memories.parse("conv_ones")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"floats": 50_000},
            r"floats: 50000 values do not fill whole channels of 7 x 7; use 49980, the nearest number",
        ),
        ({"floats": 49, "channels": 1}, "floats and channels both set the size"),
        ({"floats": 0}, "floats: must be the number of values in the memory, a positive integer; got 0"),
        ({"floats": "many"}, "floats: must be the number of values"),
    ],
)
def test_a_size_in_floats_that_is_not_valid_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        memories.parse({"name": "conv_ones", **options})
