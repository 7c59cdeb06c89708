"""The hidden map over features and memory that the gated and the residual update share."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from aimlib.memory.initialization import Rule, declare
from aimlib.memory.sources.base import MemoryConfig
from aimlib.updates.base import as_map, pool_to


class Hidden(nn.Module):
    """1 x 1 convolution over [features; memory], batch norm, ReLU, at the memory's rows and columns.

    Features are first pooled to the memory's size. As in a reader, the convolution is computed as a sum over features
    and memory. Cost: (F + C + 3) x hidden weights for F feature channels and C memory channels.

    Parameters
    ----------
    channels : F, the number of feature channels.
    memory : size of the memory.
    hidden : number of channels in the result.
    """

    def __init__(self, channels: int, memory: MemoryConfig, hidden: int) -> None:
        super().__init__()
        self.memory_size = memory
        self.see = nn.Conv2d(channels, hidden, 1)
        self.read = nn.Conv2d(memory.channels, hidden, 1, bias=False)
        for part in (self.see, self.read):
            declare(part, weight=Rule("he_normal", fan_in=channels + memory.channels))
        self.norm = nn.BatchNorm2d(hidden)

    def forward(self, features: Tensor, memory_NCHW: Tensor) -> Tensor:
        """Return [batch, hidden, rows, columns] for features [batch, F, ...] and a memory [1 or batch, C, ...]."""
        pooled = pool_to(as_map(features), self.memory_size.rows, self.memory_size.columns)
        read: Tensor = self.read(memory_NCHW.to(pooled.dtype))
        return functional.relu(self.norm(self.see(pooled).add_(read)), inplace=True)
