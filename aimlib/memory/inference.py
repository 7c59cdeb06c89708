"""Infer the stages and blocks of a network without a declared layout, from its modules and one forward pass.

The rule visits the network's children in order, and descends into every `nn.Sequential` that contains more than one
layer (a convolution or a dense layer). Each visited module that returns a map is a unit. A unit with two or more layers
is a block (a residual block, an inception module, a dense block); a unit with one layer is a single layer (a stem, a
transition).

* In a network that has blocks, single layers do not belong to any block. The stages are sequences of consecutive blocks
  whose outputs have the same height and width.
* In a network that consists only of single layers (AlexNet, VGG), a block is a sequence of layers whose inputs have the
  same height and width. A block ends with the last module of the same parent before the next sequence, usually a
  pooling layer. Every block is a stage.

A block's layers are on its main path unless they are inside a child called downsample, shortcut or proj.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from torch import nn

from aimlib.memory.structure import Block, Call, Layout

_SHORTCUTS = frozenset({"downsample", "shortcut", "proj"})


def infer_layout(network: nn.Module, calls: list[Call]) -> Layout:
    """Return the stages and blocks of `network`, inferred by the rule of this module.

    Parameters
    ----------
    calls : the module calls in one forward pass, as `aimlib.memory.structure.trace` returns them.
    """
    once = {call.name: call for call in calls if sum(other.name == call.name for other in calls) == 1}
    units = [name for name in _units(network, "") if name in once and len(once[name].output_shape) == 4]
    units.sort(key=lambda name: once[name].order)
    blocks = [name for name in units if _layer_count(network.get_submodule(name)) > 1]
    if blocks:
        runs = itertools.groupby(blocks, key=lambda name: once[name].output_shape[2:])
        return Layout(tuple(tuple(_block(network, name, once) for name in run) for _, run in runs))
    if not units:
        return Layout()
    runs = itertools.groupby(units, key=lambda name: once[name].input_shape[2:])
    plain = [list(run) for _, run in runs]
    following = [once[run[0]].order for run in plain[1:]]
    ends = [_end(run[-1], before, once, network) for run, before in zip(plain, [*following, len(calls)], strict=True)]
    return Layout(
        tuple(
            (Block(tuple(layer for name in run for layer in _main_path(network, name, once)), end),)
            for run, end in zip(plain, ends, strict=True)
        )
    )


def _units(module: nn.Module, prefix: str) -> Iterator[str]:
    for name, child in module.named_children():
        count = _layer_count(child)
        if isinstance(child, nn.Sequential) and count > 1:
            yield from _units(child, f"{prefix}{name}.")
        elif count:
            yield f"{prefix}{name}"


def _layer_count(module: nn.Module) -> int:
    return sum(isinstance(part, (nn.Conv2d, nn.Linear)) for part in module.modules())


def _block(network: nn.Module, name: str, once: dict[str, Call]) -> Block:
    return Block(tuple(_main_path(network, name, once)), end=name)


def _main_path(network: nn.Module, unit: str, once: dict[str, Call]) -> list[str]:
    """Return the layers of a unit in the order of the forward pass, without shortcuts."""
    inside = [f"{unit}.{name}" if name else unit for name, part in _layers(network.get_submodule(unit))]
    main = [name for name in inside if not _SHORTCUTS & set(name.removeprefix(unit).split(".")) and name in once]
    return sorted(main, key=lambda name: once[name].order)


def _layers(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return ((name, part) for name, part in module.named_modules() if isinstance(part, (nn.Conv2d, nn.Linear)))


def _end(unit: str, before: int, once: dict[str, Call], network: nn.Module) -> str:
    """Return the last sibling of `unit` that returns a map and is called after `unit` and before `before`."""
    parent = unit.rpartition(".")[0]
    beside = {f"{parent}.{name}" if parent else name for name, _ in network.get_submodule(parent).named_children()}
    running = [
        name
        for name in beside
        if name in once and once[unit].order <= once[name].order < before and len(once[name].output_shape) == 4
    ]
    return max(running, key=lambda name: once[name].order)
