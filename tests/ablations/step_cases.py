"""Arms of the shipped studies as runs on a few random images of the arms' own image size."""

from __future__ import annotations

import json
from functools import cache

import numpy as np

from ablations.planning.arms import Arm, expand, shape_of
from ablations.spec.study import read_study, shipped_studies
from aimlib.config import RunConfig
from aimlib.datasets.base import DataSet, Images, ImageShape

STUDIES = sorted(shipped_studies())


@cache
def arms_of(study: str, *overrides: str) -> dict[str, Arm]:
    """Return a shipped study's arms by name. They are expanded once, because matching a control takes seconds."""
    return {arm.name: arm for arm in expand(read_study(study, overrides))}


def distinct(studies: list[str]) -> list[tuple[str, str]]:
    """Return the study and the name of every arm; if several arms are equal, return only the first."""
    found: dict[str, tuple[str, str]] = {}
    for study in studies:
        for name, arm in arms_of(study).items():
            same = [arm.config.model.identity(), arm.config.training.identity(), str(shape_of(arm.config))]
            found.setdefault(json.dumps(same, sort_keys=True), (study, name))
    return list(found.values())


def images(shape: ImageShape, count: int) -> Images:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (count, shape.height, shape.width, shape.channels), dtype=np.uint8)
    return Images(pixels, np.arange(count, dtype=np.int64) % shape.classes, tuple(map(str, range(count))))


def small_run(arm: Arm, batch_size: int, **training: object) -> tuple[RunConfig, DataSet]:
    """Return the data, and the arm's run on two batches without held-out images."""
    shape = shape_of(arm.config)
    changes = {"batch_size": batch_size, "validation_fraction": 0.0, "early_stopping": None, **training}
    config = arm.config.model_copy(update={"training": arm.config.training.model_copy(update=changes)})
    classes = tuple(map(str, range(shape.classes)))
    return config, DataSet(images(shape, 2 * batch_size), images(shape, 2 * batch_size), classes, "0" * 20)
