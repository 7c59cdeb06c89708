"""Stages and blocks of a network that does not declare them, inferred from its modules and one forward pass.

The rule visits the network's children, in order, and descends into every `nn.Sequential` with more than one layer (a
convolution or dense layer). Each visited module that returns a map is a unit: with two or more layers it is a block (a
residual block, an inception module, a dense block), with one it is a single layer (a stem, a transition).

* A network that has blocks: single layers belong to no block. Its stages are the runs of blocks whose outputs have
  the same height and width.
* A network of single layers only (AlexNet, VGG): a block is a run of them whose inputs have the same height and width;
  it ends with the last module of the same parent before the next run, usually the pooling. Every block is a stage.

Layers of a block are on its main path unless they lie below a child called downsample, shortcut or proj.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from torch import nn

from aimlib.memory.structure import Block, Call, Layout

_SHORTCUTS = frozenset({"downsample", "shortcut", "proj"})


def infer_layout(network: nn.Module, calls: list[Call]) -> Layout:
    """Return the stages and blocks of `network`, by the rule of this module.

    Parameters
    ----------
    calls : of one forward pass, as `aimlib.memory.structure.trace` returns them.
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
    """Return the layers of a unit in the order of the forward pass, shortcuts left out."""
    inside = [f"{unit}.{name}" if name else unit for name, part in _layers(network.get_submodule(unit))]
    main = [name for name in inside if not _SHORTCUTS & set(name.removeprefix(unit).split(".")) and name in once]
    return sorted(main, key=lambda name: once[name].order)


def _layers(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return ((name, part) for name, part in module.named_modules() if isinstance(part, (nn.Conv2d, nn.Linear)))


def _end(unit: str, before: int, once: dict[str, Call], network: nn.Module) -> str:
    """Return the last sibling of `unit` that is called after it and before the call `before`, and returns a map."""
    parent = unit.rpartition(".")[0]
    beside = {f"{parent}.{name}" if parent else name for name, _ in network.get_submodule(parent).named_children()}
    running = [
        name
        for name in beside
        if name in once and once[unit].order <= once[name].order < before and len(once[name].output_shape) == 4
    ]
    return max(running, key=lambda name: once[name].order)
