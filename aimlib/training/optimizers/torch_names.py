"""Torch's optimizers with torch's own names and arguments; `learning_rate` is torch's `lr`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import BeforeValidator

from aimlib.component import Dimension, Real, tuple_of
from aimlib.training.optimizers.base import BelowOne, OptimizerPlugin
from aimlib.training.optimizers.on_device import Parameters

Betas = Annotated[tuple[BelowOne, BelowOne], BeforeValidator(tuple_of)]
"""Decay rates of the first and second moments; YAML and JSON documents contain a list."""


class TorchOptimizer(OptimizerPlugin):
    """A torch optimizer with its default settings; on a GPU, its steps run eagerly, not as a CUDA graph.

    Attributes
    ----------
    algorithm : torch's class; the options in `Config` are its arguments.
    """

    search_space: ClassVar[dict[str, Dimension]] = {"learning_rate": Real(1e-5, 1e-1, log=True)}
    algorithm: ClassVar[type[torch.optim.Optimizer]]

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        """Return torch's optimizer."""
        options: dict[str, Any] = {name: getattr(self.config, name) for name in type(self.config).model_fields}
        options["lr"] = options.pop("learning_rate")
        trained: list[Any] = list(parameters)
        return self.algorithm(trained, **options)
