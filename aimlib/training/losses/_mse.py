"""The mean squared error of the logits."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from aimlib.registry import losses
from aimlib.training.losses.base import Loss, one_hot


@losses.register("mse")
class Mse(Loss):
    """`torch.nn.functional.mse_loss` between the logits and the one-hot classes."""

    source = "torch.nn.MSELoss; for classes: Hui and Belkin, 2021"
    takes_soft_targets = True

    def forward(self, logits_BC: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over images and classes."""
        return functional.mse_loss(logits_BC, one_hot(targets, logits_BC.shape[1]))
