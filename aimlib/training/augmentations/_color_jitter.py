"""Random brightness, contrast, saturation and hue."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from aimlib.component import Dimension, Real
from aimlib.registry import augmentations
from aimlib.training.augmentations.base import AugmentationOptions, TorchvisionAugmentation

Strength = Annotated[float, Field(ge=0)]


@augmentations.register("color_jitter")
class ColorJitter(TorchvisionAugmentation):
    """`torchvision.transforms.v2.ColorJitter`; a strength s draws a factor from [1 - s, 1 + s]."""

    source = "torchvision.transforms.v2.ColorJitter"
    search_space: ClassVar[dict[str, Dimension]] = {
        "brightness": Real(0.0, 1.0),
        "contrast": Real(0.0, 1.0),
        "saturation": Real(0.0, 1.0),
        "hue": Real(0.0, 0.5),
    }

    class Config(AugmentationOptions):
        """Names as in torchvision; 0 changes nothing."""

        brightness: Strength = 0.0
        """Largest deviation of the brightness factor from 1."""
        contrast: Strength = 0.0
        """Largest deviation of the contrast factor from 1."""
        saturation: Strength = 0.0
        """Largest deviation of the saturation factor from 1."""
        hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
        """Largest hue shift, as a share of the color circle."""

    transform = "ColorJitter"
