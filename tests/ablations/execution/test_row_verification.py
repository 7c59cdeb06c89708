"""A stored row is accepted only if its configuration, curve, predictions and outcome agree."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import tiny_study

from ablations.execution.row_verification import Verification, verify
from ablations.planning import plan as planning
from ablations.planning.plan import Plan
from ablations.sessions import launch
from ablations.spec.study import read_study


class Scene:
    """A computed run: its row, its plan and its data."""

    def __init__(self, plan: Plan, row: dict[str, Any]) -> None:
        self.row, (self.run,) = row, plan.runs
        self.data = plan.data["baseline"]

    def verified(self, **changes: Any) -> Verification:
        return verify(self.row | changes, self.run, self.data)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scene]:
    """Return runs of two epochs: a plain run, two runs evaluated only on full batches, and a run that diverged
    immediately."""
    folder = tmp_path_factory.mktemp("rows")
    alone = {"arms": {"baseline": {}}, "seeds": 1, "base.data.test_images": 500}
    kinds: dict[str, dict[str, Any]] = {
        "plain": {},
        "full_batches": {
            "base.training.evaluation_drop_last": True,
            "base.training.validation_fraction": 0.4,
            "base.training.early_stopping": {"patience": 2, "min_delta": 0.9},
            "base.training.epochs": 4,
        },
        "scored": {"keep_scores": "float16"},
        "ended": {
            "base.training.epochs": 4,
            "base.training.callbacks": [{"name": "stop_at_accuracy", "accuracy": 0.001, "monitor": "train"}],
        },
        "order_of_tfds": {
            "base.training.evaluation_drop_last": True,
            "base.training.order": "tfds",
            "base.training.validation_fraction": 0.4,
        },
        "diverged": {"base.training.optimizer": {"name": "sgd", "learning_rate": 1e30}},
    }
    found = {}
    for kind, changes in kinds.items():
        file = tiny_study.write(folder, tiny_study.changed({**alone, **changes}), f"{kind}.yaml")
        launch.run(file, folder / kind, executor="inline")
        (row,) = tiny_study.rows(folder / kind)
        found[kind] = Scene(planning.plan(read_study(file)), row)
    return found


@pytest.fixture(scope="module")
def plain(scenes: dict[str, Scene]) -> Scene:
    return scenes["plain"]


def test_the_row_of_a_run_is_valid(scenes: dict[str, Scene]) -> None:
    assert {kind: scene.verified() for kind, scene in scenes.items()} == dict.fromkeys(scenes, Verification())
    assert [scene.row["status"] for scene in scenes.values()] == ["finished"] * 5 + ["diverged"]
    assert scenes["full_batches"].row["epochs_run"] == 3, "early stopping ended it"
    assert scenes["ended"].row["epochs_run"] == 1, "a callback ended it"
    assert "it ended after 1 of 4 epochs, and neither" in scenes["ended"].verified(reason=None).problem
    assert scenes["diverged"].row["selected_epoch"] == 0


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"status": "pruned"}, "its status is 'pruned', not 'finished' or 'diverged'"),
        ({"status": "failed"}, "its status is 'failed'"),
        ({"seed": 4}, "seed is 4, not 0"),
        ({"data_fingerprint": "0" * 20}, "data_fingerprint is '0000"),
        ({"config": "{"}, "its configuration is not readable as JSON"),
        ({"config": None}, "its configuration is not readable as JSON"),
        ({"epochs_planned": 3}, "epochs_planned is 3, not 2"),
        ({"epochs_run": 1}, "epochs_run is 1, not 2"),
        ({"epochs.epoch": [1, 3]}, "its epochs are not numbered"),
        ({"epochs.seconds": [1.0]}, "its epoch columns have different lengths"),
        ({"epochs.train_loss": [1.0, float("nan")]}, "epochs.train_loss is not finite"),
        ({"epochs.test_accuracy": [0.5, None]}, "epochs.test_accuracy is not finite"),
        ({"selected_epoch": 0}, "selected_epoch is 0, not"),
        ({"test_loss": 0.5}, "test_loss is 0.5, but"),
        ({"validation_accuracy": 1.0}, "validation_accuracy is 1.0, but"),
        ({"test_images": 499}, "test_images is 499, not 500"),
        ({"predictions": b"123"}, "its predictions are not readable"),
        ({"predictions.bits": 7}, "its predictions are not readable"),
        ({"predictions": None}, "its predictions are not readable"),
        ({"predictions.epochs": 1}, "its predictions cover 1 epoch and 1,000 images, not 2 and 500"),
        ({"predictions": bytes(500) + bytes([10]) * 500}, "it predicts class 10, but there are 10"),
        ({"predictions": bytes(1000)}, "but its predictions give 0."),
        ({"status": "diverged", "reason": None}, "it diverged without a reason"),
    ],
)
def test_a_contradiction_is_described(changes: dict[str, Any], problem: str, plain: Scene) -> None:
    assert problem in plain.verified(**changes).problem


def test_scores_are_compared_with_the_predictions_of_the_selected_epoch(scenes: dict[str, Scene]) -> None:
    scored = scenes["scored"]
    scores = np.frombuffer(scored.row["scores"], dtype=np.float16).reshape(500, 10)
    assert scenes["plain"].row["scores"] is None
    assert scores.max() <= 0
    swapped = scores.copy()
    swapped[7] = np.roll(scores[7], 1)
    changes = {
        "its scores are not readable": scored.row["scores"][:-3],
        "it has scores for 499 images, but predictions for 500": scores[1:].tobytes(),
        "its scores are not log-probabilities": (-scores).tobytes(),
        "indicate different classes for 1 of 500 images": swapped.tobytes(),
    }
    for problem, content in changes.items():
        assert problem in scored.verified(scores=content).problem


def test_a_single_changed_prediction_is_noticed(plain: Scene) -> None:
    label = int(plain.data.test.labels[3])
    other = bytearray(plain.row["predictions"])
    other[500 + 3] = (label + 1) % 10 if other[500 + 3] == label else label
    assert "the test accuracy of epoch 2 is" in plain.verified(predictions=bytes(other)).problem


def test_predictions_outside_full_batches_do_not_count_in_the_accuracy(scenes: dict[str, Scene]) -> None:
    scene = scenes["full_batches"]
    right = np.frombuffer(scene.row["predictions"], np.uint8).reshape(-1, 500) == scene.data.test.labels
    assert scene.row["epochs.test_accuracy"] != right.mean(axis=1).tolist(), "otherwise this test proves nothing"
    assert scene.verified() == Verification()


def test_a_run_that_ended_early_without_a_reason_is_incomplete(plain: Scene, scenes: dict[str, Scene]) -> None:
    for scene in (plain, scenes["full_batches"]):
        kept = scene.row["epochs_run"] - 1
        shorter = {name: values[:kept] for name, values in scene.row.items() if name.startswith("epochs.")}
        changes = {
            "epochs_run": kept,
            "predictions.epochs": kept,
            "predictions": scene.row["predictions"][: 500 * kept],
        }
        assert f"it ended after {kept} of" in scene.verified(**shorter, **changes).problem


def test_the_configuration_of_a_different_run_is_refused(plain: Scene) -> None:
    config = json.loads(plain.row["config"])
    config["training"]["batch_size"] = 20
    assert "its configuration belongs to run " in plain.verified(config=json.dumps(config)).problem


def test_a_configuration_that_this_version_cannot_read_is_reported(plain: Scene) -> None:
    config = json.loads(plain.row["config"]) | {"option_of_another_version": 1}
    found = plain.verified(config=json.dumps(config))
    assert not found.problem
    assert "option_of_another_version" in found.unconfirmed
