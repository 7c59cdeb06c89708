"""A random rotation, shift, scaling and shear."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from aimlib.component import Dimension, Real
from aimlib.registry import augmentations
from aimlib.training.augmentations.base import AugmentationOptions, Interpolation, Range, TorchvisionAugmentation


@augmentations.register("random_affine")
class RandomAffine(TorchvisionAugmentation):
    """`torchvision.transforms.v2.RandomAffine`."""

    source = "torchvision.transforms.v2.RandomAffine"
    search_space: ClassVar[dict[str, Dimension]] = {"degrees": Real(0.0, 45.0)}

    class Config(AugmentationOptions):
        """Names as in torchvision."""

        degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
        """Largest angle of the rotation, degrees in either direction."""
        translate: Range | None = None
        """Largest shifts, as shares of width and height."""
        scale: Range | None = None
        """Lowest and highest factor on the size. None: the size stays."""
        shear: Range | None = None
        """Lowest and highest angle of the shear along rows, degrees."""
        interpolation: Interpolation = "nearest"
        """How values between pixels are found."""
        fill: Annotated[float, Field(ge=0, le=255)] = 0.0
        """Value of the pixels that the change uncovers, from 0 to 255."""

    transform = "RandomAffine"
