"""The cross-entropy, with label smoothing and class weights."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from aimlib.component import Categorical, Dimension, Real
from aimlib.registry import losses
from aimlib.training.losses.base import Loss, LossConfig
from aimlib.training.losses.class_weights import ClassWeights, class_weights


@losses.register("cross_entropy")
class CrossEntropy(Loss):
    """`torch.nn.functional.cross_entropy`; with class weights, the weighted mean.

    The mean is also weighted for soft targets, where torch divides by the number of images instead. Unlike
    `training.label_smoothing`, which applies only in training, the `label_smoothing` of this loss applies in evaluation
    as well.
    """

    source = "torch.nn.CrossEntropyLoss; label smoothing: Szegedy et al., 2016"
    search_space: ClassVar[dict[str, Dimension]] = {
        "label_smoothing": Real(0.0, 0.3),
        "weight": Categorical((None, "balanced")),
    }

    class Config(LossConfig):
        """Names and defaults as in torch."""

        label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
        """Share of the target that is spread evenly over all classes, in training and in evaluation."""
        weight: ClassWeights = None
        """Class weights. balanced: images / (classes * images in the class); a list: one weight per class. None: all
        weights are 1."""

    takes_soft_targets = True
    config: Config
    weight: Tensor | None

    def __init__(self, config: Config, class_counts: Tensor) -> None:
        super().__init__(config, class_counts)
        self.register_buffer("weight", class_weights(config.weight, class_counts), persistent=False)

    def forward(self, logits_BC: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss, in nats."""
        smoothing, weight = self.config.label_smoothing, self.weight
        loss = functional.cross_entropy(logits_BC, targets, weight=weight, label_smoothing=smoothing)
        if weight is None or not targets.is_floating_point():
            return loss
        return loss * len(targets) / (targets * weight).sum()
