"""The simplest memory: free parameters."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from aimlib.component import Dimension, Integer, Real
from aimlib.memory.initialization import Rule, declare
from aimlib.memory.sources.base import MemoryConfig, MemorySource
from aimlib.registry import memories


@memories.register("parameter")
class PlainParameter(MemorySource):
    """Every value in the memory is a separate parameter, initially normal with standard deviation `initial_scale`.

    Comparing it with `conv_ones` separates what the memory can store from how fast the optimizer changes it.
    """

    source = "ablation of the post's memory layer: same reading, values as plain parameters"
    search_space: ClassVar[dict[str, Dimension]] = {
        "channels": Integer(16, 1024, log=True),
        "initial_scale": Real(0.01, 2.0, log=True),
        "source_lr_scale": Real(1.0, 1024.0, log=True),
    }

    def __init__(self, config: MemoryConfig) -> None:
        super().__init__(config)
        self.memory_1CHW = nn.Parameter(torch.zeros(1, config.channels, config.rows, config.columns))
        declare(self, memory_1CHW=Rule("normal", config.initial_scale))

    def forward(self, batch: int) -> Tensor:
        """Return the memory [1, channels, rows, columns]."""
        return self.memory_1CHW

    @property
    def degrees_of_freedom(self) -> int:
        """Every value can vary independently."""
        return self.config.values
