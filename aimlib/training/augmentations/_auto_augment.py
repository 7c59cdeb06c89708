"""AutoAugment (Cubuk et al., 2019)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torchvision.transforms.v2 import AutoAugmentPolicy

from aimlib.component import Categorical, Dimension
from aimlib.registry import augmentations
from aimlib.training.augmentations.base import AugmentationOptions, Interpolation, TorchvisionAugmentation


@augmentations.register("auto_augment")
class AutoAugment(TorchvisionAugmentation):
    """`torchvision.transforms.v2.AutoAugment`: a policy learned on a data set."""

    source = "torchvision.transforms.v2.AutoAugment; Cubuk et al., 2019"
    search_space: ClassVar[dict[str, Dimension]] = {"policy": Categorical(("imagenet", "cifar10", "svhn"))}

    class Config(AugmentationOptions):
        """Names and defaults as in torchvision."""

        policy: Literal["imagenet", "cifar10", "svhn"] = "imagenet"
        """Data set for which the policy was learned."""
        interpolation: Interpolation = "nearest"
        """How values between pixels are interpolated."""

    transform = "AutoAugment"

    def arguments(self) -> dict[str, Any]:
        """Return torchvision's arguments, with the policy as torchvision's type."""
        return {**super().arguments(), "policy": AutoAugmentPolicy(self.config.policy)}
