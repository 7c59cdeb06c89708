"""CutMix (Yun et al., 2019)."""

from __future__ import annotations

from aimlib.registry import augmentations
from aimlib.training.augmentations.mixing import Mixing


@augmentations.register("cutmix")
class Cutmix(Mixing):
    """`torchvision.transforms.v2.CutMix`: a rectangle comes from another image, and labels are weighted by area."""

    source = "torchvision.transforms.v2.CutMix; Yun et al., 2019"
    transform = "CutMix"
