"""Adamax (Kingma and Ba, 2015)."""

from __future__ import annotations

import torch

from aimlib.registry import optimizers
from aimlib.training.optimizers.base import OptimizerConfig, Positive
from aimlib.training.optimizers.torch_names import Betas, TorchOptimizer


@optimizers.register("adamax")
class Adamax(TorchOptimizer):
    """`torch.optim.Adamax`: Adam with the infinity norm."""

    source = "torch.optim.Adamax; Kingma and Ba, 2015"

    class Config(OptimizerConfig):
        """Names and defaults as in torch."""

        learning_rate: Positive = 2e-3
        betas: Betas = (0.9, 0.999)
        """Decay rates per step of the running average of the gradient and of the running maximum of its magnitude."""
        eps: Positive = 1e-8
        """Number added to the denominator to avoid division by 0."""

    algorithm = torch.optim.Adamax
