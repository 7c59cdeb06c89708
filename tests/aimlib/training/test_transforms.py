"""Augmentations with torchvision's names draw from named streams, run in order, and use mixed labels in the loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import AIM, data_set, restored_registries, run_config, without_clock
from torch import Tensor
from torchvision.transforms import v2

from aimlib.config import RunConfig
from aimlib.datasets.base import DataSet, Images, ImageShape
from aimlib.errors import ConfigError, UsageError
from aimlib.registry import augmentations
from aimlib.seeding import seed_for
from aimlib.training.augmentations import Augmentation
from aimlib.training.loop import train
from aimlib.training.run import Run
from aimlib.training.steps.base import Inputs
from aimlib.training.transforms import refuse_unusable_transforms

CPU = torch.device("cpu")
RAW = {"training__input_scaling": "raw"}


def inputs(
    *transforms: Any, batch: tuple[int, ...] = (3, 1, 4), epoch: int = 2, data: Any = None, **more: Any
) -> Inputs:
    """Return a batch from a run with these transforms, as its steps receive it."""
    run = Run(run_config(training__transforms=list(transforms), **{**RAW, **more}), data or data_set(channels=3), CPU)
    return run.inputs(np.array(batch), epoch)


def stored(image: int, data: DataSet | None = None) -> Tensor:
    return torch.from_numpy((data or data_set(channels=3)).train.pixels[image]).permute(2, 0, 1)


def _interpolates(name: str) -> bool:
    return "interpolation" in augmentations.get(name).Config.model_fields


@pytest.mark.parametrize(
    ("options", "theirs"),
    [
        ({"name": "rand_augment", "num_ops": 3, "magnitude": 12}, v2.RandAugment(num_ops=3, magnitude=12)),
        ({"name": "trivial_augment_wide"}, v2.TrivialAugmentWide()),
        ({"name": "random_resized_crop", "scale": [0.2, 1.0]}, v2.RandomResizedCrop((8, 8), scale=(0.2, 1.0))),
        ({"name": "gaussian_blur", "kernel_size": 5}, v2.GaussianBlur(5)),
    ],
)
def test_an_image_is_changed_exactly_as_torchvision_changes_it_with_the_same_stream(
    options: dict[str, Any], theirs: v2.Transform
) -> None:
    found = inputs(options).x_BCHW
    for place, image in enumerate((3, 1, 4)):
        torch.manual_seed(seed_for(0, "transforms", f"{options['name']} 1", 2, image))
        assert torch.equal(found[place], theirs(stored(image)).float())


@pytest.mark.parametrize("name", [name for name in augmentations.names() if _interpolates(name)])
def test_torchvision_gets_its_own_type_of_interpolation(name: str) -> None:
    """Version 0.22 rejects the names, which newer versions accept."""
    kind: Any = augmentations.get(name)
    given = kind(kind.Config(interpolation="bilinear"), ImageShape(3, 8, 8, 2)).arguments()
    assert given["interpolation"] is v2.InterpolationMode.BILINEAR


def test_erasing_comes_after_scaling() -> None:
    usual = inputs(training__input_scaling="standardise", batch=tuple(range(12))).x_BCHW
    data = data_set(channels=3)
    run = Run(run_config(training__transforms=[{"name": "random_erasing", "p": 1.0}]), data, CPU)
    erased = run.inputs(np.arange(12), 2).x_BCHW
    kept = erased != 0
    assert 0 < (~kept).sum() < erased.numel() / 2
    assert usual.dtype == torch.uint8, "without transforms, the step scales"
    torch.testing.assert_close(erased[kept], run.scaling(usual)[kept])


def test_a_batch_is_mixed_exactly_as_torchvision_mixes_it_with_the_same_stream() -> None:
    found = inputs({"name": "mixup", "alpha": 0.3})
    x_BCHW, labels_B = torch.stack([stored(image) for image in (3, 1, 4)]).float(), torch.tensor([0, 1, 1])
    torch.manual_seed(seed_for(0, "batch transforms", "mixup 1", 2, 0))
    images, targets = v2.MixUp(alpha=0.3, num_classes=3)(x_BCHW, labels_B)
    assert torch.equal(found.x_BCHW, images)
    assert found.targets_BC is not None
    assert torch.equal(found.targets_BC, targets)
    assert torch.equal(found.labels_B, labels_B)
    assert torch.equal(found.classes_B(), targets.argmax(dim=1))


def test_mixed_labels_are_used_in_the_loss() -> None:
    data = data_set(channels=3)
    config = run_config(training__transforms=["cutmix"], training__label_smoothing=0.1, **RAW)
    run = Run(config, data, CPU)
    given = run.inputs(np.arange(8), 1)
    assert given.targets_BC is not None
    loss, logits = run.computation.loss_of(given)
    expected = torch.nn.functional.cross_entropy(logits, given.targets_BC, label_smoothing=0.1)
    assert torch.equal(loss, expected)
    assert not torch.equal(loss, torch.nn.functional.cross_entropy(logits, given.labels_B, label_smoothing=0.1))


def test_adding_a_transform_does_not_change_the_other_transforms_random_draws() -> None:
    blur, jitter = {"name": "gaussian_blur"}, {"name": "color_jitter", "brightness": 0.5}
    alone, second = inputs(jitter).x_BCHW, inputs(blur, jitter).x_BCHW
    brightness = [
        float(each.mean() / stored(image).float().mean()) for each, image in zip(alone, (3, 1, 4), strict=True)
    ]
    also = [float(each.mean() / stored(image).float().mean()) for each, image in zip(second, (3, 1, 4), strict=True)]
    assert brightness == pytest.approx(also, rel=0.1)
    twice = inputs(jitter, jitter).x_BCHW
    assert not torch.equal(twice, alone), "a second transform with the same name has its own draws"


def test_all_arms_with_the_same_seed_see_the_same_images() -> None:
    transforms = ["rand_augment", {"name": "random_erasing", "p": 1.0}, "mixup_or_cutmix"]
    one, other = (inputs(*transforms, model=model) for model in (run_config().model.model_dump(mode="json"), AIM))
    assert torch.equal(one.x_BCHW, other.x_BCHW)


def test_transforms_come_after_the_augmentation_whose_result_is_rounded_to_pixels() -> None:
    augmentation = {"training__augmentation": {"rotation": 0.2, "contrast": 0.5}}
    seen: list[Tensor] = []
    with restored_registries():

        @augmentations.register("own_watching")
        class Watching(Augmentation):
            """A transform that changes nothing and records its inputs."""

            def augment(self, image_CHW: Tensor) -> Tensor:
                seen.append(image_CHW.clone())
                return image_CHW

        found = inputs("own_watching", **augmentation).x_BCHW
        fine = data_set(channels=3)
        halves = Images(fine.train.pixels.astype(np.uint16) * 256 + 128, fine.train.labels, fine.train.names)
        twofold = inputs("own_watching", data=DataSet(halves, halves, fine.classes, "1" * 20)).x_BCHW
    run = Run(run_config(**RAW, **augmentation), data_set(channels=3), CPU)
    given = run.inputs(np.array((3, 1, 4)), 2)
    expected = run.computation._images(given)
    assert [image.dtype for image in seen] == [torch.uint8] * 6
    torch.testing.assert_close(found, expected.round().clamp(0, 255), rtol=0, atol=0)
    assert bool((twofold[0] == (stored(3).float() + 0.5).round()).all())


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        (["random_erasing", "rand_augment"], "transforms: 'rand_augment' must come before 'random_erasing'"),
        (["mixup", "random_erasing"], "'random_erasing' must come before 'mixup'"),
        (["mixup", "cutmix"], "'mixup' and 'cutmix' both mix a batch; keep one, or use mixup_or_cutmix"),
        (["rand_augmented"], "did you mean 'rand_augment'"),
        ([{"name": "gaussian_blur", "kernel_size": 4}], "transforms.0.kernel_size: must be odd; got 4"),
        ("rand_augment", r"transforms: must be a list; got 'rand_augment' \(text\); write \[rand_augment\]"),
    ],
)
def test_mistakes_are_reported_with_a_remedy(transforms: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_config(training__transforms=transforms)


def test_a_loss_for_single_classes_is_refused_with_mixed_images() -> None:
    with pytest.raises(ConfigError, match="'multi_margin' takes one class per image, but the transform 'mixup'"):
        run_config(training__transforms=["mixup"], training__loss="multi_margin")
    assert run_config(training__transforms=["mixup"], training__loss="bce_with_logits")


def test_a_transform_that_does_not_suit_the_images_is_refused() -> None:
    def tried(options: dict[str, Any], channels: int = 3) -> None:
        training = run_config(training__transforms=[options]).training
        refuse_unusable_transforms(training, ImageShape(channels, 8, 8, 3))

    with pytest.raises(UsageError, match=r"training.transforms: random_erasing: fails for images of 3 x 8 x 8"):
        tried({"name": "random_erasing", "p": 1.0, "value": [0.0, 1.0]})
    with pytest.raises(
        UsageError, match=r"training.transforms.0: random_affine: translation values should be between 0 and 1"
    ):
        tried({"name": "random_affine", "translate": [2.0, 0.0]})


@pytest.mark.parametrize(
    ("change", "given"),
    [
        (lambda self, image: image.float() / 255, r"images of shape \(3, 8, 8\) and type torch.float32"),
        (lambda self, image: image[0], r"images of shape \(8, 8\) and type torch.uint8"),
        (lambda self, image: None, "NoneType"),
    ],
)
def test_a_users_own_augmentation_must_keep_the_shape_and_type(change: Any, given: str) -> None:
    with restored_registries():
        members = {"__module__": "elsewhere", "__qualname__": "Other", "augment": change}
        augmentations.register("own_other")(type("Other", (Augmentation,), members))
        training = run_config(training__transforms=["own_other"]).training
        with pytest.raises(
            UsageError,
            match=rf"transforms: own_other: returns {given} for images of .* torch.uint8; "
            "the shape and type must not change",
        ):
            refuse_unusable_transforms(training, ImageShape(3, 8, 8, 3))


def test_run_ids_depend_on_the_list_and_its_order() -> None:
    def run_id(*transforms: Any) -> str:
        return run_config(training__transforms=list(transforms)).run_id("0" * 20)

    assert run_id() == run_config().run_id("0" * 20)
    ids = [run_id(), run_id("mixup"), run_id("rand_augment", "mixup"), run_id("trivial_augment_wide", "rand_augment")]
    ids += [run_id("rand_augment", "trivial_augment_wide"), run_id({"name": "mixup", "alpha": 0.2})]
    assert len(set(ids)) == len(ids)
    assert run_id({"name": "mixup", "alpha": 1.0}) == run_id("mixup")
    written = RunConfig.parse(run_config(training__transforms=["mixup"]).model_dump(mode="json"))
    assert written == run_config(training__transforms=["mixup"])


def test_networks_learn_from_mixed_images() -> None:
    config = run_config(
        training__transforms=[{"name": "random_crop", "padding": 1}, {"name": "mixup", "alpha": 0.2}],
        training__epochs=8,
        training__optimizer="adam",
    )
    outcome = train(config, data_set(train=90, test=30))
    assert outcome.epochs[-1]["train_loss"] < outcome.epochs[0]["train_loss"]
    assert without_clock(outcome) == without_clock(train(config, data_set(train=90, test=30)))
