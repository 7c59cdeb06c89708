"""RMSprop (Hinton, 2012)."""

from __future__ import annotations

import torch

from aimlib.registry import optimizers
from aimlib.training.optimizers.base import BelowOne, OptimizerConfig, Positive
from aimlib.training.optimizers.torch_names import TorchOptimizer


@optimizers.register("rmsprop")
class RMSprop(TorchOptimizer):
    """`torch.optim.RMSprop`."""

    source = "torch.optim.RMSprop; Hinton, 2012; centred: Graves, 2013"

    class Config(OptimizerConfig):
        """Names and defaults as in torch."""

        learning_rate: Positive = 0.01
        alpha: BelowOne = 0.99
        """Decay rate per step of the running average of the squared gradient."""
        eps: Positive = 1e-8
        """Number added to the denominator to avoid division by 0."""
        momentum: BelowOne = 0.0
        """Share of the previous step that is added to a step."""
        centered: bool = False
        """Whether the gradient's mean is subtracted, so that a step is scaled by the gradient's variance."""

    algorithm = torch.optim.RMSprop
