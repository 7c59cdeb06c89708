"""TrivialAugment (Müller and Hutter, 2021)."""

from __future__ import annotations

from aimlib.registry import augmentations
from aimlib.training.augmentations.base import AugmentationOptions, Interpolation, TorchvisionAugmentation


@augmentations.register("trivial_augment_wide")
class TrivialAugmentWide(TorchvisionAugmentation):
    """`torchvision.transforms.v2.TrivialAugmentWide`: one random change with a random magnitude."""

    source = "torchvision.transforms.v2.TrivialAugmentWide; Müller and Hutter, 2021"

    class Config(AugmentationOptions):
        """Names and defaults as in torchvision."""

        interpolation: Interpolation = "nearest"
        """How values between pixels are interpolated."""

    transform = "TrivialAugmentWide"
