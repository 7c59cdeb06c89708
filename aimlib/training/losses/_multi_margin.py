"""The multi-class hinge loss."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from aimlib.component import Categorical, Dimension, Real
from aimlib.registry import losses
from aimlib.training.losses.base import Loss, LossConfig
from aimlib.training.losses.class_weights import ClassWeights, class_weights


@losses.register("multi_margin")
class MultiMargin(Loss):
    """`torch.nn.functional.multi_margin_loss`: how far other scores come within `margin` of the true class's score."""

    source = "torch.nn.MultiMarginLoss; Crammer and Singer, 2001"
    search_space: ClassVar[dict[str, Dimension]] = {"margin": Real(0.1, 10.0, log=True), "p": Categorical((1, 2))}

    class Config(LossConfig):
        """Names and defaults as in torch."""

        p: Literal[1, 2] = 1
        """Exponent of the hinge loss."""
        margin: Annotated[float, Field(gt=0)] = 1.0
        """Distance by which the score of the true class must exceed all others."""
        weight: ClassWeights = None
        """Class weights, as for `cross_entropy`."""

    config: Config
    weight: Tensor | None

    def __init__(self, config: Config, class_counts: Tensor) -> None:
        super().__init__(config, class_counts)
        self.register_buffer("weight", class_weights(config.weight, class_counts), persistent=False)

    def forward(self, logits_BC: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over the images; each image's loss is divided by the number of classes."""
        return functional.multi_margin_loss(
            logits_BC, targets, p=self.config.p, margin=self.config.margin, weight=self.weight
        )
