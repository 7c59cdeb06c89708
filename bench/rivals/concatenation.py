"""Memory as in the post: repeated for every image, and concatenated with the input of every layer that reads it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from aimlib.memory.attach import AimNetwork
from aimlib.memory.readers import LinearReader, Reader
from aimlib.memory.shape_rule import flatten, read_map
from aimlib.memory.structure import replace_module
from aimlib.updates._conv_sigmoid import ConvSigmoid
from aimlib.updates.base import pool_to


class _Layer(nn.Module):
    """A reader's layer whose input is concatenated with the memory."""

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self.layer = reader.concatenated()
        self.memory = reader.memory
        self.dense = isinstance(reader, LinearReader)

    def forward(self, x: Tensor) -> Tensor:
        memory = self.memory.read()
        if not self.dense:
            return self.layer(read_map(memory, x))
        return self.layer(torch.cat([x, flatten(memory).to(x.dtype).expand(len(x), -1)], dim=1))


class _Update(nn.Module):
    """The author's update block; its first convolution is applied to the concatenation, as in the author's code."""

    def __init__(self, update: ConvSigmoid) -> None:
        super().__init__()
        see, read = update.see, update.read
        self.first = nn.Conv2d(see.in_channels + read.in_channels, see.out_channels, 3, padding=1)
        with torch.no_grad():
            self.first.weight.copy_(torch.cat([see.weight, read.weight], dim=1))
            self.first.bias.copy_(see.bias)
        self.refine, self.write, self.memory_size = update.refine, update.write, update.memory_size

    def forward(self, features: Tensor, memory_NCHW: Tensor) -> Tensor:
        seen = self.refine(self.first(read_map(memory_NCHW, features)))
        return self.write(pool_to(seen, self.memory_size.rows, self.memory_size.columns))


def concatenating(network: AimNetwork) -> AimNetwork:
    """Return the network, modified in place to use concatenations instead of sums. Its outputs stay the same."""
    for reading, reader in zip(network.attachment.readers, list(network.readers()), strict=True):
        replace_module(network.network, reading.layer, _Layer(reader))
    return with_updates(network, _Update)


def with_updates(network: AimNetwork, changed: Callable[[nn.Module], nn.Module]) -> AimNetwork:
    """Return the network, modified in place: each update is replaced with the result of `changed`."""
    for place, name in zip(network.updates, network.attachment.updates, strict=True):
        update = changed(network.updates[place])
        network.updates[place] = update
        for hook in network.network.get_submodule(name)._forward_hooks.values():
            hook.update = update
    return network
