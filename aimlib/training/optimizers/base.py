"""The base of all optimizers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn

from aimlib.component import ComponentConfig

NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]


class OptimizerConfig(ComponentConfig):
    """What every optimizer has; a schedule starts from `learning_rate`."""

    learning_rate: Positive
    weight_decay: NonNegative = 0.0


class OptimizerPlugin(ABC):
    """Base of the family `aimlib.optimizers`."""

    Config = OptimizerConfig

    def __init__(self, config: OptimizerConfig) -> None:
        self.config = config

    @abstractmethod
    def build(self, parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]]) -> torch.optim.Optimizer:
        """Return the optimizer over the trainable parameters, or over groups of them in torch's form."""
