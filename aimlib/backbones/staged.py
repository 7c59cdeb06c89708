"""The code shared by this package's residual networks: stages of blocks, and a pooled dense head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from pydantic import model_validator
from torch import Tensor, nn

from aimlib.backbones.base import BottleneckWidths
from aimlib.component import ComponentConfig, Integers


class StagedConfig(ComponentConfig):
    """Inner width and number of blocks for each stage."""

    widths: BottleneckWidths
    """Inner channels of the blocks in each stage, one number per stage."""
    blocks: Integers
    """Number of blocks in each stage, one number per stage."""

    @model_validator(mode="after")
    def _same_stages(self) -> Self:
        if len(self.widths) != len(self.blocks):
            raise ValueError(
                f"widths has {len(self.widths)} stages and blocks has {len(self.blocks)}; list one number per stage "
                f"in both"
            )
        return self


class StagedResNet(nn.Module):
    """Stages of blocks (``layer1``, ``layer2``, ...), a global average pool, and a dense layer ``fc``.

    The first block of every stage except the first stage halves the map. A subclass adds its stem before it calls
    `add_stages`, and runs the stem before it calls `from_stem`.
    """

    def add_stages(
        self,
        in_channels: int,
        widths: tuple[int, ...],
        blocks: tuple[int, ...],
        block: Callable[[int, int, int, bool], nn.Module],
        classes: int,
        expansion: int = 4,
    ) -> None:
        """Add the stages and the head.

        Parameters
        ----------
        in_channels : output channels of the stem.
        block : function that creates a block, given its input channels, its inner width, its stride, and whether it is
            the first block in its stage.
        expansion : ratio between a block's output channels and its inner width.
        """
        self.stages = len(widths)
        for number, (width, count) in enumerate(zip(widths, blocks, strict=True), start=1):
            stage = []
            for position in range(count):
                first = position == 0
                stage.append(block(in_channels, width, 2 if first and number > 1 else 1, first))
                in_channels = width * expansion
            self.add_module(f"layer{number}", nn.Sequential(*stage))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(in_channels, classes)

    def from_stem(self, x_BCHW: Tensor) -> Tensor:
        """Return logits [batch, classes], given the output of the stem."""
        for number in range(1, self.stages + 1):
            x_BCHW = self.get_submodule(f"layer{number}")(x_BCHW)
        logits: Tensor = self.fc(self.avgpool(x_BCHW).flatten(1))
        return logits
