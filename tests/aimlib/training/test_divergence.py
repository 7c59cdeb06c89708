"""Runs whose loss is no longer finite."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import data_set, restored_registries, run_config

import aimlib.training.run
from aimlib.registry import schedules
from aimlib.training import checkpointing
from aimlib.training.epoch import Epoch
from aimlib.training.loop import Paused, train
from aimlib.training.schedules.base import Schedule

MLP = {"backbone": {"name": "mlp", "widths": [16]}}
STILL = {"name": "sgd", "learning_rate": 1e-12, "momentum": 0.0}


@pytest.fixture
def explosion() -> Iterator[None]:
    with restored_registries():

        @schedules.register("explosion")
        class Explosion(Schedule):
            def rate(self, time: float) -> float:
                return 1e30 if time >= 2 else self.learning_rate

        yield


def test_a_diverged_run_keeps_its_earlier_epochs(explosion: None) -> None:
    outcome = train(run_config(model=MLP, training__epochs=5, training__schedule="explosion"), data_set())
    assert (outcome.status, outcome.reason) == ("diverged", "loss not finite in epoch 3, step 2")
    assert [row["epoch"] for row in outcome.epochs] == [1, 2]
    assert outcome.predictions.shape == (2, 18)
    assert outcome.selected_epoch == 2
    assert outcome.selected["test_accuracy"] == outcome.epochs[1]["test_accuracy"]
    assert all(np.isfinite(row["test_loss"]) for row in outcome.epochs)


def test_divergence_in_the_first_epoch_reports_the_initial_network() -> None:
    data = data_set(train=60, test=300)
    data.test.labels[:] = np.random.default_rng(0).permutation(data.test.labels)  # the images contain no information
    absurd = {"name": "sgd", "learning_rate": 1e30}
    called: list[Any] = []
    outcome = train(run_config(model=MLP, training__optimizer=absurd), data, on_epoch=called.append)
    assert (outcome.status, outcome.reason) == ("diverged", "loss not finite in epoch 1, step 2")
    assert outcome.epochs == called == []
    assert outcome.selected_epoch == 0
    assert outcome.predictions.shape == (1, 300)
    still = train(run_config(model=MLP, training__optimizer=STILL, training__epochs=1), data)
    assert outcome.selected == pytest.approx(still.selected)
    assert np.array_equal(outcome.predictions, still.predictions)
    assert outcome.selected["test_accuracy"] == pytest.approx(1 / 3, abs=0.09)  # chance level, 3 standard errors


@pytest.mark.parametrize("broken", [0, 1], ids=["validation", "test"])
def test_a_loss_that_is_finite_only_in_training_counts_as_divergence(
    broken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = aimlib.training.run.evaluate, []

    def evaluate(*given: Any, **named: Any) -> Any:
        calls.append(None)
        result = real(*given, **named)
        return dataclasses.replace(result, loss=float("nan")) if len(calls) == 3 + broken else result

    monkeypatch.setattr(aimlib.training.run, "evaluate", evaluate)
    outcome = train(run_config(model=MLP, training__epochs=4), data_set())
    assert (outcome.status, outcome.reason) == ("diverged", "loss not finite in epoch 2")
    assert len(outcome.epochs) == 1


# The step in which a run diverges


@pytest.fixture
def late_explosion() -> Iterator[None]:
    """Register a schedule whose rate explodes at the start of the third of four steps in the second epoch."""
    with restored_registries():

        @schedules.register("late_explosion")
        class LateExplosion(Schedule):
            def rate(self, time: float) -> float:
                return 1e30 if time >= 1.5 else self.learning_rate

        yield


LATE: dict[str, Any] = {"model": MLP, "training__epochs": 4, "training__schedule": "late_explosion"}


def test_the_first_step_that_was_not_finite_is_reported(late_explosion: None, monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[float] = []
    real = Epoch.add

    def add(self: Epoch, loss: Any, hits: Any, images: int) -> None:
        losses.append(float(loss))
        real(self, loss, hits, images)

    monkeypatch.setattr(Epoch, "add", add)
    outcome = train(run_config(**LATE), data_set())
    first = next(number for number, loss in enumerate(losses, 1) if not np.isfinite(loss))
    assert first == 4 + 4, "the step after the one that changed the weights"
    assert (outcome.status, outcome.reason) == ("diverged", "loss not finite in epoch 2, step 4")


@pytest.mark.parametrize("asked", [6, 7, 8, 9])
def test_the_step_is_reported_even_after_a_pause(late_explosion: None, asked: int, tmp_path: Path) -> None:
    """The run pauses before, during and after the step, and during the evaluation."""
    config, data, times = run_config(**LATE), data_set(), iter(range(1, 100))
    with pytest.raises(Paused):
        train(config, data, run_id="run", checkpoint_directory=tmp_path, pause=lambda: next(times) == asked + 2)
    outcome = train(config, data, run_id="run", checkpoint_directory=tmp_path)
    assert outcome.reason == "loss not finite in epoch 2, step 4"


@pytest.mark.parametrize(
    ("asked", "reason"),
    [(9, "loss not finite in epoch 2, step 4"), (11, "loss not finite in epoch 2")],
    ids=["before the step", "after it"],
)
def test_a_checkpoint_without_a_step_count_is_read(
    late_explosion: None, asked: int, reason: str, tmp_path: Path
) -> None:
    config, data, times = run_config(**LATE), data_set(), iter(range(1, 100))
    with pytest.raises(Paused) as paused:
        train(config, data, run_id="run", checkpoint_directory=tmp_path, pause=lambda: next(times) == asked)
    assert (paused.value.epochs, paused.value.step) == (1, asked - 7)
    file = tmp_path / checkpointing.FILE
    state = torch.load(file, weights_only=True)
    del state["under_way"]["finite_steps"]
    torch.save(state, file)
    assert train(config, data, run_id="run", checkpoint_directory=tmp_path).reason == reason
