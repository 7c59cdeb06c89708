"""Adagrad (Duchi et al., 2011)."""

from __future__ import annotations

import torch

from aimlib.registry import optimizers
from aimlib.training.optimizers.base import NonNegative, OptimizerConfig, Positive
from aimlib.training.optimizers.torch_names import TorchOptimizer


@optimizers.register("adagrad")
class Adagrad(TorchOptimizer):
    """`torch.optim.Adagrad`."""

    source = "torch.optim.Adagrad; Duchi et al., 2011"

    class Config(OptimizerConfig):
        """Names and defaults as in torch."""

        learning_rate: Positive = 0.01
        lr_decay: NonNegative = 0.0
        """Decay of the learning rate: in step n, the learning rate is divided by 1 + (n - 1) · `lr_decay`."""
        initial_accumulator_value: NonNegative = 0.0
        """Initial value for the sums of squared gradients."""
        eps: Positive = 1e-10
        """Number added to the denominator to avoid division by 0."""

    algorithm = torch.optim.Adagrad
