"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Self

import torch
from pydantic import model_validator
from torch import nn

from aimlib.dimensions import Dimension, Real
from aimlib.registry import optimizers
from aimlib.training.optimizers.base import BelowOne, OptimizerConfig, OptimizerPlugin, Positive


@optimizers.register("sgd")
class Sgd(OptimizerPlugin):
    """SGD with (Nesterov) momentum; `weight_decay` is added to the gradient (L2)."""

    source = "Sutskever et al., 2013: momentum"
    search_space: ClassVar[dict[str, Dimension]] = {"learning_rate": Real(1e-3, 1.0, log=True)}

    class Config(OptimizerConfig):
        """Momentum 0.9 is the usual one; 0 is plain SGD."""

        learning_rate: Positive = 0.1
        momentum: BelowOne = 0.9
        nesterov: bool = False
        fused: bool = False
        """Whether a step is one pass over parameters and gradients: faster, and possibly rounded otherwise."""

        @model_validator(mode="after")
        def _nesterov_has_momentum(self) -> Self:
            if self.nesterov and self.momentum == 0:
                raise ValueError("nesterov: true needs momentum above 0; give momentum, or remove nesterov")
            return self

    config: Config

    def build(self, parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]]) -> torch.optim.Optimizer:
        """Return torch's SGD."""
        o = self.config
        return torch.optim.SGD(
            parameters,
            lr=o.learning_rate,
            momentum=o.momentum,
            nesterov=o.nesterov,
            weight_decay=o.weight_decay,
            fused=o.fused or None,
        )
