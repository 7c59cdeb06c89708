"""A running memory that is passed from batch to batch.

The post's third goal is that "the new updated memory should be passed on to next batches". In the author's code, only
the weights change between batches; this module passes on the memory itself.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from aimlib.config import CarryConfig
from aimlib.memory.sources.base import MemoryConfig


class Carry(nn.Module):
    """An exponential moving average of the memory at the end of training batches, stored in buffers.

    The average is part of the state dict, and therefore of checkpoints. It is detached, so no gradient flows through
    it; the source's gradient comes only from its share of the mix. During evaluation, the average is read but never
    written. With a share of 1, the source is used only in the first batch and is not trained afterwards. An update that
    adds to the memory then accumulates without limit.

    Parameters
    ----------
    config : decay and share.
    memory : size of the memory.

    Attributes
    ----------
    carried_1CHW : the moving average [1, channels, rows, columns].
    batches : number of batches so far. Before the first batch, the memory comes only from the source.
    """

    carried_1CHW: Tensor
    batches: Tensor

    def __init__(self, config: CarryConfig, memory: MemoryConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("carried_1CHW", torch.zeros(1, memory.channels, memory.rows, memory.columns))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def mix(self, start_NCHW: Tensor) -> Tensor:
        """Return the memory that a forward pass starts from: a mix of the source's memory and the carried memory."""
        # Unlike an `if`, this does not wait for the device.
        share = torch.where(self.batches > 0, self.config.share, 0.0).to(start_NCHW.dtype)
        return torch.lerp(start_NCHW, self.carried_1CHW.to(start_NCHW.dtype), share)

    @torch.no_grad()
    def keep(self, memory_NCHW: Tensor) -> None:
        """Update the average with the memory at the end of a forward pass, averaged over the batch.

        In evaluation mode, this method does nothing.
        """
        if not self.training:
            return
        now = memory_NCHW.mean(dim=0, keepdim=True, dtype=self.carried_1CHW.dtype)
        weight = torch.where(self.batches > 0, 1 - self.config.decay, 1.0).to(now.dtype)
        self.carried_1CHW.lerp_(now, weight)
        self.batches.add_(1)

    def extra_repr(self) -> str:
        """Return the decay and the share."""
        return f"decay={self.config.decay}, share={self.config.share}"
