"""Attach a memory to an existing network."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from aimlib.config import CarryConfig, UpdatePlaces
from aimlib.errors import PluginError, UsageError, did_you_mean
from aimlib.memory.carry import Carry
from aimlib.memory.current import CurrentMemory
from aimlib.memory.inference import infer_layout
from aimlib.memory.initialization import declare, declared
from aimlib.memory.own_start import take_over
from aimlib.memory.readers import ConvReader, LinearReader, Reader
from aimlib.memory.shape_rule import channels_added
from aimlib.memory.sources.base import MemorySource
from aimlib.memory.structure import Call, Layer, Layout, layers, replace_module, trace
from aimlib.memory.update_points import read_points, static_readers, wanted_points
from aimlib.placements.base import Placement
from aimlib.updates.base import MemoryUpdate, UpdateFactory

_NAMED = 12
"""Maximum number of layers that a message lists."""


@dataclass(frozen=True)
class Reading:
    """One layer that reads memory: its name, its input map's size, and how many channels (or features) memory adds.

    The field `memory` is ``current``, or ``static`` if the layer reads the second memory of the routing ``as_run``.
    """

    layer: str
    height: int
    width: int
    channels_added: int
    memory: Literal["current", "static"] = "current"


@dataclass(frozen=True)
class Attachment:
    """The result of `attach_memory`, for reports.

    Attributes
    ----------
    readers : the layers that read memory, in the order of the forward pass.
    updates : modules after which the memory is updated, in the same order.
    skipped : layers that the placement chose but that cannot read a memory, with the reason.
    unread_updates : places where no update is built, because no later layer would read its result.
    """

    readers: tuple[Reading, ...]
    updates: tuple[str, ...]
    skipped: dict[str, str] = field(default_factory=dict)
    unread_updates: tuple[str, ...] = ()


class AimNetwork(nn.Module):
    """A network in which the chosen layers read a memory. Created by `attach_memory`.

    Attributes
    ----------
    network : the given network, with its chosen layers replaced by readers.
    source : module that returns the memory at the start of every forward pass.
    static_source : source of the second memory of the routing ``as_run``, which no update changes; otherwise None.
    updates : the updates, each keyed by the name of the module that it follows (see `attachment.updates`), with / in
        place of every dot.
    carry : the running memory across batches; None if no memory is passed on between batches.
    attachment : the layers that read memory, and the updates.
    """

    baseline_prefix: ClassVar[str] = "network."
    """Prefix of the names of the given network's parameters; see `aimlib.memory.initialization.initialize`."""

    def __init__(
        self,
        network: nn.Module,
        source: MemorySource,
        updates: list[MemoryUpdate],
        attachment: Attachment,
        memory: CurrentMemory,
        *,
        static: tuple[MemorySource, CurrentMemory] | None = None,
        carry: Carry | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.source = source
        self.static_source: MemorySource | None = None
        self.static_memory: CurrentMemory | None = None
        if static is not None:
            self.static_source, self.static_memory = static
        # Keyed by place, so that an update in the same place has the same initial values.
        names = [name.replace(".", "/") for name in attachment.updates]
        self.updates = nn.ModuleDict(dict(zip(names, updates, strict=True)))
        self.carry = carry
        self.attachment = attachment
        self.memory = memory
        for name, update in zip(attachment.updates, updates, strict=True):
            network.get_submodule(name).register_forward_hook(_UpdateHook(update, memory))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the network's output for images [batch, channels, height, width]."""
        start = self.source(x_BCHW.shape[0])
        self.memory.write(start if self.carry is None else self.carry.mix(start))
        if self.static_source is not None and self.static_memory is not None:
            self.static_memory.write(self.static_source(x_BCHW.shape[0]))
        try:
            output: Tensor = self.network(x_BCHW)
            if self.carry is not None:
                self.carry.keep(self.memory.read())
        finally:
            self.memory.clear()
            if self.static_memory is not None:
                self.static_memory.clear()
        return output

    def readers(self) -> Iterable[Reader]:
        """Yield the layers that read the memory."""
        for reading in self.attachment.readers:
            module = self.network.get_submodule(reading.layer)
            assert isinstance(module, (ConvReader, LinearReader))
            yield module

    def sources(self) -> Iterable[MemorySource]:
        """Yield the memory source and, with the routing ``as_run``, the second memory source."""
        yield self.source
        if self.static_source is not None:
            yield self.static_source


class _UpdateHook:
    """Runs one update after a module's forward pass.

    This is a class rather than a closure, so that networks can be copied.
    """

    def __init__(self, update: MemoryUpdate, memory: CurrentMemory) -> None:
        self.update = update
        self.memory = memory

    def __call__(self, _module: nn.Module, _arguments: Any, features: Tensor) -> None:
        self.memory.write(self.update(features, self.memory.read()))


def attach_memory(
    network: nn.Module,
    source: MemorySource,
    placement: Placement,
    update: UpdateFactory | None = None,
    *,
    input_shape: tuple[int, int, int],
    layout: Layout | None = None,
    update_after: UpdatePlaces | tuple[str, ...] = "stage",
    static_source: MemorySource | None = None,
    carry: CarryConfig | None = None,
    calls: list[Call] | None = None,
) -> AimNetwork:
    """Let the layers that `placement` chooses read a memory, and let `update` rewrite it during the forward pass.

    The network's own layers keep their parameters, under the same names; `network` itself is modified and becomes part
    of the result.

    Parameters
    ----------
    network : any network of convolutions and dense layers.
    source : returns the memory at the start of every forward pass.
    placement : chooses the layers that read the memory.
    update : function that creates the update for a module's features; None: the source's memory does not change.
    input_shape : channels, height and width of the images; the returned network refuses images of other sizes.
    layout : stages and blocks; needed by some placements, and by all updates except those after named modules. None:
        stages and blocks are inferred, see `aimlib.memory.inference`.
    update_after : where the updates run, see `aimlib.config.ModelConfig.update_after`. An update is not built if its
        result is not read by any later layer or, with `carry`, by a later batch.
    static_source : provides a second memory of the same size for the layers outside the first block of each stage. This
        is the routing ``as_run``, see `aimlib.config.ModelConfig.routing`.
    carry : configuration of a running memory that is passed on from batch to batch.
    calls : the module calls in the network's forward pass, as `trace` returns them; None: `trace` is called, which
        sends one image through the network.

    Raises
    ------
    UsageError: no layer reads the memory, no layer reads the result of an update, or no layer reads the second memory.
    """
    calls = trace(network, input_shape) if calls is None else calls
    layout = infer_layout(network, calls) if layout is None else layout
    chosen, skipped = _choose(layers(network, layout, calls), placement)
    memory, static_memory = CurrentMemory(), CurrentMemory()
    static = set() if static_source is None else static_readers(chosen)
    points, unread = (
        read_points(
            wanted_points(layout, update_after, calls),
            {call.name: call.order for call in calls},
            [layer for layer in chosen if layer.name not in static],
            carried=carry is not None,
        )
        if update
        else ([], [])
    )
    updates = [_build_update(update, calls, name, source) for name in points] if update else []
    for layer in chosen:
        seen = static_memory if layer.name in static else memory
        replace_module(network, layer.name, _reader(network.get_submodule(layer.name), layer, source, seen))
    attachment = Attachment(_readings(chosen, static, source), tuple(points), skipped, tuple(unread))
    return AimNetwork(
        network,
        source,
        updates,
        attachment,
        memory,
        static=None if static_source is None else (static_source, static_memory),
        carry=None if carry is None else Carry(carry, source.config),
    )


def _choose(found: list[Layer], placement: Placement) -> tuple[list[Layer], dict[str, str]]:
    names = {layer.name for layer in found}
    answer: object = placement.reads(found)
    if not isinstance(answer, Iterable) or isinstance(answer, str):
        raise PluginError(
            f"placement {placement.config.name!r}: reads() returned {answer!r}; make it return the names of layers"
        )
    wanted = list(answer)
    if any(isinstance(name, Layer) for name in wanted):
        raise PluginError(
            f"placement {placement.config.name!r}: reads() returned layers; make it return their names, as in "
            f"[layer.name for layer in layers]"
        )
    for name in wanted:
        if name not in names:
            raise UsageError(
                f"placement {placement.config.name!r} chose a layer {name!r} that the network does not have; "
                f"{_nearest(name, [layer.name for layer in found])}"
            )
    skipped = {layer.name: layer.obstacle for layer in found if layer.name in wanted and layer.obstacle}
    chosen = [layer for layer in found if layer.name in wanted and not layer.obstacle]
    if not chosen:
        why = "; ".join(f"{name}: {reason}" for name, reason in skipped.items()) or "it selects no layers"
        raise UsageError(
            f"placement {placement.config.name!r} does not let any layer of this network read the memory ({why}); "
            f"layers: {', '.join(layer.name for layer in found)}"
        )
    return chosen, skipped


def _nearest(name: str, known: list[str]) -> str:
    """Return the layers whose names are nearest to a name that does not exist, or all layers if there are few."""
    shown = known if len(known) <= _NAMED else difflib.get_close_matches(name, known, n=_NAMED, cutoff=0)
    listed = ", ".join(known_name for known_name in known if known_name in shown)
    few = len(known) <= _NAMED
    return f"{did_you_mean(name, known)}{'its layers' if few else f'the nearest of its {len(known)} layers'}: {listed}"


def _build_update(update: UpdateFactory, calls: list[Call], name: str, source: MemorySource) -> MemoryUpdate:
    output_shape = next(call.output_shape for call in calls if call.name == name)
    return update(output_shape[1:], source.config, name)


def _readings(chosen: list[Layer], static: set[str], source: MemorySource) -> tuple[Reading, ...]:
    return tuple(
        Reading(
            layer.name,
            layer.height,
            layer.width,
            _width(layer, source.config.values),
            "static" if layer.name in static else "current",
        )
        for layer in chosen
    )


def _width(layer: Layer, values: int) -> int:
    return channels_added(values, layer.height, layer.width) if layer.kind == "conv" else values


def _reader(module: nn.Module, layer: Layer, source: MemorySource, memory: CurrentMemory) -> Reader:
    reader: Reader
    if isinstance(module, nn.Conv2d):
        reader = ConvReader(module, _width(layer, source.config.values), memory, wide=source.config.wide)
    else:
        assert isinstance(module, nn.Linear)
        reader = LinearReader(module, source.config.values, memory)
    declare(reader, **declared(module))
    take_over(reader, module)
    return reader
