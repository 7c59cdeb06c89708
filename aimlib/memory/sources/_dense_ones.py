"""The post's memory layer for fully connected networks: a dense layer of ones."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from aimlib.component import Dimension, Integer, Real
from aimlib.memory.initialization import Rule, declare
from aimlib.memory.sources.base import MemoryConfig, MemorySource, Size
from aimlib.registry import memories


@memories.register("dense_ones")
class DenseOnes(MemorySource):
    """A dense layer with linear activation, applied to `inputs` ones; its outputs are the memory's values.

    Every value can vary independently. Each value is a sum of `inputs` weights and one bias, so with Adam it moves
    about `inputs` times as far per step as a plain parameter would. Weights are initially Glorot uniform, multiplied by
    `initial_scale`. The standard deviation of the memory's values is then ``initial_scale x sqrt(2 inputs / (inputs +
    values))``, which is `initial_scale` if there are as many inputs as values.

    Cost: (inputs + 1) x values weights, computed once per batch.
    """

    source = "J. Lunkad, Towards AI, 2021: the memory of fully connected networks"
    search_space: ClassVar[dict[str, Dimension]] = {
        "channels": Integer(16, 1024, log=True),
        "inputs": Integer(1, 1024, log=True),
        "initial_scale": Real(0.01, 2.0, log=True),
    }

    class Config(MemoryConfig):
        """Size of the memory (by default, a row of values for dense layers) and the number of ones."""

        channels: Size = 256
        rows: Size = 1
        columns: Size = 1
        inputs: Size = 256
        """The author's convolution has as many inputs as channels, and so does this layer."""

    config: Config
    ones_1N: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.dense = nn.Linear(config.inputs, config.values)
        declare(self.dense, weight=Rule("glorot_uniform", config.initial_scale), bias=Rule("constant", 0.0))
        self.register_buffer("ones_1N", torch.ones(1, config.inputs), persistent=False)

    def forward(self, batch: int) -> Tensor:
        """Return the memory [1, channels, rows, columns]; the outputs are in the order rows, columns, channels."""
        size = self.config
        values: Tensor = self.dense(self.ones_1N)
        return values.view(1, size.rows, size.columns, size.channels).permute(0, 3, 1, 2)

    @property
    def degrees_of_freedom(self) -> int:
        """Every value can vary independently."""
        return self.config.values
