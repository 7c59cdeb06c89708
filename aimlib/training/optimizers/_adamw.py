"""AdamW (Loshchilov and Hutter, 2019)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import nn

from aimlib.dimensions import Dimension, Real
from aimlib.registry import optimizers
from aimlib.training.optimizers.base import (
    BelowOne,
    NonNegative,
    OptimizerConfig,
    OptimizerPlugin,
    Positive,
)


@optimizers.register("adamw")
class AdamW(OptimizerPlugin):
    """Adam with decoupled weight decay."""

    source = "Loshchilov and Hutter, 2019: decoupled weight decay"
    search_space: ClassVar[dict[str, Dimension]] = {
        "learning_rate": Real(1e-5, 1e-2, log=True),
        "weight_decay": Real(1e-4, 0.3, log=True),
    }

    class Config(OptimizerConfig):
        """Defaults as in torch."""

        learning_rate: Positive = 1e-3
        weight_decay: NonNegative = 0.01
        beta1: BelowOne = 0.9
        beta2: BelowOne = 0.999
        epsilon: Positive = 1e-8

    config: Config

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return torch's AdamW."""
        o = self.config
        return torch.optim.AdamW(
            parameters,
            lr=o.learning_rate,
            betas=(o.beta1, o.beta2),
            eps=o.epsilon,
            weight_decay=o.weight_decay,
        )
