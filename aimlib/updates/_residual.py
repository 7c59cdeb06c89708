"""An update that adds to the memory."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn

from aimlib.component import ComponentConfig, Dimension, Integer
from aimlib.memory.initialization import Rule, declare
from aimlib.memory.sources.base import MemoryConfig
from aimlib.registry import updates
from aimlib.updates.base import MemoryUpdate, channels_of
from aimlib.updates.hidden import Hidden


@updates.register("residual")
class Residual(MemoryUpdate):
    """m' = m + change: the source's values stay readable, and their gradient passes through each update unchanged.

    The change is a 1 x 1 convolution of the hidden map over [features; memory] (`aimlib.updates.hidden`), with weights
    that are initially Glorot uniform. The update works at the memory's resolution, for maps and for dense features.

    Cost: (F + C + 3) h + (h + 1) C weights for F feature channels, C memory channels, and h hidden channels. The
    multiply-adds per image are the number of weights (without biases and norms) times rows x columns.
    """

    source = "He et al., 2016: residual connections"
    search_space: ClassVar[dict[str, Dimension]] = {"hidden": Integer(16, 256, log=True)}

    class Config(ComponentConfig):
        """Channels of the hidden map."""

        hidden: Annotated[int, Field(ge=1)] = 64
        """Channels of the hidden map."""

    config: Config

    def __init__(self, config: Config, features: tuple[int, ...], memory: MemoryConfig, where: str) -> None:
        super().__init__(config, features, memory, where)
        self.hidden = Hidden(channels_of(features, config.name, where), memory, config.hidden)
        self.write = nn.Conv2d(config.hidden, memory.channels, 1)
        declare(self.write, weight=Rule("glorot_uniform"))

    def forward(self, features: Tensor, memory_NCHW: Tensor) -> Tensor:
        """Return the new memory [batch, channels, rows, columns]."""
        change: Tensor = self.write(self.hidden(features, memory_NCHW))
        return memory_NCHW + change
