"""The post's memory layer: a convolution on an array of ones."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from aimlib.dimensions import Dimension, Integer
from aimlib.initialization import Rule, declare
from aimlib.memory.sources.base import MemoryConfig, MemorySource
from aimlib.registry import memories


@memories.register("conv_ones")
class ConvOnes(MemorySource):
    """A 1 x 1 convolution with linear activation, fed ones: "its output is the memory".

    A 1 x 1 convolution of a constant input is the same at every position, so the memory has only `channels`
    degrees of freedom until an update runs. It is computed at one position and expanded, which gives the same
    values and gradients at 1 / (rows x columns) of the cost. Each value is a sum of `channels` weights and one
    bias, so under Adam it moves about `channels` times as far per step as a plain parameter would.
    """

    source = "J. Lunkad, Can Giving Memory to Entire Neural Nets be Revolutionary?, Towards AI, 2021: memory layer"
    search_space: ClassVar[dict[str, Dimension]] = {"channels": Integer(16, 1024, log=True)}

    ones_1C11: Tensor

    def __init__(self, config: MemoryConfig) -> None:
        super().__init__(config)
        self.conv = nn.Conv2d(config.channels, config.channels, kernel_size=1)
        declare(self.conv, weight=Rule("glorot_uniform"), bias=Rule("constant", 0.0))
        self.register_buffer("ones_1C11", torch.ones(1, config.channels, 1, 1), persistent=False)

    def forward(self, batch: int) -> Tensor:
        """Return the memory [1, channels, rows, columns]."""
        memory: Tensor = self.conv(self.ones_1C11)
        return memory.expand(1, -1, self.config.rows, self.config.columns)

    @property
    def degrees_of_freedom(self) -> int:
        """One value per channel, the same at every position."""
        return self.config.channels
