"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
from pydantic import model_validator

from aimlib.component import Dimension, Real
from aimlib.registry import optimizers
from aimlib.training.optimizers.base import BelowOne, OptimizerConfig, OptimizerPlugin, Positive
from aimlib.training.optimizers.on_device import Parameters, lies_on_device, zero_state


@optimizers.register("sgd")
class Sgd(OptimizerPlugin):
    """SGD with (Nesterov) momentum; `weight_decay` is added to the gradient (L2)."""

    source = "Sutskever et al., 2013: momentum"
    search_space: ClassVar[dict[str, Dimension]] = {"learning_rate": Real(1e-3, 1.0, log=True)}

    class Config(OptimizerConfig):
        """A momentum of 0.9 is usual; 0 is plain SGD."""

        learning_rate: Positive = 0.1
        momentum: BelowOne = 0.9
        """Share of the previous step that is added to a step; 0 is plain SGD."""
        nesterov: bool = False
        """Whether to use Nesterov momentum; this needs a momentum greater than 0."""
        fused: bool = False
        """Whether a step is a single pass over parameters and gradients, which is faster but may round differently."""

        @model_validator(mode="after")
        def _nesterov_has_momentum(self) -> Self:
            if self.nesterov and self.momentum == 0:
                raise ValueError("nesterov: true needs a momentum greater than 0; set momentum, or remove nesterov")
            return self

    on_device = True
    config: Config

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        """Return torch's SGD, always fused on a GPU, because only that version reads its rate from the device."""
        o = self.config
        trained: list[Any] = list(parameters)
        on_device = lies_on_device(trained)
        optimizer = torch.optim.SGD(
            trained,
            lr=o.learning_rate,
            momentum=o.momentum,
            nesterov=o.nesterov,
            weight_decay=o.weight_decay,
            fused=(o.fused or on_device) or None,
        )
        if on_device and o.momentum:
            zero_state(optimizer, "momentum_buffer", step=False)
        return optimizer
