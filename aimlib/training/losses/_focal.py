"""The focal loss: images that are classified with confidence count less."""

from __future__ import annotations

from typing import Annotated, ClassVar, cast

from pydantic import Field
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from aimlib.component import Dimension, Real
from aimlib.registry import losses
from aimlib.training.losses.base import Loss, LossConfig, one_hot


@losses.register("focal")
class Focal(Loss):
    """`torchvision.ops.sigmoid_focal_loss` with one-hot classes as targets."""

    source = "torchvision.ops.sigmoid_focal_loss; Lin et al., 2017"
    search_space: ClassVar[dict[str, Dimension]] = {"alpha": Real(0.05, 0.95), "gamma": Real(0.0, 5.0)}

    class Config(LossConfig):
        """Names and defaults as in torchvision."""

        alpha: Annotated[float, Field(ge=0, le=1)] | None = 0.25
        """Weight of the true class; the other classes have the weight 1 - alpha. Null: all weights are 1."""
        gamma: Annotated[float, Field(ge=0)] = 2.0
        """Exponent that reduces the loss of images that are already classified well."""

    config: Config

    def forward(self, logits_BC: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over images and classes."""
        alpha = -1.0 if self.config.alpha is None else self.config.alpha  # torchvision's value for "no weight"
        shares_BC = one_hot(targets, logits_BC.shape[1])
        found = sigmoid_focal_loss(logits_BC, shares_BC, alpha=alpha, gamma=self.config.gamma, reduction="mean")
        return cast("Tensor", found)
