"""A random shift: the image is padded, and a part as large as the original image is cut out."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from aimlib.component import Dimension, Integer
from aimlib.registry import augmentations
from aimlib.training.augmentations.base import AugmentationOptions, TorchvisionAugmentation


@augmentations.register("random_crop")
class RandomCrop(TorchvisionAugmentation):
    """`torchvision.transforms.v2.RandomCrop` to the image's own size after padding."""

    source = "torchvision.transforms.v2.RandomCrop; for CIFAR: He et al., 2016"
    search_space: ClassVar[dict[str, Dimension]] = {"padding": Integer(1, 16)}

    class Config(AugmentationOptions):
        """Names as in torchvision; `size` is the image's own size. Without padding, nothing would be cropped."""

        padding: Annotated[int, Field(ge=1)] = 4
        """Number of pixels added on every side."""
        padding_mode: Literal["constant", "edge", "reflect", "symmetric"] = "constant"
        """What the border contains: `fill`, or the image's own pixels repeated or mirrored."""
        fill: Annotated[float, Field(ge=0, le=255)] = 0.0
        """Value of the border if padding_mode is constant, from 0 to 255."""

    transform = "RandomCrop"

    def arguments(self) -> dict[str, Any]:
        """Return torchvision's arguments."""
        return {**super().arguments(), "size": [self.shape.height, self.shape.width]}
