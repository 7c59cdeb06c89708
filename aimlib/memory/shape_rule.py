"""How a memory is laid out for the layer that reads it; one rule covers all sizes.

The post: "the memory is reshaped to the spatial size of the input of the layer that reads it and concatenated
to that input along the channels. Where rows x columns of that input exceed the total number of memory values, the
memory becomes one channel padded with zeros." The author's code defines the layout if the number of values is a
multiple of rows x columns, or if the map has more rows than the square root of the number of values. For all other
sizes, this module completes the rule:

* If there are at least as many values as positions, zeros are appended up to the next multiple of the positions. The
  values become ``ceil(values / positions)`` channels, in the order rows, columns, channels (as in the original, which
  keeps channels last).
* If there are fewer values than positions, the memory becomes one channel. Zeros are added before and after the values
  up to a square number (as many before as after, or one fewer). The result is a square in the middle of the map,
  surrounded by zeros. If the square is longer than a side of the map (a narrow map), the values instead fill the map
  row by row from its start.

Legend: N images (or 1 if the memory is the same for every image), C channels, H rows, W columns of the map.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def channels_added(values: int, height: int, width: int) -> int:
    """Return how many channels a memory with `values` numbers adds to a map of size `height` x `width`."""
    return max(1, math.ceil(values / (height * width)))


def flatten(memory_NCHW: Tensor) -> Tensor:
    """Return the memory's values [N, values] in the order rows, columns, channels."""
    return memory_NCHW.permute(0, 2, 3, 1).flatten(1)


def lay_out(memory_NCHW: Tensor, height: int, width: int) -> Tensor:
    """Return the memory as channels of a map: [N, channels_added, height, width]."""
    flat = flatten(memory_NCHW)
    values, positions = flat.shape[1], height * width
    if values >= positions:
        channels = channels_added(values, height, width)
        padded = functional.pad(flat, (0, channels * positions - values))
        return padded.view(-1, height, width, channels).permute(0, 3, 1, 2)
    side = math.isqrt(values - 1) + 1
    if side > min(height, width):
        return functional.pad(flat, (0, positions - values)).view(-1, 1, height, width)
    before, after = (side * side - values) // 2, (side * side - values + 1) // 2
    square = functional.pad(flat, (before, after)).view(-1, 1, side, side)
    top, left = (height - side) // 2, (width - side) // 2
    return functional.pad(square, (left, width - side - left, top, height - side - top))


def read_map(memory_NCHW: Tensor, x_BCHW: Tensor) -> Tensor:
    """Return the concatenation described in the post: `x` followed by the memory's channels.

    The readers never build this tensor; updates use it, and tests compare the readers with it.
    """
    memory = lay_out(memory_NCHW, x_BCHW.shape[2], x_BCHW.shape[3])
    return torch.cat([x_BCHW, memory.to(x_BCHW.dtype).expand(x_BCHW.shape[0], -1, -1, -1)], dim=1)
