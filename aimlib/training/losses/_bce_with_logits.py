"""One binary decision per class."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from aimlib.component import Dimension, Real
from aimlib.registry import losses
from aimlib.training.losses.base import Loss, LossConfig, one_hot


@losses.register("bce_with_logits")
class BceWithLogits(Loss):
    """`torch.nn.functional.binary_cross_entropy_with_logits` with one-hot classes as targets."""

    source = "torch.nn.BCEWithLogitsLoss; for single labels: Wightman et al., 2021"
    search_space: ClassVar[dict[str, Dimension]] = {"pos_weight": Real(0.5, 100.0, log=True)}

    class Config(LossConfig):
        """Names and defaults as in torch."""

        pos_weight: Annotated[float, Field(gt=0)] | None = None
        """Weight of the true class relative to the others; null: 1."""

    takes_soft_targets = True
    config: Config
    pos_weight: Tensor | None

    def __init__(self, config: Config, class_counts: Tensor) -> None:
        super().__init__(config, class_counts)
        weight = None if config.pos_weight is None else torch.full(class_counts.shape, config.pos_weight)
        self.register_buffer("pos_weight", weight, persistent=False)

    def forward(self, logits_BC: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over images and classes, in nats."""
        shares_BC = one_hot(targets, logits_BC.shape[1])
        return functional.binary_cross_entropy_with_logits(logits_BC, shares_BC, pos_weight=self.pos_weight)
