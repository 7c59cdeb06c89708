"""One run from its configuration to its outcome."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import AIM, SHAPE, data_set, model, run_config, without_clock
from torch import nn

from aimlib.datasets.base import ImageShape
from aimlib.errors import DataError
from aimlib.models import build
from aimlib.records import EPOCHS
from aimlib.training.devices import device_name, pick_device
from aimlib.training.loop import train
from aimlib.training.reproducibility import reproducible
from aimlib.training.run import Run
from aimlib.training.splits import fixed_order
from aimlib.training.timing import StepTimer

MLP = {"backbone": {"name": "mlp", "widths": [16]}}
STILL = {"name": "sgd", "learning_rate": 1e-12, "momentum": 0.0}


def test_the_outcome_is_complete_and_consistent() -> None:
    data, seen = data_set(), []
    outcome = train(run_config(model=AIM, training__epochs=3), data, on_epoch=seen.append)
    assert (outcome.status, outcome.reason, outcome.attempts) == ("finished", None, 1)
    assert [row["epoch"] for row in outcome.epochs] == [1, 2, 3]
    assert seen == outcome.epochs
    assert all(set(row) == {column.name for column in EPOCHS} for row in outcome.epochs)
    assert outcome.images == (27, 9, 18)
    assert outcome.predictions.shape == (3, 18)
    assert outcome.predictions.dtype == np.uint8
    for row, predicted in zip(outcome.epochs, outcome.predictions, strict=True):
        assert row["test_accuracy"] == pytest.approx((predicted == data.test.labels).mean())
        assert row["seconds"] > 0
        assert row["learning_rate"] == 0.05
    assert outcome.selected_epoch == 3
    assert outcome.selected == {key: outcome.epochs[2][key] for key in outcome.selected}
    assert set(outcome.selected) < {column.name for column in EPOCHS}


def test_equal_configurations_are_bitwise_identical_and_different_seeds_are_not() -> None:
    one, two, other = (
        train(run_config(model=AIM, seed=seed, training__augmentation={"rotation": 0.1}), data_set())
        for seed in (0, 0, 1)
    )
    assert without_clock(one) == without_clock(two)
    assert one.epochs[0]["train_loss"] != other.epochs[0]["train_loss"]


@pytest.mark.parametrize("arm", [{"backbone": AIM["backbone"]}, AIM], ids=["baseline", "aim"])
def test_a_network_learns(arm: dict[str, Any]) -> None:
    outcome = train(run_config(model=arm, training__epochs=8, training__optimizer="adam"), data_set(train=90, test=30))
    assert outcome.epochs[-1]["train_loss"] < 0.7 * outcome.epochs[0]["train_loss"]
    assert outcome.epochs[-1]["test_accuracy"] > 0.7


@pytest.mark.parametrize(("smoothing", "scaling"), [(0.0, "raw"), (0.3, "raw"), (0.3, "standardise")])
def test_the_loss_is_the_cross_entropy_with_smoothing_on_scaled_pixels(smoothing: float, scaling: str) -> None:
    data = data_set()
    config = run_config(
        model=MLP,
        training__optimizer=STILL,
        training__epochs=1,
        training__batch_size=100,
        training__validation_fraction=0.0,
        training__label_smoothing=smoothing,
        training__input_scaling=scaling,
    )
    row = train(config, data).epochs[0]
    network = build(model(**MLP), SHAPE, 0)

    def loss(images: Any, smoothing: float) -> float:
        x = torch.from_numpy(images.pixels).permute(0, 3, 1, 2).float()
        if scaling == "standardise":
            x = (x - float(data.train.pixels.mean())) / float(data.train.pixels.std())
        labels = torch.from_numpy(images.labels)
        return nn.functional.cross_entropy(network(x), labels, label_smoothing=smoothing).item()

    assert row["train_loss"] == pytest.approx(loss(data.train, smoothing), rel=1e-4)
    assert row["test_loss"] == pytest.approx(loss(data.test, 0.0), rel=1e-4)  # smoothed only in training


def test_top5_counts_images_whose_true_class_is_among_the_five_best() -> None:
    classes = 7
    data = data_set(classes=classes)
    config = run_config(model=MLP, training__optimizer=STILL, training__epochs=1, training__input_scaling="raw")
    outcome = train(config, data)
    network = build(model(**MLP), ImageShape(1, 8, 8, classes), config.seed).eval()
    x = torch.from_numpy(data.test.pixels).permute(0, 3, 1, 2).float()
    best = network(x).topk(5).indices.numpy()
    expected = np.mean([label in five for label, five in zip(data.test.labels, best, strict=True)])
    assert 0 < expected < 1
    assert outcome.selected["test_top5_accuracy"] == outcome.epochs[0]["test_top5_accuracy"] == pytest.approx(expected)


def test_top5_is_not_computed_for_five_classes_or_fewer() -> None:
    outcome = train(run_config(training__epochs=1), data_set(classes=5))
    assert outcome.selected["test_top5_accuracy"] is None


def test_without_validation_the_validation_columns_are_empty() -> None:
    outcome = train(run_config(training__validation_fraction=0.0), data_set())
    assert outcome.images == (36, 0, 18)
    assert all(row["validation_accuracy"] is row["validation_loss"] is None for row in outcome.epochs)
    assert outcome.selected["validation_accuracy"] is None
    assert outcome.selected["test_accuracy"] == outcome.epochs[-1]["test_accuracy"]


def test_bfloat16_trains_and_parameters_stay_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[Run] = []
    real = Run.__init__
    monkeypatch.setattr(
        Run, "__init__", lambda self, *given, **named: (real(self, *given, **named), runs.append(self))[0]
    )
    half, full = (train(run_config(model=AIM, training__precision=p), data_set()) for p in ("bfloat16", "float32"))
    assert half.status == "finished"
    assert half.epochs[0]["train_loss"] != full.epochs[0]["train_loss"]
    assert half.epochs[0]["train_loss"] == pytest.approx(full.epochs[0]["train_loss"], rel=0.1)
    assert {p.dtype for p in runs[0].network.parameters()} == {torch.float32}


@pytest.mark.parametrize("shuffle", [True, False])
def test_training_images_are_ordered_by_seed_and_epoch(shuffle: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    order: dict[int, list[int]] = {}
    real = Run.step

    def step(self: Run, batch: Any, epoch: int, following: Any = None) -> Any:
        order.setdefault(epoch, []).extend(batch.tolist())
        return real(self, batch, epoch, following)

    monkeypatch.setattr(Run, "step", step)
    data = data_set()
    train(run_config(training__shuffle=shuffle), data)
    assert sorted(order[1]) == sorted(order[2])
    assert len(set(order[1])) == 27
    assert (order[1] == order[2]) is not shuffle
    if not shuffle:
        assert order[1] == fixed_order(np.array(sorted(order[1])), data.train.names).tolist()


@pytest.mark.parametrize("arm", [MLP, AIM], ids=["baseline", "aim"])
def test_all_arms_with_the_same_seed_hold_out_the_same_images(arm: dict[str, Any]) -> None:
    run = Run(run_config(model=arm), data_set(), torch.device("cpu"))
    expected = Run(run_config(), data_set(), torch.device("cpu")).validation
    assert np.array_equal(run.validation, expected)


def test_early_stopping_ends_a_run() -> None:
    stopping = {"patience": 2, "min_delta": 0.99}
    outcome = train(
        run_config(model=MLP, training__epochs=9, training__early_stopping=stopping, training__optimizer=STILL),
        data_set(),
    )
    assert (outcome.status, len(outcome.epochs), outcome.selected_epoch) == ("finished", 3, 3)


def test_the_schedule_sets_the_rate_in_every_step() -> None:
    outcome = train(run_config(training__epochs=3, training__schedule="cosine"), data_set())
    last_steps = [number + 3 / 4 for number in range(3)]  # 27 images in batches of 8, 8, 8 and 3
    expected = [0.05 * 0.5 * (1 + np.cos(np.pi * time / 3)) for time in last_steps]
    assert [row["learning_rate"] for row in outcome.epochs] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"training__drop_last": True, "training__batch_size": 28},
            "no full batch of 28 in 27 training images; lower training.batch_size",
        ),
        (
            {"training__validation_fraction": 0.001},
            "training.validation_fraction=0.001 holds out none of 36 images in 3 classes; increase it",
        ),
        ({"training__validation_fraction": 0.99}, "images remain for training; lower training.validation_fraction"),
    ],
)
def test_data_that_does_not_fit_the_configuration_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        train(run_config(**changes), data_set())
    assert message in str(caught.value)


def test_drop_last_omits_the_incomplete_batch() -> None:
    kept, dropped = (
        train(run_config(training__epochs=1, training__drop_last=drop, training__optimizer=STILL), data_set())
        for drop in (False, True)
    )
    assert (round(kept.epochs[0]["train_accuracy"] * 27, 6)).is_integer()
    assert (round(dropped.epochs[0]["train_accuracy"] * 24, 6)).is_integer()
    assert kept.epochs[0]["train_loss"] != dropped.epochs[0]["train_loss"]


def flags() -> tuple[Any, ...]:
    return (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
    )


def test_global_flags_are_set_for_the_run_and_restored() -> None:
    before = flags()
    try:
        torch.set_num_threads(1)
        torch.backends.cudnn.benchmark = True
        outside = flags()
        with reproducible(threads=2, tf32=True):
            assert flags() == (2, True, True, False, True, True)
        assert flags() == outside
        with pytest.raises(ZeroDivisionError), reproducible(threads=2, tf32=False):
            _ = 1 / (flags() != (2, True, True, False, False, False))
        assert flags() == outside
        with reproducible(threads=None, tf32=False):
            assert torch.get_num_threads() == 1
    finally:
        torch.backends.cudnn.benchmark = before[3]
        torch.set_num_threads(before[0])


def test_a_run_sets_its_number_of_threads_and_restores_it() -> None:
    inside: list[int] = []
    train(run_config(model=MLP), data_set(), threads=2, on_epoch=lambda _: inside.append(torch.get_num_threads()))
    assert inside == [2, 2]
    assert torch.get_num_threads() == 1
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_device_for_a_run_is_chosen() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert device_name(torch.device("cpu"))


def test_the_step_timer_measures_without_lasting_effects() -> None:
    config, data = run_config(model=AIM), data_set()
    before = without_clock(train(config, data))
    train_seconds, evaluate_seconds = StepTimer(config, data, torch.device("cpu"), 1).measure(0.05, most=3)
    assert 0 < evaluate_seconds < 5
    assert 0 < train_seconds < 5
    assert without_clock(train(config, data)) == before
