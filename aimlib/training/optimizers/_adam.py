"""Adam (Kingma and Ba, 2015)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import nn

from aimlib.dimensions import Dimension, Real
from aimlib.registry import optimizers
from aimlib.training.optimizers.base import BelowOne, OptimizerConfig, OptimizerPlugin, Positive


@optimizers.register("adam")
class Adam(OptimizerPlugin):
    """Adam; `weight_decay` is added to the gradient (L2)."""

    source = "Kingma and Ba, 2015: Adam"
    search_space: ClassVar[dict[str, Dimension]] = {"learning_rate": Real(1e-5, 1e-2, log=True)}

    class Config(OptimizerConfig):
        """Learning rate 1e-3 is the post's."""

        learning_rate: Positive = 1e-3
        beta1: BelowOne = 0.9
        beta2: BelowOne = 0.999
        epsilon: Positive = 1e-8

    config: Config
    algorithm: ClassVar[type[torch.optim.Adam]] = torch.optim.Adam

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return torch's optimizer."""
        o = self.config
        return self.algorithm(
            parameters,
            lr=o.learning_rate,
            betas=(o.beta1, o.beta2),
            eps=o.epsilon,
            weight_decay=o.weight_decay,
        )
