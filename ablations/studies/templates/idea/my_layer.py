"""The idea: a layer that writes its features into the network's memory.

Change it as you like. Changes to comments and spacing keep all run ids, and any other change gives new runs.
"""

from typing import Any

from torch import Tensor, nn

from aimlib.registry import updates
from aimlib.updates.base import MemoryUpdate, pool_to


@updates.register("my_layer")  # the name for study.yaml
class MyLayer(MemoryUpdate):
    """New memory = memory + a 1 x 1 convolution of the features, averaged down to the memory's size."""

    def __init__(self, config: Any, features: tuple[int, ...], memory: Any, where: str) -> None:
        super().__init__(config, features, memory, where)
        self.write = nn.Conv2d(features[0], memory.channels, kernel_size=1)  # features: channels, height, width

    def forward(self, features: Tensor, memory: Tensor) -> Tensor:
        """Return the new memory [batch, channels, rows, columns]."""
        rows, columns = memory.shape[2:]
        change: Tensor = self.write(pool_to(features, rows, columns))
        return memory + change
