"""RAdam (Liu et al., 2020)."""

from __future__ import annotations

import torch

from aimlib.registry import optimizers
from aimlib.training.optimizers.base import OptimizerConfig, Positive
from aimlib.training.optimizers.torch_names import Betas, TorchOptimizer


@optimizers.register("radam")
class RAdam(TorchOptimizer):
    """`torch.optim.RAdam`: Adam with a rectified variance, which needs no warm-up."""

    source = "torch.optim.RAdam; Liu et al., 2020"

    class Config(OptimizerConfig):
        """Names and defaults as in torch."""

        learning_rate: Positive = 1e-3
        betas: Betas = (0.9, 0.999)
        """Decay rates per step of the running averages of the gradient and of its square."""
        eps: Positive = 1e-8
        """Number added to the denominator to avoid division by 0."""
        decoupled_weight_decay: bool = False
        """Whether `weight_decay` shrinks the weights themselves, as in AdamW, instead of being added to the
        gradient."""

    algorithm = torch.optim.RAdam
