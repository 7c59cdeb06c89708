"""Only equal experiments have equal run ids, which do not depend on the machine or the order of keys."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import AIM, document, quick, restored_registries, run_config

import aimlib.config
from aimlib.component import ComponentConfig
from aimlib.config import AugmentationConfig, RunConfig
from aimlib.placements.base import Placement
from aimlib.registry import memories, placements

FINGERPRINT = "0123456789abcdef0123"
GOLDEN = ("65e8ea4220e87fa7d4a2", "a1a963a9bc5090faf605")  # from schema version 2


class LastLayer(Placement):
    def reads(self, layers: Any) -> list[str]:
        return [layers[-1].name]


def with_placement(version: int, options: dict[str, Any] | None = None, **fields: Any) -> str:
    """Return the run id with a temporary placement that has these fields (name: default)."""
    with restored_registries():
        body = {"__module__": "elsewhere", "__annotations__": dict.fromkeys(fields, int), **fields}
        config = type("Config", (ComponentConfig,), {**body, "__qualname__": "Own.Config"})
        plugin = type("Own", (LastLayer,), {"__module__": "elsewhere", "__qualname__": "Own", "Config": config})
        placements.register("own", version=version)(plugin)
        return run_config(model={**AIM, "placement": {"name": "own", **(options or {})}}).run_id(FINGERPRINT)


def test_ids_never_change() -> None:
    # These ids are fixed, because stored results cannot be found by a changed id. If an id must change, raise a
    # version.
    assert run_config().run_id(FINGERPRINT) == GOLDEN[0]
    assert run_config(model=AIM, training__schedule="plateau", seed=7).run_id(FINGERPRINT) == GOLDEN[1]


def test_a_new_option_with_a_default_does_not_change_ids() -> None:
    before = with_placement(1, {"size": 3}, size=2)
    assert with_placement(1, {"size": 3}, size=2, colour=5) == before
    assert with_placement(1, {"size": 3, "colour": 5}, size=2, colour=5) == before
    assert with_placement(1, {"size": 3, "colour": 6}, size=2, colour=5) != before
    assert with_placement(1, {"size": 4}, size=2) != before


def test_a_new_version_changes_the_id() -> None:
    assert with_placement(1, size=2) != with_placement(2, size=2)


def test_a_new_augmentation_version_changes_the_ids_of_runs_with_augmentation(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, augmented = run_config(), run_config(training__augmentation={"horizontal_flip": 0.5})
    before = augmented.run_id(FINGERPRINT)
    assert before == "00eac4b97fca49273e83"  # from version 2
    monkeypatch.setattr(AugmentationConfig, "version", 3)
    assert augmented.run_id(FINGERPRINT) != before
    assert plain.run_id(FINGERPRINT) == GOLDEN[0]


def test_changing_the_data_or_the_frozen_number_changes_the_id(monkeypatch: pytest.MonkeyPatch) -> None:
    before = run_config().run_id(FINGERPRINT)
    assert run_config().run_id(FINGERPRINT[::-1]) != before
    monkeypatch.setattr(aimlib.config, "_ID_VERSION", 10**6)
    assert run_config().run_id(FINGERPRINT) != before


def test_the_location_of_the_data_does_not_change_the_id() -> None:
    here = run_config(data={"name": "stanford_dogs", "size": 32, "root": "/here", "cache": "/one"})
    there = run_config(data={"name": "stanford_dogs", "size": 32, "root": "/there"})
    other = run_config(data={"name": "stanford_dogs", "size": 33, "root": "/here", "cache": "/one"})
    assert here.run_id(FINGERPRINT) == there.run_id(FINGERPRINT) != other.run_id(FINGERPRINT)
    assert here != there


def reversed_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return value


def test_the_order_of_keys_and_explicitly_written_defaults_do_not_change_the_id() -> None:
    config = run_config(model=AIM, training__augmentation={"rotation": 0.1, "contrast": 0.2})
    turned = RunConfig.parse(
        reversed_keys(document(model=AIM, training__augmentation={"rotation": 0.1, "contrast": 0.2}))
    )
    written_out = RunConfig.parse(config.model_dump(mode="json"))
    assert config.run_id(FINGERPRINT) == turned.run_id(FINGERPRINT) == written_out.run_id(FINGERPRINT)


def test_the_id_is_short_and_hexadecimal() -> None:
    run_id = run_config().run_id(FINGERPRINT)
    assert len(run_id) == 20
    assert int(run_id, 16) >= 0


fractions = st.sampled_from([0.0, -0.0, 0.1, 0.25, 1e-9, 0.5])
changes = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 2**31 - 1),
        "training__epochs": st.integers(1, 4),
        "training__label_smoothing": fractions,
        "training__validation_fraction": fractions,
        "training__tf32": st.booleans(),
        "training__optimizer": st.one_of(
            st.just("adam"),
            st.builds(lambda rate: {"name": "adam", "learning_rate": rate}, st.sampled_from([1e-3, 1, 1.0, 0.1])),
            st.builds(lambda decay: {"name": "adamw", "weight_decay": decay}, st.sampled_from([0.01, 0, 0.0])),
        ),
        "training__schedule": st.sampled_from([None, "none", "cosine", {"name": "cosine", "final_fraction": 0.5}]),
        "training__augmentation": st.sampled_from(
            [None, {"passes": 2}, {"rotation": 0.1}, {"rotation": 0.1, "passes": 1}]
        ),
        "model": st.sampled_from(
            [{"backbone": "mlp"}, {"backbone": {"name": "mlp", "widths": [256, 256]}}, AIM, {**AIM, "read_init": "own"}]
        ),
    },
)


@quick
@given(changes, changes)
def test_ids_are_equal_exactly_if_the_configurations_are_equal(one: dict[str, Any], two: dict[str, Any]) -> None:
    first, second = run_config(**one), run_config(**two)
    assert (first.run_id(FINGERPRINT) == second.run_id(FINGERPRINT)) == (first == second)
    again = RunConfig.parse(json.loads(json.dumps(first.model_dump(mode="json"))))
    assert again.run_id(FINGERPRINT) == first.run_id(FINGERPRINT)


@pytest.mark.parametrize("path", ["training__label_smoothing", "training__validation_fraction"])
def test_minus_zero_and_zero_give_the_same_id(path: str) -> None:
    plus, minus = run_config(**{path: 0.0}), run_config(**{path: -0.0})
    assert plus == minus
    assert plus.run_id(FINGERPRINT) == minus.run_id(FINGERPRINT)


@pytest.mark.parametrize(
    ("option", "default"),
    [("update_after", "stage"), ("read_init", "concatenated"), ("routing", "current"), ("carry", None)],
)
def test_explicitly_writing_the_default_of_an_option_gives_the_same_run(option: str, default: str) -> None:
    model = {**AIM, "update": "conv_sigmoid"}
    silent, written = (run_config(model=each) for each in (model, {**model, option: default}))
    assert silent == written
    assert silent.run_id(FINGERPRINT) == written.run_id(FINGERPRINT)


def test_only_ids_of_wide_memories_contain_how_the_memory_is_read() -> None:
    """Products round differently from convolutions, so earlier runs with wide memories have different ids."""

    def identity(**size: int) -> dict[str, Any]:
        return memories.parse({"name": "conv_ones", **size}).identity()

    assert identity() == {"name": "conv_ones", "version": 1, "read_by": "products"}
    assert identity(channels=64, rows=4, columns=4) == {
        "name": "conv_ones",
        "version": 1,
        "channels": 64,
        "rows": 4,
        "columns": 4,
    }
    assert identity(channels=2**9, rows=8, columns=8)["read_by"] == "products"
    assert "read_by" not in identity(channels=2**9 - 1, rows=8, columns=8)
