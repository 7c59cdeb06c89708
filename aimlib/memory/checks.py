"""Checks, before any training, of what plugins' memory sources and updates return."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from aimlib.errors import PluginError
from aimlib.memory.attach import AimNetwork
from aimlib.memory.sources.base import MemoryConfig
from aimlib.registry import Registry, memories, updates
from aimlib.shapes import quick_batch_norm
from aimlib.updates.base import MemoryUpdate

_IMAGES = 2


def refuse_wrong_memory(network: AimNetwork, input_shape: tuple[int, int, int]) -> None:
    """Send images through a network on the meta device, and check every memory that a source or an update returns.

    Raises
    ------
    PluginError: a source or an update does not return a memory of the configured size, or `degrees_of_freedom` is not
        an integer.
    """
    size = network.source.config
    parts: list[tuple[Registry, nn.Module, str]] = [(memories, each, each.config.name) for each in network.sources()]
    parts += [(updates, each, each.config.name) for each in cast("Iterable[MemoryUpdate]", network.updates.children())]
    watched = {
        module: f"{registry.described(name)}: forward()"
        for registry, module, name in parts
        if not type(module).__module__.startswith("aimlib.")
    }
    if not watched:
        return
    _refuse_wrong_count(network.source.degrees_of_freedom, memories.described(size.name))
    handles = [module.register_forward_hook(_comparing(what, size)) for module, what in watched.items()]
    try:
        with torch.no_grad(), quick_batch_norm(network):
            network.eval()(torch.zeros(_IMAGES, *input_shape, device="meta"))
    finally:
        for handle in handles:
            handle.remove()


def _refuse_wrong_count(count: Any, what: str) -> None:
    try:
        operator.index(count)
    except TypeError:
        raise PluginError(f"{what}: degrees_of_freedom is {count!r}; make it return an integer") from None


def _comparing(what: str, size: MemoryConfig) -> Callable[..., None]:
    """Return a hook that refuses any output that is not a memory of the given size."""
    wanted = size.channels, size.rows, size.columns

    def compare(_module: nn.Module, _arguments: Any, output: object) -> None:
        if isinstance(output, Tensor) and output.shape[:1] in ((1,), (_IMAGES,)) and output.shape[1:] == wanted:
            return
        given = f"a tensor of shape {list(output.shape)}" if isinstance(output, Tensor) else _kind(output)
        raise PluginError(
            f"{what} returned {given} for a batch of {_IMAGES}; make it return the memory, [1 or {_IMAGES}, "
            f"{', '.join(map(str, wanted))}]: [1 or batch, channels, rows, columns]"
        )

    return compare


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
