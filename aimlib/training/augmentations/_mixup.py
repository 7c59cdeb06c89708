"""Mixup (Zhang et al., 2018)."""

from __future__ import annotations

from aimlib.registry import augmentations
from aimlib.training.augmentations.mixing import Mixing


@augmentations.register("mixup")
class Mixup(Mixing):
    """`torchvision.transforms.v2.MixUp`: the images and labels in a batch are blended."""

    source = "torchvision.transforms.v2.MixUp; Zhang et al., 2018"
    transform = "MixUp"
