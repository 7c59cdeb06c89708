"""A random rotation."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from aimlib.component import Dimension, Real
from aimlib.registry import augmentations
from aimlib.training.augmentations.base import AugmentationOptions, Interpolation, TorchvisionAugmentation


@augmentations.register("random_rotation")
class RandomRotation(TorchvisionAugmentation):
    """`torchvision.transforms.v2.RandomRotation` about the center, by up to `degrees` in either direction."""

    source = "torchvision.transforms.v2.RandomRotation"
    search_space: ClassVar[dict[str, Dimension]] = {"degrees": Real(0.0, 45.0)}

    class Config(AugmentationOptions):
        """Names as in torchvision."""

        degrees: Annotated[float, Field(ge=0, le=180)] = 15.0
        """Largest angle, in degrees, in either direction."""
        interpolation: Interpolation = "nearest"
        """How values between pixels are interpolated."""
        fill: Annotated[float, Field(ge=0, le=255)] = 0.0
        """Value of pixels outside the original image, from 0 to 255."""

    transform = "RandomRotation"
