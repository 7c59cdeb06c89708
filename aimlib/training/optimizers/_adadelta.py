"""Adadelta (Zeiler, 2012)."""

from __future__ import annotations

from typing import ClassVar

import torch

from aimlib.component import Dimension, Real
from aimlib.registry import optimizers
from aimlib.training.optimizers.base import BelowOne, OptimizerConfig, Positive
from aimlib.training.optimizers.torch_names import TorchOptimizer


@optimizers.register("adadelta")
class Adadelta(TorchOptimizer):
    """`torch.optim.Adadelta`."""

    source = "torch.optim.Adadelta; Zeiler, 2012"
    search_space: ClassVar[dict[str, Dimension]] = {"learning_rate": Real(1e-2, 10.0, log=True)}

    class Config(OptimizerConfig):
        """Names and defaults as in torch."""

        learning_rate: Positive = 1.0
        rho: BelowOne = 0.9
        """Decay rate per step of the running averages of squared gradients and of squared updates."""
        eps: Positive = 1e-6
        """Number added to the denominator to avoid division by 0."""

    algorithm = torch.optim.Adadelta
