"""Mixup or CutMix, drawn for every batch."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor
from torchvision.transforms import v2

from aimlib.component import Dimension, Real
from aimlib.datasets.base import ImageShape
from aimlib.registry import augmentations
from aimlib.training.augmentations.base import AugmentationOptions, BatchAugmentation, Positive
from aimlib.training.augmentations.mixing import mixed, mixer


@augmentations.register("mixup_or_cutmix")
class MixupOrCutmix(BatchAugmentation):
    """`torchvision.transforms.v2.RandomChoice` of MixUp and CutMix, as in torchvision's training recipe."""

    source = "torchvision's reference training; Zhang et al., 2018; Yun et al., 2019"
    search_space: ClassVar[dict[str, Dimension]] = {
        "mixup_alpha": Real(0.1, 2.0, log=True),
        "cutmix_alpha": Real(0.1, 2.0, log=True),
    }

    class Config(AugmentationOptions):
        """Names and defaults as in torchvision's recipe."""

        mixup_alpha: Positive = 0.2
        """Parameter of the beta distribution from which mixup's shares are drawn."""
        cutmix_alpha: Positive = 1.0
        """Parameter of the beta distribution from which CutMix's shares are drawn."""

    def __init__(self, config: Any, shape: ImageShape) -> None:
        super().__init__(config, shape)
        choices = [mixer("MixUp", config.mixup_alpha, shape), mixer("CutMix", config.cutmix_alpha, shape)]
        self._transform = v2.RandomChoice(choices)

    def augment(self, x_BCHW: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return mixed images and shares; a batch with a single image stays unchanged."""
        return mixed(self._transform, x_BCHW, labels_B, self.shape.classes)
