"""Every built-in plugin passes the conformance tests that third parties use as base classes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import restored_registries
from torch import Tensor

import aimlib.testing
from aimlib.memory.sources.base import MemorySource
from aimlib.memory.structure import Layer
from aimlib.placements.base import Placement
from aimlib.registry import (
    Registry,
    augmentations,
    backbones,
    callbacks,
    controls,
    losses,
    memories,
    optimizers,
    placements,
    schedules,
    selections,
    trainers,
    updates,
)
from aimlib.testing import (
    AugmentationConformance,
    BackboneConformance,
    CallbackConformance,
    ControlConformance,
    LossConformance,
    MemorySourceConformance,
    OptimizerConformance,
    PlacementConformance,
    ScheduleConformance,
    SelectionConformance,
    TrainerConformance,
    UpdateConformance,
)
from aimlib.testing.conformance import Conformance
from aimlib.testing.placements import layers_of
from aimlib.training.augmentations import Augmentation
from aimlib.training.callbacks import Callback, RunView
from aimlib.training.losses.base import Loss
from aimlib.training.optimizers._sgd import Sgd
from aimlib.training.own.base import TrainingCode
from aimlib.training.own.config import OwnRunConfig
from aimlib.training.own.run import OwnRun
from aimlib.training.schedules.base import Schedule
from aimlib.training.selections.base import Selection
from aimlib.updates.base import MemoryUpdate

FAMILIES_WITH_TESTS = (
    augmentations,
    backbones,
    callbacks,
    controls,
    losses,
    memories,
    optimizers,
    placements,
    schedules,
    selections,
    updates,
)


class TestConvOnes(MemorySourceConformance):
    name = "conv_ones"


class TestPlainParameter(MemorySourceConformance):
    name = "parameter"


class TestConvOnesFull(MemorySourceConformance):
    name = "conv_ones"
    options = {**MemorySourceConformance.options, "kernel": "full"}


class TestDenseOnes(MemorySourceConformance):
    name = "dense_ones"
    options = {**MemorySourceConformance.options, "inputs": 6}


class TestNoise(MemorySourceConformance):
    name = "noise"


class TestNoisePerImage(MemorySourceConformance):
    name = "noise"
    options = {**MemorySourceConformance.options, "per": "image"}


class TestGated(UpdateConformance):
    name = "gated"
    options = {"hidden": 5}


class TestResidual(UpdateConformance):
    name = "residual"
    options = {"hidden": 5}


class TestAttention(UpdateConformance):
    name = "attention"
    options = {"hidden": 6, "heads": 2, "most_side": 4}


class TestConvSigmoid(UpdateConformance):
    name = "conv_sigmoid"
    options = {"filters": [3, 3, 4]}


class TestEveryLayer(PlacementConformance):
    name = "every_layer"


class TestStageOnly(PlacementConformance):
    name = "stage_only"


class TestInputOnly(PlacementConformance):
    name = "input_only"


class TestBlockEntry(PlacementConformance):
    name = "block_entry"


class TestSmallResNet(BackboneConformance):
    name = "small_resnet"
    options = {"widths": [4, 5], "blocks": [1, 2]}


class TestSmallSEResNet(BackboneConformance):
    name = "small_se_resnet"
    options = {"widths": [4, 8], "blocks": [1, 2]}


class TestSmallSEResNetConstant(BackboneConformance):
    name = "small_se_resnet"
    options = {"widths": [4, 8], "blocks": [1, 2], "gate": "constant"}


class TestResNet50(BackboneConformance):
    name = "resnet50"
    options = {"widths": [4, 4, 5, 6]}


class TestVgg16Bn(BackboneConformance):
    name = "vgg16_bn"
    options = {"widths": [4, 4, 5, 4, 4], "dense": [6, 7]}


class TestMlp(BackboneConformance):
    name = "mlp"
    options = {"widths": [6, 5]}


class TestResNet50Keras(BackboneConformance):
    name = "resnet50_keras"
    options = {"widths": [4, 5], "blocks": [1, 2]}


class TestVgg16(BackboneConformance):
    name = "vgg16"
    options = {"widths": [4, 4, 5, 4, 4], "dense": [6, 7]}


class TestTorchvision(BackboneConformance):
    name = "torchvision"
    options = {"architecture": "squeezenet1_1"}


class TestLayers(PlacementConformance):
    name = "layers"
    options = {"names": ["*"]}


class TestMatchedParameters(ControlConformance):
    name = "matched_parameters"
    widens = True
    options = {"tolerance": 0.05}


class TestMatchedMultiplyAdds(ControlConformance):
    name = "matched_multiply_adds"
    widens = True
    options = {"tolerance": 0.05}


class TestFrozenMemory(ControlConformance):
    name = "frozen_memory"


class TestPermutedMemory(ControlConformance):
    name = "permuted_memory"


class TestPositionBias(ControlConformance):
    name = "position_bias"


class TestCrossEntropy(LossConformance):
    name = "cross_entropy"
    options = {"label_smoothing": 0.1, "weight": [1.0, 0.5, 2.0]}


class TestMultiMargin(LossConformance):
    name = "multi_margin"
    options = {"p": 2, "weight": "balanced"}


class TestBceWithLogits(LossConformance):
    name = "bce_with_logits"
    options = {"pos_weight": 2.0}


class TestFocal(LossConformance):
    name = "focal"


class TestMse(LossConformance):
    name = "mse"


class TestRandAugment(AugmentationConformance):
    name = "rand_augment"


class TestTrivialAugmentWide(AugmentationConformance):
    name = "trivial_augment_wide"


class TestAutoAugment(AugmentationConformance):
    name = "auto_augment"
    options = {"policy": "cifar10"}


class TestAugMix(AugmentationConformance):
    name = "aug_mix"


class TestRandomErasing(AugmentationConformance):
    name = "random_erasing"
    options = {"p": 1.0, "value": "random"}


class TestColorJitter(AugmentationConformance):
    name = "color_jitter"
    options = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}


class TestRandomResizedCrop(AugmentationConformance):
    name = "random_resized_crop"


class TestRandomCrop(AugmentationConformance):
    name = "random_crop"
    options = {"padding": 2, "padding_mode": "reflect"}


class TestRandomHorizontalFlip(AugmentationConformance):
    name = "random_horizontal_flip"


class TestRandomRotation(AugmentationConformance):
    name = "random_rotation"
    options = {"interpolation": "bilinear"}


class TestRandomAffine(AugmentationConformance):
    name = "random_affine"
    options = {"degrees": 10.0, "translate": [0.1, 0.1], "scale": [0.9, 1.1], "shear": [-5.0, 5.0]}


class TestGaussianBlur(AugmentationConformance):
    name = "gaussian_blur"


class TestRandomGrayscale(AugmentationConformance):
    name = "random_grayscale"
    options = {"p": 0.5}


class TestMixup(AugmentationConformance):
    name = "mixup"
    options = {"alpha": 0.4}


class TestCutmix(AugmentationConformance):
    name = "cutmix"


class TestMixupOrCutmix(AugmentationConformance):
    name = "mixup_or_cutmix"


class TestSgd(OptimizerConformance):
    name = "sgd"
    options = {"nesterov": True, "learning_rate": 0.01}


class TestAdam(OptimizerConformance):
    name = "adam"


class TestAdamAsRun(OptimizerConformance):
    name = "adam"
    options = {"epsilon_on": "uncorrected"}


class TestAdamW(OptimizerConformance):
    name = "adamw"


class TestRMSprop(OptimizerConformance):
    name = "rmsprop"
    options = {"momentum": 0.9, "centered": True, "learning_rate": 0.001}


class TestNAdam(OptimizerConformance):
    name = "nadam"
    options = {"betas": [0.8, 0.99], "weight_decay": 0.01, "decoupled_weight_decay": True}


class TestRAdam(OptimizerConformance):
    name = "radam"
    options = {"weight_decay": 0.01}


class TestAdagrad(OptimizerConformance):
    name = "adagrad"
    options = {"lr_decay": 0.01, "initial_accumulator_value": 0.1}


class TestAdadelta(OptimizerConformance):
    name = "adadelta"


class TestAdamax(OptimizerConformance):
    name = "adamax"


class TestCosine(ScheduleConformance):
    name = "cosine"
    options = {"warmup_epochs": 1.5}


class TestPlateau(ScheduleConformance):
    name = "plateau"
    options = {"patience": 1}


class TestStep(ScheduleConformance):
    name = "step"
    options = {"step_size": 2}


class TestMultiStep(ScheduleConformance):
    name = "multi_step"
    options = {"milestones": [1, 4]}


class TestExponential(ScheduleConformance):
    name = "exponential"
    options = {"gamma": 0.7}


class TestLinear(ScheduleConformance):
    name = "linear"


class TestPolynomial(ScheduleConformance):
    name = "polynomial"
    options = {"power": 2.0}


class TestCosineWarmRestarts(ScheduleConformance):
    name = "cosine_warm_restarts"
    options = {"T_0": 1, "T_mult": 2}


class TestOneCycle(ScheduleConformance):
    name = "one_cycle"
    options = {"three_phase": True}


class TestWarmup(ScheduleConformance):
    name = "warmup"
    options = {"warmup_epochs": 1, "schedule": {"name": "plateau", "patience": 1}}


class TestGradientNorm(CallbackConformance):
    name = "gradient_norm"


class TestStopAtAccuracy(CallbackConformance):
    name = "stop_at_accuracy"
    options = {"accuracy": 0.3, "monitor": "train"}


class TestLastEpoch(SelectionConformance):
    name = "last_epoch"


class TestBestValidation(SelectionConformance):
    name = "best_validation"


class TestBestTest(SelectionConformance):
    name = "best_test"


def covered(family: Registry) -> set[str]:
    """Return the names of the plugins in a family that are covered by a test class in this module."""
    found = [value for value in globals().values() if isinstance(value, type) and issubclass(value, Conformance)]
    return {cls.name for cls in found if cls.__name__.startswith("Test") and cls.registry is family}


def left_out(family: Registry) -> set[str]:
    builtin = {info.name for info in family.plugins() if info.module.startswith("aimlib.")}
    return builtin - covered(family)


@pytest.mark.parametrize("family", FAMILIES_WITH_TESTS, ids=lambda family: family.family)
def test_no_built_in_plugin_is_omitted(family: Registry) -> None:
    assert len(covered(family)) >= 1
    assert left_out(family) == set()


def test_an_omitted_plugin_is_detected() -> None:
    with restored_registries():

        class Unheard(Placement):
            __module__ = "aimlib.placements._unheard"

            def reads(self, layers: object) -> list[str]:
                return []

        placements.register("unheard")(Unheard)
        assert left_out(placements) == {"unheard"}


def failures(case: Conformance) -> set[str]:
    """Call the tests of a conformance class without pytest, and return the names of the tests that fail."""
    failed = set()
    for name in dir(case):
        if name.startswith("test_"):
            try:
                getattr(case, name)()
            except Exception:
                failed.add(name)
    return failed


def test_conformance_tests_detect_a_bad_placement() -> None:
    with restored_registries():

        @placements.register("twice")
        class Twice(Placement):
            """A placement that returns some layers twice, and a layer that does not exist."""

            def reads(self, layers: list[Layer]) -> list[str]:
                return [layers[0].name, layers[0].name, "nowhere"]

        case = type("Case", (PlacementConformance,), {"name": "twice"})()
        assert failures(case) == {
            "test_names_layers_of_the_network_once",
            "test_network_without_layers",
            "test_source_says_where_the_idea_is_from",
        }


def test_conformance_tests_detect_a_bad_memory_source() -> None:
    with restored_registries():

        @memories.register("bad")
        class Bad(MemorySource):
            """A source with swapped rows and columns, undeclared values, a detached parameter, and too many degrees of
            freedom.
            """

            source, initial_values = "a test", "rules"

            def __init__(self, config: object) -> None:
                super().__init__(config)
                size = self.config
                self.values = torch.nn.Parameter(torch.randn(1, size.channels, size.columns, size.rows))

            def forward(self, batch: int) -> Tensor:
                return self.values.detach()

            @property
            def degrees_of_freedom(self) -> int:
                return 10**6

        case = type("Case", (MemorySourceConformance,), {"name": "bad"})()
        assert failures(case) >= {
            "test_memory_has_the_configured_size",
            "test_every_parameter_declares_its_start",
            "test_gradient_reaches_every_parameter",
            "test_degrees_of_freedom_are_possible",
            "test_initial_scale_is_a_factor_on_the_start",
            "test_odd_sizes",
            "test_meta_device",
        }


def test_conformance_tests_detect_a_bad_update() -> None:
    with restored_registries():

        @updates.register("bad")
        class Bad(MemoryUpdate):
            """An update that detaches the features, draws random numbers, and swaps height and width."""

            source = "a test"

            def forward(self, features: Tensor, memory_NCHW: Tensor) -> Tensor:
                chance = torch.rand(len(features), 1, 1, 1)
                return (memory_NCHW + chance + features.detach().flatten(1).mean(1)[:, None, None, None]).mT

        case = type("Case", (UpdateConformance,), {"name": "bad"})()
        assert failures(case) >= {
            "test_new_memory_has_the_size_of_the_old",
            "test_images_do_not_see_each_other_in_evaluation",
            "test_gradient_reaches_features_memory_and_parameters",
            "test_gradient_reaches_them_from_a_batch_of_one",
            "test_equal_steps_give_equal_bits",
            "test_channels_last",
            "test_meta_device",
        }


@pytest.mark.parametrize(
    ("placement", "backbone", "expected"),
    [
        ("every_layer", "mlp", ["fc1", "fc2", "fc"]),
        ("input_only", "mlp", ["fc1"]),
        ("block_entry", "mlp", ["fc1", "fc2"]),
        ("input_only", "small_resnet", ["conv1"]),
        ("stage_only", "small_resnet", ["layer1.0.conv1", "layer2.0.conv1", "layer3.0.conv1"]),
        ("stage_only", "resnet50", [f"layer{i}.0.conv1" for i in (1, 2, 3, 4)]),
        (
            "block_entry",
            "resnet50",
            [f"layer{i + 1}.{j}.conv1" for i, n in enumerate((3, 4, 6, 3)) for j in range(n)],
        ),
        ("stage_only", "vgg16_bn", [f"features.{i}" for i in (0, 7, 14, 24, 34)]),
        ("block_entry", "vgg16_bn", [f"features.{i}" for i in (0, 7, 14, 24, 34)]),
        ("input_only", "vgg16_bn", ["features.0"]),
    ],
)
def test_placements_select_exactly_the_documented_layers(placement: str, backbone: str, expected: list[str]) -> None:
    chosen = placements.create(placements.parse(placement))
    assert list(chosen.reads(layers_of(backbone))) == expected


def test_every_layer_includes_shortcuts() -> None:
    network, _ = aimlib.testing.placements.network_on_meta("resnet50")
    all_layers = {
        name for name, module in network.named_modules() if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear))
    }
    chosen = set(placements.create(placements.parse("every_layer")).reads(layers_of("resnet50")))
    assert chosen == all_layers
    assert {"layer1.0.downsample.0", "fc", "conv1"} <= chosen
    assert len(chosen) == 54  # 53 convolutions and one dense layer


def test_an_unknown_attribute_of_the_package_is_an_error() -> None:
    with pytest.raises(AttributeError, match="NoSuchConformance"):
        aimlib.testing.NoSuchConformance  # noqa: B018


def test_conformance_tests_detect_a_bad_loss() -> None:
    with restored_registries():

        @losses.register("drifting")
        class Drifting(Loss):
            """A loss with the wrong sign that counts its calls."""

            def forward(self, logits_BC: Tensor, targets: Tensor) -> Tensor:
                self.class_counts += 1
                return self.class_counts.sum() + logits_BC.gather(1, targets[:, None]).mean()

        case = type("Case", (LossConformance,), {"name": "drifting"})()
        assert failures(case) == {
            "test_it_keeps_nothing_between_batches",
            "test_runs_have_the_same_bits_when_they_are_interrupted",
            "test_source_says_where_the_idea_is_from",
            "test_the_order_of_a_batch_does_not_matter",
            "test_the_right_class_is_better_than_a_wrong_one",
            "test_a_small_step_against_the_gradient_lowers_it",
        }


def test_conformance_tests_detect_a_bad_augmentation() -> None:
    with restored_registries():

        @augmentations.register("counting")
        class Counting(Augmentation):
            """An augmentation that draws from its own generator, which is never restored."""

            def __init__(self, config: object, shape: object) -> None:
                super().__init__(config, shape)  # type: ignore[arg-type]
                self.generator = torch.Generator().manual_seed(0)

            def augment(self, image_CHW: Tensor) -> Tensor:
                return image_CHW // torch.randint(1, 9, (), generator=self.generator)

        case = type("Case", (AugmentationConformance,), {"name": "counting"})()
        assert failures(case) == {
            "test_an_image_does_not_depend_on_its_batch",
            "test_it_keeps_nothing_between_batches",
            "test_runs_have_the_same_bits_when_they_are_interrupted",
            "test_source_says_where_the_idea_is_from",
            "test_the_stream_decides_what_is_drawn",
        }


def test_conformance_tests_detect_a_bad_optimizer_and_a_bad_schedule() -> None:
    with restored_registries():

        @optimizers.register("stubborn")
        class Stubborn(Sgd):
            """An optimizer that always uses its initial learning rate."""

            def build(self, parameters: object) -> torch.optim.Optimizer:
                optimizer = super().build(parameters)  # type: ignore[arg-type]
                rate = self.config.learning_rate

                def keep(changed: torch.optim.Optimizer, *_: object) -> None:
                    for group in changed.param_groups:
                        group["lr"] = rate

                optimizer.register_step_pre_hook(keep)
                return optimizer

        @schedules.register("forgetful")
        class Forgetful(Schedule):
            """A schedule whose rate falls with every call."""

            def rate(self, time: float) -> float:
                self.learning_rate *= 0.9
                return self.learning_rate

        case = type("Case", (OptimizerConformance,), {"name": "stubborn"})()
        assert failures(case) == {"test_a_learning_rate_of_zero_changes_nothing"}
        case = type("Case", (ScheduleConformance,), {"name": "forgetful"})()
        assert failures(case) == {
            "test_asking_changes_nothing",
            "test_it_is_replayed_from_the_history",
            "test_runs_have_the_same_bits_when_they_are_interrupted",
            "test_source_says_where_the_idea_is_from",
        }


def test_conformance_tests_detect_a_bad_callback() -> None:
    with restored_registries():

        @callbacks.register("absent_minded")
        class AbsentMinded(Callback):
            """A callback that counts steps and loses the count when the run is interrupted."""

            steps = 0

            def on_step_end(self, run: RunView) -> None:
                self.steps += 1
                run.log("steps", float(self.steps))

        case = type("Case", (CallbackConformance,), {"name": "absent_minded"})()
        assert failures(case) == {
            "test_runs_have_the_same_bits_when_they_are_interrupted",
            "test_source_says_where_the_idea_is_from",
        }


def test_a_selection_rule_that_does_not_declare_its_use_of_test_data_is_detected() -> None:
    with restored_registries():

        @selections.register("peeking")
        class Peeking(Selection):
            """A rule that selects the epoch with the best product of test and validation accuracy, and sorts the rows
            in place."""

            source = "a test"

            def select(self, epochs: Any) -> int:
                epochs.sort(key=lambda row: -row["test_accuracy"] * row["validation_accuracy"])
                return int(epochs[0]["epoch"])

        case = type("Case", (SelectionConformance,), {"name": "peeking"})()
        assert failures(case) == {
            "test_it_depends_on_the_run_alone",
            "test_test_measures_decide_only_where_it_is_an_oracle",
            "test_it_needs_validation_images_only_where_it_says_so",
        }


class Nearest(TrainingCode):
    """Predicts the class of the nearest training image, using more images in each epoch, and saves after each epoch."""

    source = "a test"

    def train(self, config: OwnRunConfig, run: OwnRun) -> None:
        """Report one epoch after another."""
        folder = run.restore()
        done = 0 if folder is None else int((folder / "done").read_text())
        train, test = run.split("train"), run.split("test")
        order = run.generator("order").permutation(len(train.labels))
        for epoch in range(done + 1, config.training.epochs + 1):
            chosen = order[: 5 * epoch]
            known, asked = (images.reshape(len(images), -1).astype(float) for images in (train.pixels, test.pixels))
            distances = ((asked[:, None] - known[None, chosen]) ** 2).sum(axis=2)
            found = train.labels[chosen][distances.argmin(axis=1)]
            run.predictions("test", test.names, found)
            run.report(epoch=epoch)
            with tempfile.TemporaryDirectory() as folder_of_state:
                (Path(folder_of_state) / "done").write_text(str(epoch))
                run.checkpoint(folder_of_state)


@pytest.fixture
def nearest() -> Iterator[type[TrainerConformance]]:
    with restored_registries():
        trainers.register("nearest")(type("Nearest", (Nearest,), {"__doc__": Nearest.__doc__}))
        yield type("Case", (TrainerConformance,), {"name": "nearest", "epochs": 3})


def test_training_code_passes_its_conformance_tests(nearest: type[TrainerConformance]) -> None:
    assert failures(nearest()) == set()


def test_training_code_that_ignores_its_seed_is_detected() -> None:
    with restored_registries():

        @trainers.register("guessing")
        class Guessing(TrainingCode):
            """Training code that guesses at random, regardless of the run's seed."""

            source = "a test"

            def train(self, config: OwnRunConfig, run: OwnRun) -> None:
                test = run.split("test")
                guess = np.random.default_rng().integers(0, 3, len(test.labels))
                run.predictions("test", test.names, guess)
                run.report(epoch=1)

        case = type("Case", (TrainerConformance,), {"name": "guessing"})()
        assert failures(case) == {"test_the_seed_decides_the_run", "test_it_continues_after_every_interruption"}
        allowed = type("Case", (TrainerConformance,), {"name": "guessing", "repeats": False})()
        assert failures(allowed) == set()
