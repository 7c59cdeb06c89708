"""Conformance tests for augmentations."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from aimlib.config import TrainingConfig
from aimlib.datasets.base import ImageShape
from aimlib.errors import UsageError
from aimlib.registry import augmentations
from aimlib.testing.conformance import Conformance, random_like
from aimlib.testing.tiny_training import SHAPE, assert_reproducible, tiny_config
from aimlib.training import rng_state
from aimlib.training.inputs import Scaling
from aimlib.training.transforms import Place, Transforms, refuse_unusable_transforms, transforms_of

_CPU = torch.device("cpu")


class AugmentationConformance(Conformance):
    """Tests for an augmentation: images must keep their size and type, and depend only on their own random stream.

    Attributes
    ----------
    shapes : image shapes that the augmentation must either accept or refuse with a UsageError.
    """

    registry = augmentations
    shapes: ClassVar[tuple[ImageShape, ...]] = (
        SHAPE,
        ImageShape(channels=3, height=9, width=13, classes=4),
        ImageShape(channels=1, height=8, width=8, classes=2),
    )

    def training(self) -> TrainingConfig:
        """Return training options with only this augmentation."""
        return tiny_config({"transforms": [{"name": self.name, **self.options}]}).training

    def transforms(self, shape: ImageShape = SHAPE) -> Transforms:
        """Return the transforms as in training, with this augmentation and an input scaling by 2."""
        size = (1, shape.channels, 1, 1)
        built = transforms_of(self.training(), shape, Scaling(torch.zeros(size), torch.full(size, 2.0)))
        assert built is not None
        return built

    def images(self, count: int = 12, shape: ImageShape = SHAPE) -> Tensor:
        """Return random pixels in their stored format."""
        noise = random_like((count, shape.channels, shape.height, shape.width), seed=5)
        return (128 + 50 * noise).clamp(0, 255).to(torch.uint8)

    def changed(self, images: list[int], step: int = 0, seed: int = 0) -> Tensor:
        """Return some of the images, augmented as in epoch 1."""
        numbers = np.array(images, dtype=np.int64)
        place = Place(seed, 1, step, numbers)
        found, _ = self.transforms()(self.images()[images], torch.from_numpy(numbers % SHAPE.classes), None, place)
        return found

    def test_images_keep_their_size_and_stay_finite(self) -> None:
        """The test covers all shapes; a shape that is not accepted is refused with a UsageError before a run starts."""
        accepted = 0
        for shape in self.shapes:
            try:
                refuse_unusable_transforms(self.training(), shape)
            except UsageError:
                continue
            labels_B = torch.arange(5) % shape.classes
            place = Place(0, 1, 0, np.arange(5))
            found, _ = self.transforms(shape)(self.images(5, shape), labels_B, None, place)
            assert tuple(found.shape) == (5, shape.channels, shape.height, shape.width)
            assert found.dtype == torch.float32
            assert bool(found.isfinite().all())
            accepted += 1
        assert accepted, f"{self.name!r} does not accept any of {self.shapes}"

    def test_the_stream_decides_what_is_drawn(self) -> None:
        """Equal seeds give equal images; different seeds give different images in at least one of ten batches."""
        images = list(range(12))
        first = self.changed(images)
        assert torch.equal(self.changed(images), first)
        assert any(not torch.equal(self.changed(images, seed=seed), first) for seed in range(1, 11))

    def test_an_image_does_not_depend_on_its_batch(self) -> None:
        """Unless images are mixed, an image's result does not depend on the other images, its position or the step."""
        if augmentations.get(self.name).per_batch:
            return
        whole, part = self.changed(list(range(12))), self.changed([7, 2, 11], step=4)
        assert torch.equal(part, whole[[7, 2, 11]])

    def test_it_keeps_nothing_between_batches(self) -> None:
        """For the same arguments, the same object returns the same images again."""
        transforms, images = self.transforms(), self.images(4)
        place, labels_B = Place(0, 1, 0, np.arange(4)), torch.arange(4) % SHAPE.classes
        first, targets = transforms(images.clone(), labels_B, None, place)
        transforms(self.images(6), torch.arange(6) % SHAPE.classes, None, Place(0, 2, 3, np.arange(6)))
        again, same = transforms(images.clone(), labels_B, None, place)
        assert torch.equal(again, first)
        assert (targets is None and same is None) or torch.equal(targets, same)  # type: ignore[arg-type]

    def test_no_generator_is_left_changed(self) -> None:
        """Layers that draw random numbers, such as dropout, draw the same numbers with and without the augmentation."""
        before = rng_state.state(_CPU)
        self.changed([0, 1, 2])
        after = rng_state.state(_CPU)
        assert torch.equal(before["cpu"], after["cpu"])
        assert torch.equal(before["numpy"]["state"]["key"], after["numpy"]["state"]["key"])
        assert before["python"] == after["python"]

    def test_targets_are_shares_of_the_classes(self) -> None:
        """If the augmentation mixes a batch, targets are not negative and sum to 1, even for a single image."""
        if not augmentations.get(self.name).per_batch:
            return
        for count in (1, 6):
            labels_B = torch.arange(count) % SHAPE.classes
            _, targets = self.transforms()(self.images(count), labels_B, None, Place(0, 1, 0, np.arange(count)))
            assert targets is not None
            assert tuple(targets.shape) == (count, SHAPE.classes)
            assert bool((targets >= 0).all())
            torch.testing.assert_close(targets.sum(dim=1), torch.ones(count))

    def test_runs_have_the_same_bits_when_they_are_interrupted(self) -> None:
        """A run is trained, then repeated, and then resumed after every step."""
        assert_reproducible({"transforms": [{"name": self.name, **self.options}]})
