"""A random blur."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from aimlib.component import Categorical, Dimension
from aimlib.registry import augmentations
from aimlib.training.augmentations.base import AugmentationOptions, Range, TorchvisionAugmentation


@augmentations.register("gaussian_blur")
class GaussianBlur(TorchvisionAugmentation):
    """`torchvision.transforms.v2.GaussianBlur`."""

    source = "torchvision.transforms.v2.GaussianBlur"
    search_space: ClassVar[dict[str, Dimension]] = {"kernel_size": Categorical((3, 5, 7))}

    class Config(AugmentationOptions):
        """Names as in torchvision."""

        kernel_size: Annotated[int, Field(ge=1)] = 3
        """Side of the kernel, in pixels; an odd number."""
        sigma: Range = (0.1, 2.0)
        """Lowest and highest standard deviation, in pixels."""

        @field_validator("kernel_size")
        @classmethod
        def _odd(cls, given: int) -> int:
            if given % 2 == 0:
                raise ValueError(f"must be odd; got {given}")
            return given

    transform = "GaussianBlur"
