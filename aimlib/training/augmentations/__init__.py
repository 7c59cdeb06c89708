"""Augmentations with torchvision's names, one private file per plugin; `training.transforms` lists those of a run.

The registry imports a plugin when it is first used; importing this package does not import any plugin.
"""

from aimlib.training.augmentations.base import Augmentation, AugmentationOptions, BatchAugmentation

__all__ = ["Augmentation", "AugmentationOptions", "BatchAugmentation"]
