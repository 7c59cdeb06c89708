"""A random horizontal flip."""

from __future__ import annotations

from typing import ClassVar

from aimlib.component import Dimension, Real
from aimlib.registry import augmentations
from aimlib.training.augmentations.base import AugmentationOptions, Probability, TorchvisionAugmentation


@augmentations.register("random_horizontal_flip")
class RandomHorizontalFlip(TorchvisionAugmentation):
    """`torchvision.transforms.v2.RandomHorizontalFlip`."""

    source = "torchvision.transforms.v2.RandomHorizontalFlip"
    search_space: ClassVar[dict[str, Dimension]] = {"p": Real(0.0, 1.0)}

    class Config(AugmentationOptions):
        """Names and defaults as in torchvision."""

        p: Probability = 0.5
        """Probability that an image is flipped."""

    transform = "RandomHorizontalFlip"
