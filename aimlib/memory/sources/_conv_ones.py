"""The post's memory layer: a convolution of ones."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from aimlib.component import Categorical, Dimension, Integer, Real
from aimlib.memory.initialization import Rule, declare
from aimlib.memory.sources.base import MemoryConfig, MemorySource
from aimlib.registry import memories


@memories.register("conv_ones")
class ConvOnes(MemorySource):
    """A convolution with linear activation, applied to ones: "its output is the memory".

    A 1 x 1 convolution of a constant input has the same output at every position, so the memory has only `channels`
    degrees of freedom until an update runs. The output is computed at one position and expanded, which gives the same
    values and gradients at 1 / (rows x columns) of the cost. Each value is a sum of `channels` weights and one bias, so
    with Adam it moves about `channels` times as far per step as a plain parameter would.

    With ``kernel: full``, the kernel has as many rows and columns as the memory, and the ones are padded with zeros.
    Every position therefore sees a different part of the kernel and has its own value. (According to the post, a 7 x 7
    kernel would "have more memory".) This kernel has rows x columns times as many weights.

    Weights are initially Glorot uniform, multiplied by `initial_scale`. The standard deviation of the memory's values
    is then `initial_scale` with a 1 x 1 kernel, and 0.5 to 1 times `initial_scale` with a full kernel.
    """

    source = "J. Lunkad, Can Giving Memory to Entire Neural Nets be Revolutionary?, Towards AI, 2021: memory layer"
    search_space: ClassVar[dict[str, Dimension]] = {
        "channels": Integer(16, 1024, log=True),
        "kernel": Categorical(("1x1", "full")),
        "initial_scale": Real(0.01, 2.0, log=True),
        "source_lr_scale": Real(1 / 1024, 1.0, log=True),
    }

    class Config(MemoryConfig):
        """Size of the memory, and the kernel that produces it (as run: 1x1)."""

        kernel: Literal["1x1", "full"] = "1x1"
        """Kernel of the convolution. 1x1: all positions in a channel have the same value (as run). full: the kernel is
        as large as the memory, so every position has its own value."""

    config: Config
    ones_1CHW: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        rows, columns = (1, 1) if config.kernel == "1x1" else (config.rows, config.columns)
        self.conv = nn.Conv2d(config.channels, config.channels, kernel_size=(rows, columns))
        declare(self.conv, weight=Rule("glorot_uniform", config.initial_scale), bias=Rule("constant", 0.0))
        # The width of the border with "same" padding. If it is uneven, there is one more zero after the ones than
        # before.
        border = ((columns - 1) // 2, columns // 2, (rows - 1) // 2, rows // 2)
        ones_1CHW = functional.pad(torch.ones(1, config.channels, rows, columns), border)
        self.register_buffer("ones_1CHW", ones_1CHW, persistent=False)

    def forward(self, batch: int) -> Tensor:
        """Return the memory [1, channels, rows, columns]."""
        memory: Tensor = self.conv(self.ones_1CHW)
        return memory.expand(1, -1, self.config.rows, self.config.columns)

    @property
    def degrees_of_freedom(self) -> int:
        """One value per channel with a 1 x 1 kernel; every value with a full kernel.

        Along one axis, the value at the middle position is the sum of all taps of the kernel. Later positions sum only
        the first taps, and earlier positions only the last taps. The sum of all taps minus the sum of the last taps is
        the sum of the first taps. The values therefore span the sums of the first 1, 2, ... taps, up to all taps. This
        is a triangular system with full rank. In two dimensions, the ranks multiply.
        """
        return self.config.channels if self.config.kernel == "1x1" else self.config.values
