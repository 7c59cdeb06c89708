"""A random crop that is resized to the image's size."""

from __future__ import annotations

from typing import Any, ClassVar

from aimlib.component import Categorical, Dimension
from aimlib.registry import augmentations
from aimlib.training.augmentations.base import AugmentationOptions, Interpolation, Range, TorchvisionAugmentation


@augmentations.register("random_resized_crop")
class RandomResizedCrop(TorchvisionAugmentation):
    """`torchvision.transforms.v2.RandomResizedCrop` to the image's own size."""

    source = "torchvision.transforms.v2.RandomResizedCrop; Szegedy et al., 2015"
    search_space: ClassVar[dict[str, Dimension]] = {"antialias": Categorical((True, False))}

    class Config(AugmentationOptions):
        """Names and defaults as in torchvision; `size` is the image's own size."""

        scale: Range = (0.08, 1.0)
        """Smallest and largest share of the image's area that is kept."""
        ratio: Range = (3 / 4, 4 / 3)
        """Lowest and highest ratio of the crop's sides."""
        interpolation: Interpolation = "bilinear"
        """How values between pixels are interpolated."""
        antialias: bool = True
        """Whether each pixel of a reduced image is an average over its area."""

    transform = "RandomResizedCrop"

    def arguments(self) -> dict[str, Any]:
        """Return torchvision's arguments."""
        return {**super().arguments(), "size": [self.shape.height, self.shape.width]}
