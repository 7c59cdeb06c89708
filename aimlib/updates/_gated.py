"""An update that mixes the old and the new memory using a learned gate."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from aimlib.component import ComponentConfig, Dimension, Integer
from aimlib.memory.initialization import Rule, declare
from aimlib.memory.sources.base import MemoryConfig
from aimlib.registry import updates
from aimlib.updates.base import MemoryUpdate, channels_of
from aimlib.updates.hidden import Hidden


@updates.register("gated")
class Gated(MemoryUpdate):
    """m' = g c + (1 - g) m, a convex mix of the memory and a candidate c, with a gate g in (0, 1) for every value.

    The gate and the candidate are 1 x 1 convolutions of the hidden map over [features; memory]
    (`aimlib.updates.hidden`). Their weights are initially Glorot uniform, so that gates start near 0.5. The update
    works at the memory's resolution, for maps and for dense features.

    Cost: (F + C + 3) h + 2 (h + 1) C weights for F feature channels, C memory channels, and h hidden channels. The
    multiply-adds per image are the number of weights (without biases and norms) times rows x columns.
    """

    source = "Cho et al., 2014: the gated recurrent unit's update gate"
    search_space: ClassVar[dict[str, Dimension]] = {"hidden": Integer(16, 256, log=True)}

    class Config(ComponentConfig):
        """Channels of the hidden map."""

        hidden: Annotated[int, Field(ge=1)] = 64
        """Channels of the hidden map."""

    config: Config

    def __init__(self, config: Config, features: tuple[int, ...], memory: MemoryConfig, where: str) -> None:
        super().__init__(config, features, memory, where)
        self.hidden = Hidden(channels_of(features, config.name, where), memory, config.hidden)
        self.gate = nn.Conv2d(config.hidden, memory.channels, 1)
        self.candidate = nn.Conv2d(config.hidden, memory.channels, 1)
        for part in (self.gate, self.candidate):
            declare(part, weight=Rule("glorot_uniform"))

    def forward(self, features: Tensor, memory_NCHW: Tensor) -> Tensor:
        """Return the new memory [batch, channels, rows, columns]."""
        hidden = self.hidden(features, memory_NCHW)
        candidate: Tensor = self.candidate(hidden)
        return torch.lerp(memory_NCHW.to(candidate.dtype), candidate, self.gate(hidden).sigmoid())
