"""Build networks from configurations, and determine the properties of a network before it is trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from aimlib.backbones.base import Backbone
from aimlib.backbones.pooling import nondeterministic_poolings
from aimlib.component import ComponentConfig
from aimlib.config import ModelConfig
from aimlib.datasets.base import ImageShape
from aimlib.errors import UsageError, checked
from aimlib.memory.attach import AimNetwork, Attachment, attach_memory
from aimlib.memory.initialization import initialize
from aimlib.memory.own_start import constructed
from aimlib.memory.sources.base import MemoryConfig, MemorySource
from aimlib.memory.structure import Call, Layout, trace
from aimlib.registry import backbones, controls, memories, placements, updates
from aimlib.seeding import seed_for
from aimlib.shapes import quick_batch_norm
from aimlib.updates.base import MemoryUpdate, UpdateFactory
from aimlib.weights import fitting, reading


def skeleton(model: ModelConfig, shape: ImageShape) -> nn.Module:
    """Return the network on the meta device, with shapes and names but no values. This takes milliseconds and no RAM.

    Raises
    ------
    UsageError: the parts do not fit together.
    """
    with torch.device("meta"), _WithoutDraws():
        return _assemble(model, shape)


class _WithoutDraws(TorchFunctionMode):
    """Skips the drawing of initial values on the meta device: tensors there have no values, but drawing takes time."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _DRAWS:
            tensor: Tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:
                return tensor
        return func(*args, **(kwargs or {}))


_DRAWS = {
    *(Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_),
    *(nn.init.normal_, nn.init.uniform_, nn.init.constant_, nn.init.kaiming_uniform_),
}


def build(model: ModelConfig, shape: ImageShape, seed: int) -> nn.Module:
    """Return the network on the CPU with the initial values of `seed`.

    Raises
    ------
    UsageError: the parts do not fit together, or the model's weights are missing or do not fit.
    """
    with torch.random.fork_rng(devices=[]):  # for parameters without a rule
        torch.manual_seed(seed_for(seed, "init"))
        network = _assemble(model, shape, seed)
    initialize(network, seed, model.conv_init, model.read_init or "concatenated")
    if model.weights is not None:
        fitting.load(network, reading.read(model.weights), weights_fit(model, shape))
    return _controlled(model, network)


def weights_fit(model: ModelConfig, shape: ImageShape) -> fitting.Fit:
    """Return what the network of a model with `weights` takes from the file; no network is allocated.

    Raises
    ------
    UsageError: the file is missing, or does not fit.
    """
    assert model.weights is not None
    return fitting.fit(skeleton(model, shape), reading.read(model.weights), model.weights, shape)


def _controlled(model: ModelConfig, network: nn.Module) -> nn.Module:
    if model.control is None:
        return network
    assert isinstance(network, AimNetwork)  # ModelConfig refuses a control without memory
    adjusted: object = controls.create(model.control).adjust(network)
    return checked(adjusted, nn.Module, f"{controls.described(model.control.name)}: adjust()")


def _assemble(model: ModelConfig, shape: ImageShape, seed: int | None = None) -> nn.Module:
    """Return the network; without a seed, the values are not the initial values of any run."""
    backbone = cast("Backbone", backbones.create(model.backbone))
    network = constructed(model.backbone, lambda: _network_of(backbone, shape), seed, "")
    if model.memory is None or model.placement is None:
        return network
    return attach_memory(
        network,
        _source(model.memory, seed, "source"),
        placements.create(model.placement),
        _update_factory(model.update, seed) if model.update else None,
        input_shape=(shape.channels, shape.height, shape.width),
        layout=_layout_of(backbone, network),
        update_after=model.update_after or "stage",
        static_source=_source(model.memory, seed, "static_source") if model.routing == "as_run" else None,
        carry=model.carry,
        calls=_calls(model.backbone, network, shape) if seed is None else None,
    )


def _calls(backbone: ComponentConfig, network: nn.Module, shape: ImageShape) -> list[Call]:
    """Return the module calls in a backbone's forward pass; cached, because no memory changes them."""
    known = backbones.get(backbone.name), backbone.model_dump_json(), shape
    if known not in _traced:
        if len(_traced) == _TRACES:
            _traced.clear()
        _traced[known] = trace(network, (shape.channels, shape.height, shape.width))
    return _traced[known]


_TRACES = 256
_traced: dict[tuple[Any, ...], list[Call]] = {}


def _network_of(backbone: Backbone, shape: ImageShape) -> nn.Module:
    return checked(backbone.build(shape), nn.Module, f"{backbones.described(backbone.config.name)}: build()")


def _layout_of(backbone: Backbone, network: nn.Module) -> Layout | None:
    """Return the layout that a backbone declares; None if the layout must be inferred."""
    found: object = backbone.layout(network)
    return None if found is None else checked(found, Layout, f"{backbones.described(backbone.config.name)}: layout()")


def _source(config: ComponentConfig, seed: int | None, name: str) -> MemorySource:
    source: MemorySource = constructed(config, lambda: memories.create(config), seed, f"{name}.")
    return source


def _update_factory(config: ComponentConfig, seed: int | None) -> UpdateFactory:
    def make(features: tuple[int, ...], memory: MemoryConfig, where: str) -> MemoryUpdate:
        plugin, name = updates.get(config.name), where.replace(".", "/")
        update: MemoryUpdate = constructed(
            config, lambda: plugin(config, features, memory, where), seed, f"updates.{name}."
        )
        return update

    return make


def count_parameters(network: nn.Module, *, trainable: bool = False) -> int:
    """Return the number of parameters (only trained ones if `trainable`), without running statistics."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad or not trainable)


@dataclass(frozen=True)
class ModelSummary:
    """The cost of a network, and the properties of its memory. See `aimlib.records.MODELS` for units.

    Attributes
    ----------
    weight_bytes : size of all parameters and buffers.
    trained_bytes : size of the trained parameters.
    nondeterministic_on_gpu : layers whose backward pass on CUDA is not bitwise reproducible.
    """

    parameters: int
    trainable_parameters: int
    running_statistics: int
    multiply_adds: int
    activation_bytes: int
    weight_bytes: int
    trained_bytes: int
    memory_values: int = 0
    memory_degrees_of_freedom: int = 0
    attachment: Attachment = field(default_factory=lambda: Attachment((), ()))
    nondeterministic_on_gpu: tuple[str, ...] = ()


def summarize(model: ModelConfig, shape: ImageShape, batch_size: int) -> ModelSummary:
    """Return the summary of a model, computed on the meta device.

    Parameters
    ----------
    batch_size : number of images that share what is computed once per batch (a memory that is the same for every
        image).
    """
    return summary_of(controlled_skeleton(model, shape), shape, batch_size)


def controlled_skeleton(model: ModelConfig, shape: ImageShape) -> nn.Module:
    """Return the network of `skeleton` with the model's control applied; both steps may raise UsageError."""
    return _controlled(model, skeleton(model, shape))


def summary_of(network: nn.Module, shape: ImageShape, batch_size: int) -> ModelSummary:
    """Return the summary of a network that `controlled_skeleton` returned; see `summarize`."""
    batch_size = max(2, batch_size)  # batch norm after a dense layer cannot compute a variance from a single image
    x_BCHW = torch.zeros(batch_size, shape.channels, shape.height, shape.width, device="meta")
    statistics = sum(b.numel() for name, b in network.named_buffers() if "running_" in name)
    memory: dict[str, Any] = {}
    if isinstance(network, AimNetwork):
        memory = {
            "memory_values": network.source.config.values,
            "memory_degrees_of_freedom": network.source.degrees_of_freedom,
            "attachment": network.attachment,
        }
    return ModelSummary(
        parameters=count_parameters(network),
        trainable_parameters=count_parameters(network, trainable=True),
        running_statistics=statistics,
        multiply_adds=_multiply_adds(network, x_BCHW, shape.classes) // batch_size,
        activation_bytes=_activation_bytes(network, x_BCHW) // batch_size,
        weight_bytes=sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers())),
        trained_bytes=sum(parameter.nbytes for parameter in network.parameters() if parameter.requires_grad),
        nondeterministic_on_gpu=nondeterministic_poolings(network, (shape.channels, shape.height, shape.width)),
        **memory,
    )


def _multiply_adds(network: nn.Module, x_BCHW: Tensor, classes: int | None = None) -> int:
    counter = _OperatorCounter()
    with torch.no_grad(), quick_batch_norm(network), counter:
        output = network.eval()(x_BCHW)
    expected = len(x_BCHW), classes
    if classes is not None and (not isinstance(output, Tensor) or tuple(output.shape) != expected):
        given = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise UsageError(
            f"the network returns {given} for {len(x_BCHW)} images of {classes} classes, but must return logits "
            f"{expected}; correct its last layer"
        )
    return counter.flops // 2


class _OperatorCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts floating-point operations by the formulas of `torch.utils.flop_counter`.

    The `FlopCounterMode` of that module also attributes the operations to modules, which takes most of its time.
    Operators without a formula are composed of other operators; outside inference mode, this class sees and counts
    these operators one by one.
    """

    def __init__(self) -> None:
        from torch.utils.flop_counter import flop_registry  # noqa: PLC0415 -- imports triton, which workers do not need

        super().__init__()  # type: ignore[no-untyped-call]
        self.flops: int = 0
        self._formulas = flop_registry

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        formula = self._formulas.get(getattr(func, "overloadpacket", None))
        if formula is not None:
            self.flops += int(formula(*args, **kwargs, out_val=output))
        return output


def _activation_bytes(network: nn.Module, x_BCHW: Tensor) -> int:
    """Return how many bytes autograd keeps for the backward pass, without parameters; each tensor is counted once."""
    # Compare storages, because a dense layer keeps a transposed view of its weight.
    own = {tensor.untyped_storage()._cdata for tensor in (*network.parameters(), *network.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in own:
            kept[storage] = tensor
        return tensor

    with quick_batch_norm(network), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network.train()(x_BCHW)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
