"""Losses: values as in torch, run ids, reported values, and mistakes that are refused before anything starts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from tiny_runs import SHAPE, data_set, model, restored_registries, run_config, without_clock
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from aimlib.errors import ConfigError, DataError, UsageError
from aimlib.models import build
from aimlib.registry import losses
from aimlib.testing.cuda_graphs import cuda_graphs_on_cpu
from aimlib.training.loop import train
from aimlib.training.losses.base import Loss, build_loss, refuse_unusable_loss

MLP = {"backbone": {"name": "mlp", "widths": [16]}}
STILL = {"name": "sgd", "learning_rate": 1e-12, "momentum": 0.0}
COUNTS = torch.tensor([10, 20, 70])
LOGITS = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(12) % 3
HOT = functional.one_hot(LABELS, 3).float()
SOFT = 0.6 * HOT + 0.4 * HOT.roll(1, 0)
BALANCED = torch.tensor(
    compute_class_weight("balanced", classes=np.arange(3), y=np.repeat(np.arange(3), COUNTS))
).float()


def loss_of(counts: Tensor = COUNTS, **options: Any) -> Loss:
    loss = build_loss(losses.parse(options), counts, torch.device("cpu"))
    assert loss is not None
    return loss


@pytest.mark.parametrize(
    ("options", "targets", "expected"),
    [
        (
            {"name": "cross_entropy", "label_smoothing": 0.2, "weight": "balanced"},
            LABELS,
            functional.cross_entropy(LOGITS, LABELS, weight=BALANCED, label_smoothing=0.2),
        ),
        (
            {"name": "cross_entropy", "weight": [1, 2.5, 0]},
            LABELS,
            nn.CrossEntropyLoss(weight=torch.tensor([1, 2.5, 0]))(LOGITS, LABELS),
        ),
        (
            {"name": "cross_entropy", "label_smoothing": 0.1},
            SOFT,
            nn.CrossEntropyLoss(label_smoothing=0.1)(LOGITS, SOFT),
        ),
        ({"name": "multi_margin", "p": 2, "margin": 0.5}, LABELS, nn.MultiMarginLoss(p=2, margin=0.5)(LOGITS, LABELS)),
        (
            {"name": "multi_margin", "weight": "balanced"},
            LABELS,
            functional.multi_margin_loss(LOGITS, LABELS, weight=BALANCED),
        ),
        ({"name": "bce_with_logits"}, LABELS, nn.BCEWithLogitsLoss()(LOGITS, HOT)),
        (
            {"name": "bce_with_logits", "pos_weight": 3},
            SOFT,
            nn.BCEWithLogitsLoss(pos_weight=torch.tensor(3.0))(LOGITS, SOFT),
        ),
        ({"name": "focal", "gamma": 1.5}, LABELS, sigmoid_focal_loss(LOGITS, HOT, gamma=1.5, reduction="mean")),
        ({"name": "focal", "alpha": None}, LABELS, sigmoid_focal_loss(LOGITS, HOT, alpha=-1, reduction="mean")),
        ({"name": "mse"}, LABELS, nn.MSELoss()(LOGITS, HOT)),
    ],
)
def test_losses_have_the_same_values_as_in_torch(options: dict[str, Any], targets: Tensor, expected: Tensor) -> None:
    options = {key: float(value) if key == "pos_weight" else value for key, value in options.items()}
    if isinstance(options.get("weight"), list):
        options["weight"] = [float(value) for value in options["weight"]]
    assert torch.equal(loss_of(**options)(LOGITS, targets), expected)


def test_with_class_weights_soft_targets_for_one_class_are_equivalent_to_that_class() -> None:
    loss = loss_of(name="cross_entropy", label_smoothing=0.1, weight="balanced")
    torch.testing.assert_close(loss(LOGITS, HOT), loss(LOGITS, LABELS))


def test_cross_entropy_without_options_equals_the_default() -> None:
    usual, stated = run_config(), run_config(training__loss="cross_entropy")
    assert stated == usual
    assert stated == run_config(training__loss={"name": "cross_entropy", "label_smoothing": 0.0})
    other = run_config(training__loss={"name": "cross_entropy", "label_smoothing": 0.1})
    assert other.run_id("0" * 20) != usual.run_id("0" * 20) != run_config(training__loss="mse").run_id("0" * 20)


def test_a_smoothed_loss_trains_like_the_option_and_is_also_used_in_evaluation() -> None:
    data = data_set()
    option = train(run_config(training__label_smoothing=0.2), data)
    loss = train(run_config(training__loss={"name": "cross_entropy", "label_smoothing": 0.2}), data)
    assert loss.predictions.tolist() == option.predictions.tolist()
    for one, other in zip(loss.epochs, option.epochs, strict=True):
        assert one["train_loss"] == other["train_loss"]
        assert one["test_loss"] != other["test_loss"]


def test_evaluation_reports_the_mean_loss_over_the_images() -> None:
    data = data_set()
    config = run_config(
        model=MLP,
        training__optimizer=STILL,
        training__epochs=1,
        training__input_scaling="raw",
        training__validation_fraction=0.0,
        training__loss={"name": "multi_margin", "margin": 2.0},
    )
    row = train(config, data).epochs[0]
    logits = build(model(**MLP), SHAPE, 0)(torch.from_numpy(data.test.pixels).permute(0, 3, 1, 2).float())
    expected = functional.multi_margin_loss(logits, torch.from_numpy(data.test.labels), margin=2.0).item()
    assert row["test_loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["cross_entropy", "multi_margin", "bce_with_logits", "focal", "mse"])
def test_a_network_learns_with_every_loss(name: str) -> None:
    config = run_config(
        training__loss={"name": name, **({"label_smoothing": 0.1} if name == "cross_entropy" else {})},
        training__epochs=8,
        training__optimizer={"name": "adam", "learning_rate": 3e-3},
    )
    outcome = train(config, data_set(train=90, test=30))
    assert outcome.epochs[-1]["train_loss"] < 0.9 * outcome.epochs[0]["train_loss"]
    assert outcome.epochs[-1]["test_accuracy"] > 0.6


def test_images_in_an_incomplete_batch_are_left_out_of_every_loss() -> None:
    config = run_config(training__loss="mse", training__evaluation_drop_last=True, training__validation_fraction=0.0)
    outcome = train(config, data_set(test=9))  # 8 of 9 images count, and all are predicted in one batch
    assert np.isfinite([row["test_loss"] for row in outcome.epochs]).all()
    last = train(
        run_config(training__loss="mse", training__evaluation_drop_last=True, training__batch_size=3), data_set(test=8)
    )
    assert np.isfinite([row["test_loss"] for row in last.epochs]).all()


def test_smoothing_together_with_a_loss_is_refused_with_the_correct_option() -> None:
    with pytest.raises(ConfigError, match=r"label_smoothing: 0\.1\}, or set label_smoothing to 0"):
        run_config(training__loss="mse", training__label_smoothing=0.1)


def test_weights_that_do_not_fit_the_classes_are_refused() -> None:
    with pytest.raises(UsageError, match="has 2 weights for 3 classes"):
        loss_of(name="cross_entropy", weight=[1.0, 2.0])
    with pytest.raises(DataError, match="class number 1 has no training images"):
        loss_of(torch.tensor([3, 0, 1]), name="cross_entropy", weight="balanced")


def own(name: str, **members: Any) -> None:
    losses.register(name)(type("Own", (Loss,), {"__module__": "elsewhere", "__qualname__": "Own", **members}))


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda self, x, y: x.sum(dim=1), r"it returned a tensor of shape \(4,\)"),
        (lambda self, x, y: 1.0, "it returned a float"),
        (
            lambda self, x, y: x.sum() * float("nan"),
            r"must return a finite scalar .* it returned a tensor of shape \(\) with the value nan",
        ),
        (lambda self, x, y: x.detach().sum(), "with a gradient"),
        (lambda self, x, y: (x @ x).mean(), "fails for 7 classes: RuntimeError: mat1 and mat2"),
    ],
)
def test_a_loss_that_does_not_return_a_scalar_is_refused(forward: Any, message: str) -> None:
    with restored_registries():
        own("own_bad", forward=forward)
        with pytest.raises(UsageError, match=message):
            refuse_unusable_loss(losses.parse("own_bad"), 7)


def test_a_loss_with_parameters_is_refused_because_they_would_not_be_trained() -> None:
    def start(self: Loss, config: Any, class_counts: Tensor) -> None:
        Loss.__init__(self, config, class_counts)
        self.temperature = nn.Parameter(torch.ones(()))

    with restored_registries():
        own("own_warm", __init__=start, forward=lambda self, x, y: (x * self.temperature).mean())
        with pytest.raises(UsageError, match=r"has parameters \(temperature\), which would be neither trained"):
            train(run_config(training__loss="own_warm"), data_set())


def reads_back(self: Loss, logits: Tensor, labels: Tensor) -> Tensor:
    scale = logits.detach().abs().max().item()
    return functional.cross_entropy(logits / scale, labels)


def test_a_loss_that_reads_values_back_runs_eagerly_while_others_are_captured() -> None:
    with restored_registries(), cuda_graphs_on_cpu():
        own("own_reading", capturable=False, forward=reads_back)
        config = run_config(training__loss="own_reading")
        assert train(config, data_set()).step == "eager"
        with pytest.raises(UsageError, match="graph: loss 'own_reading' reads values back from the device"):
            train(run_config(training__loss="own_reading", training__step="graph"), data_set())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["focal", "own_reading"])
def test_compiled_steps_accept_any_loss(name: str) -> None:
    with restored_registries():
        own("own_reading", capturable=False, forward=reads_back)
        options: dict[str, Any] = {"training__loss": name, "training__optimizer": "adamw"}
        compiled = train(run_config(**options, training__step="compiled"), data_set())
        eager = train(run_config(**options), data_set())
    assert compiled.step == "compiled"
    assert compiled.epochs[-1]["train_loss"] == pytest.approx(eager.epochs[-1]["train_loss"], rel=0.01)


def test_the_loss_is_not_part_of_the_runs_state() -> None:
    config = run_config(training__loss={"name": "cross_entropy", "weight": "balanced"})
    assert without_clock(train(config, data_set())) == without_clock(train(config, data_set()))
