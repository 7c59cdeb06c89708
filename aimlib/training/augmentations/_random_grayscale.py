"""Random conversion to grayscale."""

from __future__ import annotations

from typing import ClassVar

from aimlib.component import Dimension, Real
from aimlib.registry import augmentations
from aimlib.training.augmentations.base import AugmentationOptions, Probability, TorchvisionAugmentation


@augmentations.register("random_grayscale")
class RandomGrayscale(TorchvisionAugmentation):
    """`torchvision.transforms.v2.RandomGrayscale`; images with one channel stay unchanged."""

    source = "torchvision.transforms.v2.RandomGrayscale"
    search_space: ClassVar[dict[str, Dimension]] = {"p": Real(0.0, 1.0)}

    class Config(AugmentationOptions):
        """Names and defaults as in torchvision."""

        p: Probability = 0.1
        """Probability that an image becomes gray."""

    transform = "RandomGrayscale"
