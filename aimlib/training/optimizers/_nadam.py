"""NAdam (Dozat, 2016)."""

from __future__ import annotations

import torch

from aimlib.registry import optimizers
from aimlib.training.optimizers.base import NonNegative, OptimizerConfig, Positive
from aimlib.training.optimizers.torch_names import Betas, TorchOptimizer


@optimizers.register("nadam")
class NAdam(TorchOptimizer):
    """`torch.optim.NAdam`: Adam with Nesterov momentum."""

    source = "torch.optim.NAdam; Dozat, 2016"

    class Config(OptimizerConfig):
        """Names and defaults as in torch."""

        learning_rate: Positive = 2e-3
        betas: Betas = (0.9, 0.999)
        """Decay rates per step of the running averages of the gradient and of its square."""
        eps: Positive = 1e-8
        """Number added to the denominator to avoid division by 0."""
        momentum_decay: NonNegative = 4e-3
        """How quickly the momentum reaches its full value, as in torch's momentum schedule."""
        decoupled_weight_decay: bool = False
        """Whether `weight_decay` shrinks the weights themselves, as in AdamW, instead of being added to the
        gradient."""

    algorithm = torch.optim.NAdam
