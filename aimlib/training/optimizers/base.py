"""The base class of all optimizers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from aimlib.component import ComponentConfig
from aimlib.training.optimizers.on_device import Parameters

NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]


class OptimizerConfig(ComponentConfig):
    """Options for every optimizer; a schedule starts from `learning_rate`."""

    learning_rate: Positive
    """The learning rate from which a schedule starts; torch's `lr`."""
    weight_decay: NonNegative = 0.0
    """Strength of the weight decay; 0: none."""


class OptimizerPlugin(ABC):
    """Base class of the `aimlib.optimizers` plugins.

    Attributes
    ----------
    on_device : whether, on a GPU, the plugin's optimizers take the learning rate as a tensor on the GPU, have their
        complete state from the start, and read nothing back. Steps of other optimizers are not captured as graphs.
    """

    Config = OptimizerConfig
    on_device: ClassVar[bool] = False

    def __init__(self, config: OptimizerConfig) -> None:
        self.config = config

    @abstractmethod
    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        """Return the optimizer for the trainable parameters, or for groups of them in torch's format."""
