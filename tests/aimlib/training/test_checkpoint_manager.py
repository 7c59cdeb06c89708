"""The results of a run that was paused, however often and at whatever step, are identical to an uninterrupted run's."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_runs import AIM, data_set, restored_registries, run_config, without_clock
from torch import Tensor, nn

from aimlib.config import RunConfig
from aimlib.datasets.base import DataSet
from aimlib.errors import StoreError
from aimlib.registry import backbones
from aimlib.training import checkpointing
from aimlib.training.checkpoint_manager import Save
from aimlib.training.loop import Outcome, Paused, outcome_so_far, train

VGG = {"name": "vgg16_bn", "widths": [2, 2, 2, 2, 2], "dense": [8, 8], "dropout": 0.5}
MLP = {"backbone": {"name": "mlp", "widths": [8]}}
STOPS_EARLY = {"patience": 2, "min_delta": 0.9}
SIZE = 8
KINDS: dict[str, tuple[dict[str, Any], int]] = {
    "adam, plateau, carry, early stopping": (
        {
            "model": {**AIM, "carry": {}},
            "training__optimizer": {"name": "adam", "learning_rate": 0.01},
            "training__schedule": {"name": "plateau", "patience": 1, "min_delta": 0.9},
            "training__early_stopping": STOPS_EARLY,
            "training__epochs": 6,
        },
        SIZE,
    ),
    "momentum, cosine, augmentation, a batch of one joins another": (
        {
            "model": AIM,
            "training__optimizer": {"name": "sgd", "momentum": 0.9, "learning_rate": 0.05},
            "training__schedule": {"name": "cosine", "warmup_epochs": 0.5},
            "training__augmentation": {"rotation": 0.1, "horizontal_flip": 0.5, "contrast": 0.2},
            "training__batch_size": 5,
        },
        SIZE,
    ),
    "adamw, dropout, noise for every image": (
        {
            "model": {
                "backbone": VGG,
                "memory": {"name": "noise", "channels": 4, "rows": 2, "columns": 2, "per": "image"},
                "placement": "every_layer",
            },
            "training__optimizer": "adamw",
            "training__batch_size": 6,
        },
        32,
    ),
    "no validation images, incomplete batches left out": (
        {
            "model": MLP,
            "training__validation_fraction": 0.0,
            "training__drop_last": True,
            "training__evaluation_drop_last": True,
            "training__batch_size": 4,
        },
        SIZE,
    ),
}


def kind(name: str) -> tuple[RunConfig, DataSet]:
    changes, size = KINDS[name]
    return run_config(**{"training__epochs": 2, **changes}), data_set(train=24, test=21, size=size)


class At:
    """Returns True in the calls with the given numbers, which are counted from 1 over all attempts."""

    def __init__(self, *times: int) -> None:
        self.times, self.asked = set(times), 0

    def __call__(self) -> bool:
        self.asked += 1
        return self.asked in self.times


def disturb() -> None:
    """Change the global state as other runs in the process might."""
    torch.manual_seed(99)
    np.random.seed(99)
    random.seed(99)
    torch.rand(3)


def to_the_end(config: RunConfig, data: DataSet, folder: Path, pause: Callable[[], bool]) -> tuple[Outcome, int]:
    """Train in as many attempts as necessary. Return the outcome and the number of pauses."""
    pauses = 0
    while True:
        try:
            return train(config, data, run_id="run", checkpoint_directory=folder, pause=pause), pauses
        except Paused:
            pauses += 1
            disturb()


@pytest.fixture(scope="module", params=KINDS)
def undisturbed(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any], int]:
    """Return the name of a kind of run, the run's outcome, and how often the run checks whether to pause."""
    torch.set_num_threads(1)
    config, data = kind(request.param)
    never = At()
    whole = without_clock(train(config, data))
    assert without_clock(train(config, data, pause=never)) == whole
    return request.param, whole, never.asked


@pytest.mark.parametrize("every", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_a_run_paused_once_anywhere_is_bitwise_identical(
    undisturbed: tuple[str, dict[str, Any], int], tmp_path: Path, every: int
) -> None:
    """This quick test pauses at every sixth opportunity. The next test pauses at every opportunity, so each attempt
    advances by only one step or one evaluation batch."""
    name, whole, asked = undisturbed
    config, data = kind(name)
    assert asked > 10
    for time in range(1, asked + 1, every):
        outcome, pauses = to_the_end(config, data, tmp_path / str(time), At(time))
        assert pauses == 1
        assert without_clock(outcome) == whole, f"paused when asked for the {time}th time"
        assert outcome.attempts == 2


def test_a_run_paused_whenever_possible_is_bitwise_identical(
    undisturbed: tuple[str, dict[str, Any], int], tmp_path: Path
) -> None:
    """Every attempt advances by one step or one evaluation batch."""
    name, whole, asked = undisturbed
    outcome, pauses = to_the_end(*kind(name), tmp_path, lambda: True)
    assert without_clock(outcome) == whole
    assert (outcome.attempts, pauses) == (asked + 1, asked)
    assert outcome.seconds > sum(row["seconds"] for row in outcome.epochs) > 0


@settings(deadline=None, max_examples=2, derandomize=True, database=None)
@given(times=st.sets(st.integers(1, 24), min_size=2, max_size=6))
def test_a_run_paused_several_times_within_epochs_is_bitwise_identical(
    times: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    config, data = kind("adamw, dropout, noise for every image")
    whole = without_clock(train(config, data))
    outcome, pauses = to_the_end(config, data, tmp_path_factory.mktemp("run"), At(*times))
    assert without_clock(outcome) == whole
    assert outcome.attempts == pauses + 1


def test_the_tested_run_stops_early_and_its_learning_rate_falls() -> None:
    """The first kind of run above stops early, and its learning rate falls."""
    outcome = train(*kind("adam, plateau, carry, early stopping"))
    assert len(outcome.epochs) == 3
    assert len({row["learning_rate"] for row in outcome.epochs}) > 1


def test_a_run_may_pause_at_the_documented_points(tmp_path: Path) -> None:
    """An epoch has 3 steps on 18 training images, 1 batch of 6 validation images, and 2 batches of 21 test images."""
    config, data = run_config(model=MLP, training__batch_size=6), data_set(train=24, test=21)
    places: list[tuple[int, int, int, int]] = []
    for _ in range(11):
        with pytest.raises(Paused) as caught:
            train(config, data, run_id="run", checkpoint_directory=tmp_path, pause=lambda: True)
        found = checkpointing.load(tmp_path, "run")
        assert found is not None
        state = found.under_way or {"validation": {"seen": 0}, "test": {"seen": 0}, "step": 0}
        assert (caught.value.epochs, caught.value.step) == (len(found.epochs), state["step"])
        places.append((len(found.epochs), state["step"], state["validation"]["seen"], state["test"]["seen"]))
    outcome = train(config, data, run_id="run", checkpoint_directory=tmp_path, pause=lambda: True)
    epoch = [(1, 0, 0), (2, 0, 0), (3, 0, 0), (3, 6, 0), (3, 6, 12)]
    assert places == [(0, *place) for place in epoch] + [(1, 0, 0, 0)] + [(1, *place) for place in epoch]
    assert outcome.attempts == len(places) + 1


def test_a_run_stops_after_a_number_of_epochs_and_continues(tmp_path: Path) -> None:
    """`pause` is called after `on_epoch`, so screening stops exactly at the end of an epoch."""
    config, data = run_config(model=AIM, training__epochs=4, training__schedule="cosine"), data_set()
    whole = train(config, data)
    done: list[int] = []
    for budget in (1, 3):
        with pytest.raises(Paused) as caught:
            train(
                config,
                data,
                run_id="run",
                checkpoint_directory=tmp_path,
                checkpoint_share=0.0,
                on_epoch=lambda row: done.append(row["epoch"]),
                pause=lambda budget=budget: len(done) >= budget,
            )
        assert (caught.value.epochs, caught.value.step) == (budget, 0)
        assert done == list(range(1, budget + 1))
        found = checkpointing.load(tmp_path, "run")
        assert found is not None
        assert found.under_way is None
        assert len(found.epochs) == budget
        disturb()
    outcome = train(config, data, run_id="run", checkpoint_directory=tmp_path)
    assert without_clock(outcome) == without_clock(whole)
    assert outcome.attempts == 3


def test_a_run_that_is_done_finishes_instead_of_pausing(tmp_path: Path) -> None:
    config, data, done = run_config(model=MLP), data_set(), []
    outcome = train(config, data, checkpoint_directory=tmp_path, on_epoch=done.append, pause=lambda: len(done) == 2)
    assert outcome.status == "finished"
    assert len(outcome.epochs) == 2


def test_without_a_directory_nothing_is_stored() -> None:
    with pytest.raises(Paused, match="paused after 0 epochs and 2 steps"):
        train(run_config(model=MLP), data_set(), pause=At(2))


def test_every_save_is_reported_and_a_pause_saves_once(tmp_path: Path) -> None:
    config, data = run_config(model=MLP, training__epochs=3), data_set()
    saved: list[Path] = []
    done: list[Any] = []
    keep: dict[str, Any] = {"run_id": "run", "checkpoint_directory": tmp_path, "on_checkpoint": saved.append}
    with pytest.raises(Paused):  # after an epoch that has already been saved
        train(config, data, **keep, checkpoint_share=np.inf, on_epoch=done.append, pause=lambda: len(done) == 2)
    assert saved == [tmp_path / checkpointing.FILE] * 2
    with pytest.raises(Paused):  # in the middle of an epoch, regardless of the share
        train(config, data, **keep, checkpoint_share=0.0, pause=At(2))
    assert len(saved) == 3


def test_an_error_during_an_upload_ends_the_attempt(tmp_path: Path) -> None:
    def upload(file: Path) -> None:
        raise ConnectionError(f"no way to store {file.name}")

    with pytest.raises(ConnectionError, match=r"no way to store checkpoint\.pt"):
        train(run_config(model=MLP), data_set(), checkpoint_directory=tmp_path, on_checkpoint=upload)


def test_the_paused_exception_can_be_sent_between_processes() -> None:
    paused = pickle.loads(pickle.dumps(Paused(3, 7)))
    assert (paused.epochs, paused.step, str(paused)) == (3, 7, "paused after 3 epochs and 7 steps")


@pytest.fixture
def careless() -> Iterator[None]:
    """Build a third-party network that draws from NumPy's and Python's global generators during training."""
    with restored_registries():

        @backbones.register("careless")
        class Careless(backbones.get("mlp")):  # type: ignore[misc]
            def build(self, shape: Any) -> nn.Module:
                network = super().build(shape)

                def shake(module: nn.Module, arguments: tuple[Tensor]) -> Tensor:
                    factor = np.random.uniform(0.5, 1.5) + random.gauss(0, 0.1) + np.random.normal(0, 0.1)
                    return arguments[0] * factor

                network.register_forward_pre_hook(shake)
                return network

        yield


def test_generators_of_numpy_and_python_also_continue(careless: None, tmp_path: Path) -> None:
    config, data = run_config(model={"backbone": {"name": "careless", "widths": [8]}}), data_set()
    whole = without_clock(train(config, data))
    disturb()
    outcome, pauses = to_the_end(config, data, tmp_path, lambda: True)
    assert pauses > 10
    assert without_clock(outcome) == whole
    plain = train(run_config(model={"backbone": {"name": "mlp", "widths": [8]}}), data)
    assert without_clock(plain)["epochs"] != whole["epochs"], "the careless network really draws"


@pytest.mark.parametrize("number", [1, 2])
def test_a_checkpoint_of_an_earlier_format_can_be_continued(number: int, tmp_path: Path) -> None:
    config, data, done = run_config(model=AIM, training__epochs=3), data_set(), []
    whole = without_clock(train(config, data))
    with pytest.raises(Paused):
        train(config, data, run_id="run", checkpoint_directory=tmp_path, on_epoch=done.append, pause=lambda: bool(done))
    path = tmp_path / checkpointing.FILE
    state = torch.load(path, weights_only=True)
    assert (state["format"], state["under_way"]) == (3, None)
    lacking = {"step", "data_on", "peak_device_bytes"} | ({"under_way"} if number == 1 else set())
    torch.save({**{name: value for name, value in state.items() if name not in lacking}, "format": number}, path)
    assert without_clock(train(config, data, run_id="run", checkpoint_directory=tmp_path)) == whole


@pytest.mark.parametrize("damage", [{"validation": {}}, {"generators": {}}, {"test": []}, {"loss": 1.0}], ids=str)
def test_a_damaged_partial_epoch_is_repeated(damage: dict[str, Any], tmp_path: Path) -> None:
    config, data = run_config(model=MLP), data_set()
    with pytest.raises(Paused):
        train(config, data, run_id="run", checkpoint_directory=tmp_path, pause=At(2))
    path = tmp_path / checkpointing.FILE
    state = torch.load(path, weights_only=True)
    torch.save({**state, "under_way": {**state["under_way"], **damage}}, path)
    with pytest.raises(StoreError, match=r"does not fit.*delete it"):
        train(config, data, run_id="run", checkpoint_directory=tmp_path)


@pytest.mark.parametrize("selection", ["best_validation", "last_epoch", "best_test"])
def test_an_abandoned_paused_run_has_an_outcome(selection: str, tmp_path: Path) -> None:
    """Because the rate is constant, the outcome is the same as after a complete run with only the computed epochs."""
    options = {"model": AIM, "training__selection": selection}
    config, data, done = run_config(**options, training__epochs=5), data_set(), []
    with pytest.raises(Paused):
        train(
            config,
            data,
            run_id="run",
            checkpoint_directory=tmp_path,
            on_epoch=done.append,
            pause=lambda: len(done) == 3,
        )
    pruned = outcome_so_far(config, data, tmp_path, "run", "among the worse half after 3 epochs")
    assert (pruned.status, pruned.reason) == ("pruned", "among the worse half after 3 epochs")
    short = without_clock(train(run_config(**options, training__epochs=3), data))
    assert without_clock(pruned) == {**short, "status": pruned.status, "reason": pruned.reason}
    assert pruned.seconds > sum(row["seconds"] for row in pruned.epochs)
    assert pruned.attempts == 1
    assert (tmp_path / checkpointing.FILE).exists(), "it can still be continued"


def test_an_unfinished_epoch_is_not_in_the_outcome_so_far(tmp_path: Path) -> None:
    config, data = run_config(model=MLP), data_set()
    asked_per_epoch = 7
    for times, epochs in ((asked_per_epoch + 1, 1), (1, 1)):
        with pytest.raises(Paused):
            train(config, data, run_id="run", checkpoint_directory=tmp_path, pause=At(times))
        assert len(outcome_so_far(config, data, tmp_path, "run", "given up").epochs) == epochs
    found = checkpointing.load(tmp_path, "run")
    assert found is not None
    assert found.under_way is not None


def test_without_a_completed_epoch_there_is_no_outcome_so_far(tmp_path: Path) -> None:
    config, data = run_config(model=MLP), data_set()
    with pytest.raises(StoreError, match="no completed epoch of run run to report; pause a run after its first epoch"):
        outcome_so_far(config, data, tmp_path / "nowhere", "run", "given up")
    with pytest.raises(Paused):
        train(config, data, run_id="run", checkpoint_directory=tmp_path, pause=At(1))
    with pytest.raises(StoreError, match="no completed epoch"):
        outcome_so_far(config, data, tmp_path, "run", "given up")
    with pytest.raises(StoreError, match="not a checkpoint of run other"):
        outcome_so_far(config, data, tmp_path, "other", "given up")


def test_a_pause_whose_save_fails_loses_only_the_steps_since_the_last_save(tmp_path: Path) -> None:
    config, data = kind("momentum, cosine, augmentation, a batch of one joins another")
    whole = without_clock(train(config, data))
    asked: list[Save] = []

    @contextmanager
    def saving(save: Save) -> Iterator[bool]:
        asked.append(save)
        yield len(asked) % 2 == 0

    pause, folder = At(2, 4, 7, 11), tmp_path / "run"
    files = []

    def attempt() -> Outcome:
        return train(config, data, run_id="run", checkpoint_directory=folder, pause=pause, saving=saving)

    for _ in range(4):
        with pytest.raises(Paused) as paused:
            attempt()
        assert (paused.value.epochs, paused.value.step) == (asked[-1].epochs, asked[-1].step)
        file = folder / checkpointing.FILE
        files.append(file.read_bytes() if file.exists() else b"")
    outcome = attempt()
    assert len(asked) >= 3
    assert files[0] == b"", "nothing was saved"
    assert files[1] != b""
    assert files[2] == files[1], "the old checkpoint is intact"
    assert without_clock(outcome) == whole
