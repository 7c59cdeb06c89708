"""The structure of a network as placements and updates see it: the ordered layers, the stages and the blocks."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from torch import Tensor, nn

from aimlib.errors import UsageError, counted, did_you_mean
from aimlib.own_code.places import told
from aimlib.shapes import quick_batch_norm


@dataclass(frozen=True)
class Block:
    """A block within a stage.

    Attributes
    ----------
    layers : names of the block's convolutions or dense layers on the main path, in order. Layers in shortcuts are not
        included.
    end : name of the module whose output is the block's output.
    """

    layers: tuple[str, ...]
    end: str


@dataclass(frozen=True)
class Layout:
    """The stages of a network, each a sequence of blocks; the stem and the head do not belong to any stage."""

    stages: tuple[tuple[Block, ...], ...] = ()

    def update_points(self, where: Literal["stage", "first_block", "block"]) -> list[str]:
        """Return the modules after which a memory is updated."""
        if where == "block":
            return [block.end for stage in self.stages for block in stage]
        return [stage[0 if where == "first_block" else -1].end for stage in self.stages]


@dataclass(frozen=True)
class Layer:
    """A convolution or dense layer, with its position and the size of its input.

    Attributes
    ----------
    name : module name within the network.
    kind : ``conv`` or ``linear``.
    order : position in the forward pass, starting at 0.
    height, width : size of the input map; 1 and 1 for a dense layer.
    stage, block : index of the stage within the network and of the block within the stage, starting at 0; None outside
        stages.
    first_in_block, first_in_stage : whether the layer is the first on the main path of its block, and of its stage.
    obstacle : the reason why the layer cannot read a memory; empty if the layer can.
    """

    name: str
    kind: Literal["conv", "linear"]
    order: int
    height: int
    width: int
    stage: int | None
    block: int | None
    first_in_block: bool
    first_in_stage: bool
    obstacle: str


@dataclass(frozen=True)
class Call:
    """One call of one module in a forward pass: the call's order, and the shapes of the first input and the output."""

    name: str
    order: int
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


def trace(network: nn.Module, input_shape: tuple[int, int, int]) -> list[Call]:
    """Return all module calls in one forward pass on one image, in the order in which the calls start.

    Parameters
    ----------
    network : the network; may be on any device, including the meta device. Its state does not change.
    input_shape : channels, height, width.
    """
    calls: list[Call] = []
    starts = itertools.count()
    pending: dict[str, list[int]] = {}

    def begin(name: str) -> Any:
        def hook(_module: nn.Module, _arguments: Any) -> None:
            pending.setdefault(name, []).append(next(starts))

        return hook

    def end(name: str) -> Any:
        def hook(_module: nn.Module, arguments: Any, output: Any) -> None:
            order = pending[name].pop()
            calls.append(Call(name, order, _shape(arguments), _shape(output)))

        return hook

    handles = []
    for name, module in network.named_modules():
        handles += [module.register_forward_pre_hook(begin(name)), module.register_forward_hook(end(name))]
    modes = [(module, module.training) for module in network.modules()]
    try:
        _forward_once(network.eval(), input_shape)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training
    return sorted(calls, key=lambda call: call.order)


def _forward_once(network: nn.Module, input_shape: tuple[int, int, int]) -> None:
    first = next(network.parameters(), None)
    like: dict[str, Any] = {} if first is None else {"device": first.device, "dtype": first.dtype}
    try:
        with torch.no_grad(), quick_batch_norm(network):
            network(torch.zeros(1, *input_shape, **like))
    except (RuntimeError, ValueError) as error:
        channels, height, width = input_shape
        raise UsageError(
            f"{type(network).__name__} does not take images of {counted(channels, 'channel')}, {height} x {width}: "
            f"{told(error, 'choose another size or backbone')}"
        ) from error


def _shape(value: Any) -> tuple[int, ...]:
    while isinstance(value, (tuple, list)) and value:
        value = value[0]
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def layers(network: nn.Module, layout: Layout, calls: list[Call]) -> list[Layer]:
    """Return the network's convolutions and dense layers in the order of the forward pass.

    Layers that the forward pass does not call come last; their `obstacle` says that they are not called.
    """
    modules = dict(network.named_modules())
    places = _places(network, layout)
    called: dict[str, int] = {}
    for call in calls:
        called[call.name] = called.get(call.name, 0) + 1
    found: list[Layer] = []
    for call in calls:
        module = modules[call.name]
        if not isinstance(module, (nn.Conv2d, nn.Linear)) or any(layer.name == call.name for layer in found):
            continue
        is_conv = isinstance(module, nn.Conv2d)
        height, width = (call.input_shape[2], call.input_shape[3]) if is_conv else (1, 1)
        stage, block, position = places.get(call.name, (None, None, None))
        found.append(
            Layer(
                name=call.name,
                kind="conv" if is_conv else "linear",
                order=len(found),
                height=height,
                width=width,
                stage=stage,
                block=block,
                first_in_block=position == 0,
                first_in_stage=position == 0 and block == 0,
                obstacle=_obstacle(module, called[call.name]),
            )
        )
    for name, module in modules.items():
        if isinstance(module, (nn.Conv2d, nn.Linear)) and name not in called:
            kind: Literal["conv", "linear"] = "conv" if isinstance(module, nn.Conv2d) else "linear"
            found.append(Layer(name, kind, len(found), 0, 0, None, None, False, False, _UNCALLED))
    return found


_UNCALLED = "the forward pass does not call it during evaluation"


def _obstacle(module: nn.Conv2d | nn.Linear, times: int) -> str:
    if type(module) not in (nn.Conv2d, nn.Linear):
        return f"a {type(module).__name__}, which may compute something different from a plain layer of its kind"
    if isinstance(module, nn.Conv2d) and module.groups != 1:
        return f"grouped convolution (groups={module.groups}): each group sees only a part of the input"
    if times > 1:
        return f"called {times} times in one forward pass"
    return ""


def _places(network: nn.Module, layout: Layout) -> dict[str, tuple[int, int, int | None]]:
    """Return the stage, the block and the position on the main path of every module inside a block."""
    names = [name for name, _ in network.named_modules()]
    unknown = [name for name in layout.update_points("block") if name not in names]
    if unknown:
        raise UsageError(f"the layout ends a block with {unknown[0]!r}, which is not in the network")
    places: dict[str, tuple[int, int, int | None]] = {}
    for stage, blocks in enumerate(layout.stages):
        for block, content in enumerate(blocks):
            for name in names:  # layers in shortcuts are inside the block, but not on its main path
                if name.startswith(f"{content.end}."):
                    places[name] = (stage, block, None)
            for position, name in enumerate(content.layers):
                if name not in names:
                    raise UsageError(f"the layout names a layer {name!r} that is not in the network")
                places[name] = (stage, block, position)
    return places


def replace_module(network: nn.Module, name: str, module: nn.Module) -> None:
    """Replace the submodule `name` with `module`, keeping its place in the order of its parent's children."""
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, module)


def matching(patterns: Iterable[str], names: Sequence[str], what: str) -> list[str]:
    """Return the names that match any of the patterns (``layer2.*``; ``*``, ``?`` and ``[...]`` as in file names).

    Parameters
    ----------
    names : the names to choose from; the result keeps their order.
    what : plural noun for the names, used in the message.

    Raises
    ------
    UsageError: a pattern does not match any name.
    """
    patterns = tuple(patterns)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UsageError(
                f"{pattern!r} does not match any of the {what}; {did_you_mean(pattern, names)}{what}: "
                f"{', '.join(names)}"
            )
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
