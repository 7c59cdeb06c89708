"""Tiny data, models and runs that the tests in this folder share."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from hypothesis import settings

from aimlib.config import ModelConfig, RunConfig
from aimlib.datasets.base import DataSet, Images, ImageShape
from aimlib.registry import FAMILIES
from aimlib.training.loop import Outcome

quick = settings(deadline=None, max_examples=40, derandomize=True, database=None)

SMALL = {"name": "small_resnet", "widths": [4, 4], "blocks": [1, 1]}
MEMORY = {"name": "conv_ones", "channels": 4, "rows": 4, "columns": 4}
AIM: dict[str, Any] = {
    "backbone": SMALL,
    "memory": MEMORY,
    "placement": "every_layer",
    "update": {"name": "conv_sigmoid", "filters": [2, 2, 3]},
}
NEEDED: dict[str, dict[str, Any]] = {
    "stop_at_accuracy": {"accuracy": 0.5},
    "cosine_warm_restarts": {"T_0": 2},
    "multi_step": {"milestones": [1]},
    "step": {"step_size": 2},
}
"""The required options of the plugins that have any."""
SHAPE = ImageShape(channels=1, height=8, width=8, classes=3)


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the dotted keys in `changes` set; each new value completely replaces the old value."""
    result = {key: dict(value) if isinstance(value, Mapping) else value for key, value in base.items()}
    for path, value in changes.items():
        *parents, last = path.split(".")
        level = result
        for parent in parents:
            level = level.setdefault(parent, {})
        level[last] = value
    return result


def document(**changes: Any) -> dict[str, Any]:
    """Return a complete document for a run, with `changes`, whose names are dotted keys with `__` instead of dots."""
    base = {
        "model": {"backbone": SMALL},
        "data": {"name": "digits", "size": 8},
        "training": {
            "epochs": 2,
            "batch_size": 8,
            "optimizer": {"name": "sgd", "learning_rate": 0.05},
            "selection": "last_epoch",
            "validation_fraction": 0.25,
        },
        "seed": 0,
    }
    return merged(base, {path.replace("__", "."): value for path, value in changes.items()})


def run_config(**changes: Any) -> RunConfig:
    return RunConfig.parse(document(**changes))


def model(**options: Any) -> ModelConfig:
    return ModelConfig.parse({"backbone": SMALL, **options})


def split(images: int, classes: int, size: int, channels: int, seed: int) -> Images:
    """Return noisy images in which the brightest column depends on the class."""
    draw = np.random.default_rng(seed)
    labels = np.arange(images, dtype=np.int64) % classes
    pixels = draw.integers(0, 100, (images, size, size, channels), dtype=np.uint8)
    pixels[np.arange(images), :, labels % size] += 100
    return Images(pixels, labels, tuple(f"{seed}/{number:04d}" for number in range(images)))


def data_set(
    train: int = 36, test: int = 18, classes: int = 3, size: int = 8, channels: int = 1, seed: int = 0
) -> DataSet:
    return DataSet(
        split(train, classes, size, channels, seed),
        split(test, classes, size, channels, seed + 1),
        tuple(f"class {number}" for number in range(classes)),
        fingerprint="0" * 20,
    )


def without_clock(outcome: Outcome) -> dict[str, Any]:
    """Return the parts of an outcome that must not depend on the clock or on interruptions."""
    kept = dataclasses.asdict(outcome)
    for name in ("seconds", "attempts", "started_at", "predictions"):
        del kept[name]
    kept["epochs"] = [{key: value for key, value in row.items() if key != "seconds"} for row in outcome.epochs]
    return {**kept, "predictions": outcome.predictions.tolist(), "type": str(outcome.predictions.dtype)}


@contextmanager
def restored_registries() -> Iterator[None]:
    """Remove the plugins that a test registered, but keep the built-in plugins that it loaded."""
    before = [dict(family._classes) for family in FAMILIES]
    try:
        yield
    finally:
        for family, classes in zip(FAMILIES, before, strict=True):
            for name, cls in list(family._classes.items()):
                if name not in classes and cls.__module__ not in {info.module for info in family._builtin()}:
                    del family._classes[name]
                    family._origins.pop(name, None)
