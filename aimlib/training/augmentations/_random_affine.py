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
        """Largest rotation angle, in degrees, in either direction."""
        translate: Range | None = None
        """Largest shifts, as shares of the width and the height."""
        scale: Range | None = None
        """Lowest and highest scale factor; None: the size does not change."""
        shear: Range | None = None
        """Lowest and highest shear angle along rows, in degrees."""
        interpolation: Interpolation = "nearest"
        """How values between pixels are interpolated."""
        fill: Annotated[float, Field(ge=0, le=255)] = 0.0
        """Value of pixels outside the original image, from 0 to 255."""

    transform = "RandomAffine"
