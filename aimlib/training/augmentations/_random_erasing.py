"""Random erasing (Zhong et al., 2020)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator

from aimlib.component import Dimension, Real, tuple_of
from aimlib.registry import augmentations
from aimlib.training.augmentations.base import AugmentationOptions, Probability, Range, TorchvisionAugmentation


@augmentations.register("random_erasing")
class RandomErasing(TorchvisionAugmentation):
    """`torchvision.transforms.v2.RandomErasing`: a rectangle in the network's input is replaced."""

    source = "torchvision.transforms.v2.RandomErasing; Zhong et al., 2020"
    search_space: ClassVar[dict[str, Dimension]] = {"p": Real(0.0, 1.0)}

    class Config(AugmentationOptions):
        """Names and defaults as in torchvision."""

        p: Probability = 0.5
        """Probability that an image is changed."""
        scale: Range = (0.02, 0.33)
        """Smallest and largest share of the image's area that is erased."""
        ratio: Range = (0.3, 3.3)
        """Lowest and highest ratio of the erased rectangle's sides."""
        value: float | Annotated[tuple[float, ...], BeforeValidator(tuple_of)] | Literal["random"] = 0.0
        """New value of the erased pixels: one value, one per channel, or ``random`` (normal noise). Erasing follows
        scaling, as in torchvision's own recipe, so 0 is the mean of the training images unless the input is raw."""

    after_scaling = True
    transform = "RandomErasing"
