"""Training runs that take about a second, for conformance tests of plugins used in training."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aimlib.config import RunConfig
from aimlib.datasets.base import DataSet, Images, ImageShape
from aimlib.training.loop import Outcome, Paused, train

SHAPE = ImageShape(channels=3, height=8, width=8, classes=3)


def tiny_config(training: Mapping[str, Any], seed: int = 0) -> RunConfig:
    """Return a run with two epochs and these training options."""
    usual = {
        "epochs": 2,
        "batch_size": 8,
        "optimizer": {"name": "sgd", "learning_rate": 0.05},
        "selection": "last_epoch",
        "validation_fraction": 0.25,
    }
    return RunConfig.parse(
        {
            "model": {"backbone": {"name": "small_resnet", "widths": [4, 4], "blocks": [1, 1]}},
            "data": {"name": "digits", "size": 8},
            "training": {**usual, **training},
            "seed": seed,
        }
    )


def tiny_data() -> DataSet:
    """Return noisy images in which the brightest column depends on the class."""
    return DataSet(_images(30, 0), _images(12, 1), ("a", "b", "c"), fingerprint="0" * 20)


def _images(count: int, seed: int) -> Images:
    draw = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % SHAPE.classes
    pixels = draw.integers(0, 100, (count, SHAPE.height, SHAPE.width, SHAPE.channels), dtype=np.uint8)
    pixels[np.arange(count), :, labels] += 100
    return Images(pixels, labels, tuple(f"{seed}/{number:04d}" for number in range(count)))


def result_of(outcome: Outcome) -> dict[str, Any]:
    """Return the parts of an outcome that must not depend on the clock or on interruptions."""
    epochs = [{key: value for key, value in row.items() if key != "seconds"} for row in outcome.epochs]
    state = outcome.network.state if outcome.network is not None else None
    return {
        "status": outcome.status,
        "reason": outcome.reason,
        "epochs": epochs,
        "scalars": outcome.scalars,
        "predictions": outcome.predictions.tolist(),
        "network": {name: tensor.tolist() for name, tensor in (state or {}).items()},
    }


def trained(config: RunConfig) -> dict[str, Any]:
    """Return the result of a run."""
    return result_of(train(config, tiny_data(), keep="last"))


def trained_in_pieces(config: RunConfig) -> dict[str, Any]:
    """Return the result of a run that is interrupted after every step and continued from its checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        while True:
            try:
                found = train(config, tiny_data(), keep="last", checkpoint_directory=Path(folder), pause=lambda: True)
            except Paused:
                continue
            return result_of(found)


def assert_reproducible(training: Mapping[str, Any]) -> dict[str, Any]:
    """Raise AssertionError unless repeating a run with these options, even interrupted, is bitwise identical.

    Returns
    -------
    The result of the run.
    """
    config = tiny_config(training)
    whole = trained(config)
    _assert_same(trained(config), whole, "repeated")
    _assert_same(trained_in_pieces(config), whole, "interrupted and resumed")
    return whole


def _assert_same(found: Mapping[str, Any], whole: Mapping[str, Any], how: str) -> None:
    """Raise AssertionError with the parts that differ; pytest would take minutes to explain the difference."""
    different = [name for name in whole if found[name] != whole[name]]
    if different:
        raise AssertionError(f"a run is not bitwise identical when it is {how}: {', '.join(different)}")
