"""The author's update block: three sigmoid convolutions over features and memory, pooled to the memory's size."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from aimlib.component import ComponentConfig, Integers
from aimlib.memory.initialization import Rule, declare
from aimlib.memory.shape_rule import channels_added, lay_out
from aimlib.memory.sources.base import MemoryConfig
from aimlib.registry import updates
from aimlib.updates.base import MemoryUpdate, feature_map, pool_to


@updates.register("conv_sigmoid")
class ConvSigmoid(MemoryUpdate):
    """[3 x 3 convolution, batch norm, sigmoid] x 3, average pool to rows x columns, linear 1 x 1 convolution.

    The input consists of the features and the memory, concatenated as for a layer that reads the memory at this place.
    If the map size is a multiple of the memory's size, maps are pooled by the plain average pool of the author's code;
    otherwise, adaptive pooling is used, which is more general. The values of a map that is smaller than the memory are
    repeated.

    Cost: 9 (F + A) f1 + 9 f1 f2 + 9 f2 f3 + f3 C weights for F feature channels, A channels that the memory adds,
    filters f1, f2, f3 and C memory channels; the first three act at the full resolution of the features. Training keeps
    2 (f1 + f2 + f3) maps of that size for the backward pass.
    """

    source = "github.com/Joy-Lunkad/AiM, commit 3d79d31: update block after the first block of a stage"

    class Config(ComponentConfig):
        """Filters of the sigmoid convolutions, and settings of their batch norms (defaults as run)."""

        filters: Integers = (16, 16, 32)
        """Output channels of the sigmoid convolutions, one number per convolution."""
        batch_norm_epsilon: Annotated[float, Field(gt=0)] = 1e-3
        """Number added to the variance in the batch norms."""
        batch_norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.01
        """Momentum of the running statistics, in PyTorch's convention; Keras uses 1 minus this value."""

    config: Config

    def __init__(self, config: Config, features: tuple[int, ...], memory: MemoryConfig, where: str) -> None:
        super().__init__(config, features, memory, where)
        channels, height, width = feature_map(features, config.name, where)
        added = channels_added(memory.values, height, width)
        # Together, these are one convolution over [features; memory], computed as a sum, as in every reader.
        first, *others = config.filters
        self.see = nn.Conv2d(channels, first, 3, padding=1)
        self.read = nn.Conv2d(added, first, 3, padding=1, bias=False)
        for part in (self.see, self.read):
            declare(part, weight=Rule("he_normal", fan_in=9 * (channels + added)))
        steps: list[nn.Module] = [self._norm(first), _SigmoidInPlace()]
        for before, filters in zip(config.filters, others, strict=False):
            steps += [nn.Conv2d(before, filters, 3, padding=1), self._norm(filters), _SigmoidInPlace()]
        self.refine = nn.Sequential(*steps)
        self.write = nn.Conv2d(config.filters[-1], memory.channels, kernel_size=1)
        declare(self.write, weight=Rule("glorot_uniform"))

    def _norm(self, filters: int) -> nn.BatchNorm2d:
        options = self.config
        return nn.BatchNorm2d(filters, eps=options.batch_norm_epsilon, momentum=options.batch_norm_momentum)

    def forward(self, features: Tensor, memory_NCHW: Tensor) -> Tensor:
        """Return the new memory [batch, channels, rows, columns] from features [batch, channels, height, width]."""
        read: Tensor = self.read(lay_out(memory_NCHW, features.shape[2], features.shape[3]).to(features.dtype))
        seen = self.refine(self.see(features).add_(read))
        new: Tensor = self.write(pool_to(seen, self.memory_size.rows, self.memory_size.columns))
        return new


class _SigmoidInPlace(nn.Module):
    """In-place sigmoid, for a tensor that is not needed in the backward pass, such as a batch norm's output."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, which is changed in place."""
        return x.sigmoid_()
