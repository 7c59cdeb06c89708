"""AugMix (Hendrycks et al., 2020)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from aimlib.component import Dimension, Integer
from aimlib.registry import augmentations
from aimlib.training.augmentations.base import AugmentationOptions, Interpolation, Positive, TorchvisionAugmentation


@augmentations.register("aug_mix")
class AugMix(TorchvisionAugmentation):
    """`torchvision.transforms.v2.AugMix`: a mixture of chains of random changes to one image."""

    source = "torchvision.transforms.v2.AugMix; Hendrycks et al., 2020"
    search_space: ClassVar[dict[str, Dimension]] = {"severity": Integer(1, 10)}

    class Config(AugmentationOptions):
        """Names and defaults as in torchvision."""

        severity: Annotated[int, Field(ge=1, le=10)] = 3
        """Strength of the operations."""
        mixture_width: Annotated[int, Field(ge=1)] = 3
        """Number of chains of operations that are mixed."""
        chain_depth: Annotated[int, Field(ge=-1)] = -1
        """Length of a chain; -1 draws a length from 1 to 3."""
        alpha: Positive = 1.0
        """Parameter of the distributions from which the shares of the chains and of the image are drawn."""
        all_ops: bool = True
        """Whether brightness, contrast, color and sharpness are among the operations."""
        interpolation: Interpolation = "bilinear"
        """How values between pixels are interpolated."""

    transform = "AugMix"
