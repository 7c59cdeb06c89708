"""RandAugment (Cubuk et al., 2020)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from aimlib.component import Dimension, Integer
from aimlib.registry import augmentations
from aimlib.training.augmentations.base import AugmentationOptions, Interpolation, TorchvisionAugmentation


@augmentations.register("rand_augment")
class RandAugment(TorchvisionAugmentation):
    """`torchvision.transforms.v2.RandAugment`: `num_ops` random changes, all of the same magnitude."""

    source = "torchvision.transforms.v2.RandAugment; Cubuk et al., 2020"
    search_space: ClassVar[dict[str, Dimension]] = {"num_ops": Integer(1, 4), "magnitude": Integer(0, 30)}

    class Config(AugmentationOptions):
        """Names and defaults as in torchvision."""

        num_ops: Annotated[int, Field(ge=1)] = 2
        """Number of operations per image."""
        magnitude: Annotated[int, Field(ge=0, le=30)] = 9
        """Strength of the operations, on a scale from 0 to 30."""
        interpolation: Interpolation = "nearest"
        """How values between pixels are interpolated."""

    transform = "RandAugment"
