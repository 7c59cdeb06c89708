"""Features that only the author's recipe uses: Keras's Adam, his augmentation, monitoring, evaluation and omitted
images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from tiny_runs import AIM, data_set, run_config, without_clock
from torch import nn

from aimlib.config import AugmentationConfig, TrainingConfig
from aimlib.errors import ConfigError, DataError
from aimlib.registry import datasets, optimizers
from aimlib.training.augmentation import affine, augment, draws
from aimlib.training.loop import train
from aimlib.training.protocols import PROTOCOLS
from aimlib.training.run import Run
from aimlib.training.splits import batches, fixed_order, hold_out


def keras_adam(start: float, gradients: list[float], rate: float, epsilon: float) -> list[float]:
    """Return the values that Keras's Adam computes, according to its documentation: epsilon is added to the root of the
    uncorrected second moment."""
    value, first, second, values = start, 0.0, 0.0, []
    for step, gradient in enumerate(gradients, start=1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        corrected = rate * math.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        value -= corrected * first / (math.sqrt(second) + epsilon)
        values.append(value)
    return values


@pytest.mark.parametrize("size", [1.0, 1e-6, 1e-8])
@pytest.mark.parametrize("resumed", [False, True])
def test_adam_adds_epsilon_where_keras_does(size: float, resumed: bool) -> None:
    gradients = [size * g for g in np.random.default_rng(0).normal(1, 1, 30)]
    options = {"name": "adam", "learning_rate": 1e-3, "epsilon": 1e-7, "epsilon_on": "uncorrected"}
    parameter = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))
    optimizer = optimizers.create(optimizers.parse(options)).build([parameter])
    reached = []
    for number, gradient in enumerate(gradients):
        if resumed and number == 10:  # as from a checkpoint
            state = optimizer.state_dict()
            optimizer = optimizers.create(optimizers.parse(options)).build([parameter])
            optimizer.load_state_dict(state)
        parameter.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        reached.append(parameter.item())
    assert reached == pytest.approx(keras_adam(0.5, gradients, 1e-3, 1e-7), rel=1e-12)
    assert optimizer.param_groups[0]["eps"] == 1e-7


def test_the_position_of_epsilon_matters_for_small_gradients() -> None:
    moved = {}
    for where in ("corrected", "uncorrected"):
        parameter = nn.Parameter(torch.zeros(()))
        options = {"name": "adam", "learning_rate": 1e-3, "epsilon": 1e-7, "epsilon_on": where}
        optimizer = optimizers.create(optimizers.parse(options)).build([parameter])
        parameter.grad = torch.tensor(1e-7)
        optimizer.step()
        moved[where] = -parameter.item()
    assert moved["corrected"] == pytest.approx(5e-4, rel=1e-3)
    assert moved["uncorrected"] == pytest.approx(1e-3 / (1 + 1 / math.sqrt(0.001)), rel=1e-3)


def photo(side: int = 12) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (side, side)).astype(np.float32)


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image)[None, None]


def test_each_step_interpolates_and_reflects_separately() -> None:
    """The reference is rotation, then translation, each with scipy's bilinear interpolation and half-sample
    reflection."""
    config = AugmentationConfig(rotation=0.15, translation=0.1, resampling="each")
    table = torch.tensor([[[0.9, 0.8, 0.3, 0.9, 0.9, 0.5]]])
    angle = 0.8 * 0.15 * 2 * math.pi
    centre = np.array([5.5, 5.5])
    # From output position to input position, as (row, column) pairs.
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    turned = ndimage.affine_transform(photo(), turn, centre - turn @ centre, order=1, mode="reflect")
    moved = ndimage.shift(turned, (-0.6 * 0.1 * 12, 0.4 * 0.1 * 12), order=1, mode="reflect")
    torch.testing.assert_close(augment(tensor(photo()), table, config)[0, 0].numpy(), moved, rtol=0, atol=0.02)
    once = augment(tensor(photo()), table, config.model_copy(update={"resampling": "once"}))
    assert float((once[0, 0] - torch.from_numpy(moved)).abs().max()) > 5, (
        "a single interpolation yields a different image"
    )


def test_flips_in_separate_steps_are_exact() -> None:
    config = AugmentationConfig(horizontal_flip=0.5, vertical_flip=0.5, resampling="each")
    x = torch.from_numpy(np.stack([photo(), photo()]))[:, None]
    table = torch.full((1, 2, 6), 0.9)
    table[0, 0, 3] = table[0, 1, 4] = 0.1
    assert torch.equal(augment(x, table, config), torch.stack([x[0].flip(2), x[1].flip(1)]))


def test_a_batch_has_one_contrast_factor() -> None:
    x = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 255
    images = np.arange(5)
    per = {name: AugmentationConfig(contrast=0.1, contrast_per=name) for name in ("image", "batch")}
    table = draws(3, 1, images, per["batch"])
    mean = x.mean(dim=(2, 3), keepdim=True)
    factors = {name: ((augment(x, table, per[name]) - mean) / (x - mean)).flatten(1).median(dim=1)[0] for name in per}
    assert float(factors["batch"].std()) < 1e-4
    assert float(factors["image"].std()) > 0.005
    assert float(factors["batch"][0]) == pytest.approx(float(factors["image"][0]), abs=1e-4)


def test_crops_have_the_requested_areas_and_ratios() -> None:
    config = AugmentationConfig(crop_scale=0.25, crop_ratio=4 / 3)
    table = draws(0, 1, np.arange(2000), config)[0]
    maps = affine(table, config, 32, 32)
    columns, rows = maps[:, 0, 0], maps[:, 1, 1]
    assert bool((maps[:, [0, 1], [1, 0]] == 0).all())
    area, ratio = columns * rows, columns / rows
    assert float(area.min()) >= 0.25 * 0.99
    assert float(area.min()) < 0.27
    assert float(area.max()) > 0.95
    assert float(ratio.min()) >= 3 / 4 - 1e-5
    assert float(ratio.max()) <= 4 / 3 + 1e-5
    centres = maps[:, [0, 1], 2]
    sides = torch.stack([columns, rows], dim=1)
    assert bool((centres.abs() + sides <= 1 + 1e-5).all()), "no crop extends beyond the border"
    assert float(centres.mean()) == pytest.approx(0, abs=0.02)


def test_a_crop_of_the_entire_image_changes_nothing() -> None:
    config = AugmentationConfig(crop_scale=0.25)
    table = torch.full((1, 1, 10), 0.5)
    table[0, 0, 6] = 1.0
    torch.testing.assert_close(augment(tensor(photo()), table, config), tensor(photo()), rtol=0, atol=1e-2)


def test_a_crop_of_a_quarter_shows_that_quarter() -> None:
    """The upper left quarter is enlarged bilinearly by a factor of 2, so the center of every 2 x 2 patch is between
    pixels."""
    config = AugmentationConfig(crop_scale=0.25)
    table = torch.full((1, 1, 10), 0.5)
    table[0, 0, 6:] = torch.tensor([0.0, 0.5, 0.0, 0.0])
    out = augment(tensor(photo(8)), table, config)[0, 0]
    expected = nn.functional.interpolate(tensor(photo(8)), scale_factor=2, mode="bilinear")[0, 0, :8, :8]
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-2)


def test_a_crop_does_not_change_the_other_random_draws() -> None:
    images = np.arange(4)
    plain, cropped = AugmentationConfig(rotation=0.1), AugmentationConfig(rotation=0.1, crop_scale=0.5)
    assert torch.equal(draws(0, 1, images, cropped)[:, :, :6], draws(0, 1, images, plain))


def test_crop_and_separate_resampling_are_refused_together() -> None:
    with pytest.raises(ConfigError, match="crop_scale: a crop requires resampling: once"):
        run_config(training__augmentation={"crop_scale": 0.5, "resampling": "each"})


TEST_MONITORED: dict[str, Any] = {
    "training__monitor": "test",
    "training__validation_fraction": 0.0,
    "training__epochs": 12,
}


def test_early_stopping_and_plateau_can_use_the_test_accuracy() -> None:
    options = {**TEST_MONITORED, "training__schedule": {"name": "plateau", "patience": 1, "min_delta": 0.9}}
    outcome = train(run_config(**options, training__early_stopping={"patience": 4, "min_delta": 0.9}), data_set())
    assert len(outcome.epochs) == 5, "the first epoch counts as better, and the next four are not better by 0.9"
    assert [row["learning_rate"] for row in outcome.epochs] == pytest.approx([0.05, 0.05, 0.005, 0.0005, 5e-5])
    assert outcome.epochs[0]["validation_accuracy"] is None


def test_monitoring_the_test_accuracy_requires_a_rule_that_monitors() -> None:
    with pytest.raises(ConfigError, match="monitor: test has no effect"):
        run_config(training__monitor="test")


def test_an_evaluations_incomplete_last_batch_does_not_count() -> None:
    data = data_set(test=20)
    whole, dropped = (
        train(run_config(training__evaluation_drop_last=drop, training__epochs=2), data) for drop in (False, True)
    )
    assert np.array_equal(whole.predictions, dropped.predictions), "every image is predicted in both cases"
    counted = fixed_order(np.arange(20), data.test.names)[:16]
    for row, predicted in zip(dropped.epochs, dropped.predictions, strict=True):
        right = predicted == data.test.labels
        assert row["test_accuracy"] == pytest.approx(right[counted].mean())
    assert [row["train_loss"] for row in whole.epochs] == [row["train_loss"] for row in dropped.epochs]


def test_the_tensorflow_datasets_order_determines_the_first_and_the_omitted_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some training images are held out; the remaining images have the order of the entire split."""
    data, taken = data_set(train=70, test=20), []
    step = Run.step
    monkeypatch.setattr(Run, "step", lambda run, batch, *rest: taken.append(batch) or step(run, batch, *rest))
    config = run_config(training__order="tfds", training__shuffle=False, training__evaluation_drop_last=True)
    dropped = train(config, data)
    training, _ = hold_out(data.train.labels, config.training.validation_fraction, config.seed)
    order = fixed_order(training, data.train.names, "tfds", split="train", data="digits")
    assert np.array_equal(np.concatenate(taken), np.tile(order, 2)), "the same order in both epochs"
    counted = fixed_order(np.arange(20), data.test.names, "tfds", data="digits")[:16]
    assert set(counted) != set(fixed_order(np.arange(20), data.test.names)[:16])
    for row, predicted in zip(dropped.epochs, dropped.predictions, strict=True):
        assert row["test_accuracy"] == pytest.approx((predicted == data.test.labels)[counted].mean())


def test_an_evaluation_without_a_full_batch_is_refused() -> None:
    with pytest.raises(DataError, match=r"no full batch of 8 in 6 test images; .*evaluation_drop_last to false"):
        train(run_config(training__evaluation_drop_last=True), data_set(test=6))


def test_images_are_evaluated_in_a_single_order_that_mixes_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    data, seen = data_set(), []
    run = Run(run_config(), data, torch.device("cpu"))
    forward = run.network.forward

    def spy(x_BCHW: torch.Tensor) -> torch.Tensor:
        seen.append(x_BCHW)
        return forward(x_BCHW)

    monkeypatch.setattr(run.network, "forward", spy)
    _, test = run.evaluate()
    order = fixed_order(np.arange(18), data.test.names)
    pixels = torch.from_numpy(data.test.pixels[order]).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(torch.cat(seen)[-18:], run.scaling(pixels))
    with torch.no_grad():
        expected = run.network.eval()(run.scaling(torch.from_numpy(data.test.pixels).permute(0, 3, 1, 2).float()))
    assert np.array_equal(test.predictions, expected.argmax(dim=1).numpy())


def test_only_the_learning_rate_of_the_source_is_scaled() -> None:
    """With plain SGD, one step moves the parameters of the source `source_lr_scale` times as far as without the option,
    and all other parameters just as far."""
    states = {}
    for scale in (1.0, 8.0):
        memory = {**AIM["memory"], "source_lr_scale": scale}
        options = {"optimizer": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.0}, "schedule": "cosine"}
        config = run_config(model={**AIM, "memory": memory}, **{f"training__{k}": v for k, v in options.items()})
        run = Run(config, data_set(), torch.device("cpu"))
        before = {name: value.clone() for name, value in run.network.state_dict().items()}
        run.network.train()
        for group in run.optimizer.param_groups:
            group["lr"] = 0.05 * group["lr_scale"]
        run.step(run.training[:8], 1)
        states[scale] = {name: value - before[name] for name, value in run.network.state_dict().items()}
    for name, moved in states[1.0].items():
        factor = 8 if name.startswith("source.") else 1
        if moved.dtype.is_floating_point:
            torch.testing.assert_close(states[8.0][name], factor * moved, rtol=1e-3, atol=1e-6)


def test_schedules_scale_both_rates_and_the_history_shows_the_networks_rate() -> None:
    memory = {**AIM["memory"], "source_lr_scale": 4.0}
    config = run_config(model={**AIM, "memory": memory}, training__schedule="cosine", training__epochs=3)
    run = Run(config, data_set(), torch.device("cpu"))
    run.epoch()
    network, source = run.optimizer.param_groups
    assert source["lr"] == pytest.approx(4 * network["lr"])
    assert run.history[0]["learning_rate"] == network["lr"]
    assert sum(p.numel() for p in source["params"]) == 4 * 4 + 4


def test_an_as_run_run_is_bitwise_identical_after_resuming_from_its_checkpoint(tmp_path: Path) -> None:
    memory = {**AIM["memory"], "source_lr_scale": 2.0}
    adam = {"name": "adam", "learning_rate": 1e-3, "epsilon": 1e-7, "epsilon_on": "uncorrected"}
    options = {**TEST_MONITORED, "training__epochs": 4, "training__optimizer": adam}
    config = run_config(model={**AIM, "memory": memory, "carry": {}}, **options, training__schedule="plateau")
    undisturbed = train(config, data_set())

    class Stopped(Exception):
        pass

    def stop(row: Any) -> None:
        if row["epoch"] == 2:
            raise Stopped

    keep: dict[str, Any] = {"checkpoint_directory": tmp_path, "checkpoint_share": math.inf}
    with pytest.raises(Stopped):
        train(config, data_set(), on_epoch=stop, **keep)
    assert without_clock(train(config, data_set(), **keep)) == without_clock(undisturbed)


def test_the_fixed_order_mixes_classes() -> None:
    """Given 12,000 photos of 120 breeds with typical names, batches of 16 contain more than 12 breeds on average."""
    names = tuple(
        f"n{2085620 + breed:08d}-Breed_{breed}/n{2085620 + breed:08d}_{10 * photo + breed}.jpg"
        for breed in range(120)
        for photo in range(100)
    )
    order = fixed_order(np.arange(12_000), names)
    distinct = [len(np.unique(batch // 100)) for batch in batches(order, 16, drop_last=True)]
    assert len(distinct) == 750
    expected = 120 * (1 - (119 / 120) ** 16)
    assert np.mean(distinct) > 12
    assert np.mean(distinct) == pytest.approx(expected, abs=0.2)


@pytest.mark.photos
def test_the_fixed_order_mixes_the_classes_of_real_photos(stanford_dogs_root: Path) -> None:
    options = {"name": "stanford_dogs", "classes": 20, "size": 16, "root": str(stanford_dogs_root)}
    data = datasets.create(datasets.parse(options)).load()
    order = fixed_order(np.arange(len(data.train.labels)), data.train.names)
    distinct = [len(np.unique(data.train.labels[batch])) for batch in batches(order, 16, drop_last=True)]
    assert np.mean(distinct) == pytest.approx(20 * (1 - (19 / 20) ** 16), abs=0.3)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_is_a_valid_training_configuration(name: str) -> None:
    protocol = PROTOCOLS[name]
    assert protocol.name == name
    assert protocol.source
    assert protocol.description
    assert set(protocol.common) <= {"data", "training"}
    training = TrainingConfig.parse(dict(protocol.common["training"]))
    datasets.parse({"name": "stanford_dogs", **protocol.common.get("data", {})})
    looks_at_test = training.monitor == "test" or training.selection.name == "best_test"
    assert looks_at_test == name.startswith("as_")


def test_as_run_matches_the_claims_table() -> None:
    common = PROTOCOLS["as_run"].common
    training = TrainingConfig.parse(dict(common["training"]))
    assert (training.epochs, training.batch_size, training.shuffle, training.drop_last) == (50, 16, False, True)
    assert training.input_scaling == "raw"
    assert (training.augmentation.rotation, training.augmentation.translation) == (0.15, 0.1)
    assert common["data"] == {"size": 224, "resize": "squash", "antialias": False}
    control, aim = PROTOCOLS["as_run"].baseline, PROTOCOLS["as_run"].aim
    assert control["training"]["augmentation"]["passes"] == 2
    assert aim["training"]["augmentation"]["passes"] == 1
    assert (control["model"]["backbone"]["stem_stride"], aim["model"]["backbone"]["stem_stride"]) == (2, 1)
    described = PROTOCOLS["as_described"]
    shared = {key: described.aim["model"][key] for key in described.baseline["model"]}
    assert shared == described.baseline["model"]
    assert described.aim["training"] == described.baseline["training"]
