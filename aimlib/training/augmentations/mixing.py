"""The common parts of augmentations that mix images."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2

from aimlib.component import Dimension, Real
from aimlib.datasets.base import ImageShape
from aimlib.training.augmentations.base import AugmentationOptions, BatchAugmentation, Positive


class MixingOptions(AugmentationOptions):
    """Names and defaults as in torchvision."""

    alpha: Positive = 1.0
    """Parameter of the beta distribution from which the share of the first image is drawn, once per batch."""


class Mixing(BatchAugmentation):
    """Mixes every image with the preceding image in the batch, as torchvision does.

    Attributes
    ----------
    transform : name of the class in `torchvision.transforms.v2`.
    """

    search_space: ClassVar[dict[str, Dimension]] = {"alpha": Real(0.1, 2.0, log=True)}
    Config = MixingOptions
    transform: ClassVar[str]

    def __init__(self, config: Any, shape: ImageShape) -> None:
        super().__init__(config, shape)
        self._transform = mixer(self.transform, config.alpha, shape)

    def augment(self, x_BCHW: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return mixed images and shares; a batch with a single image stays unchanged."""
        return mixed(self._transform, x_BCHW, labels_B, self.shape.classes)


def mixer(transform: str, alpha: float, shape: ImageShape) -> Any:
    """Return torchvision's transform."""
    return getattr(v2, transform)(alpha=alpha, num_classes=shape.classes)


def mixed(transform: Any, x_BCHW: Tensor, labels_B: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return the mixed images, in the memory format of the given images, and the class shares."""
    if len(labels_B) == 1:
        return x_BCHW, functional.one_hot(labels_B, classes).float()
    images_BCHW, shares_BC = transform(x_BCHW, labels_B)
    return images_BCHW, shares_BC
