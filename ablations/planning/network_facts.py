"""Values that a claim can request, computed from an arm's network; see `analysis.claims.facts.NetworkNumber`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from aimlib.memory.attach import AimNetwork
from aimlib.memory.initialization import rules_of
from aimlib.memory.structure import Layout, trace
from aimlib.registry import backbones

if TYPE_CHECKING:
    from aimlib.backbones.base import Backbone
    from aimlib.config import ModelConfig
    from aimlib.datasets.base import ImageShape
    from aimlib.models import ModelSummary
    from analysis.claims.facts import Value

_Convolutional = (nn.Conv2d, nn.Linear)


class NetworkFacts:
    """The network of an arm, and the values that claims can request from it.

    Parameters
    ----------
    network : network on the meta device; it is not changed.
    summary : summary of this network.
    """

    def __init__(self, network: nn.Module, model: ModelConfig, shape: ImageShape, summary: ModelSummary) -> None:
        self.network, self.model, self.shape, self.summary = network, model, shape, summary
        self.memory = network if isinstance(network, AimNetwork) else None
        self.plain = self.memory.network if self.memory else network

    def __getitem__(self, name: str) -> Value:
        """Return a value that describes the network; None if it does not apply, such as readers without memory."""
        return _ANSWERS[name](self)

    def of_type(self, kind: Any) -> list[Any]:
        """Return the layers of one kind, excluding the layers of memory sources and updates."""
        return [module for module in self.plain.modules() if isinstance(module, kind)]

    def layout(self) -> Layout:
        """Return the stages and blocks of the network."""
        return cast("Backbone", backbones.create(self.model.backbone)).layout(self.plain)

    def starts(self, modules: Iterable[nn.Module]) -> Value:
        """Return how the weights of layers are initialized."""
        if self.model.weights is not None:
            return f"weights of {self.model.weights.source}"
        rules = [rules_of(each, self.model.conv_init, self.model.read_init or "concatenated") for each in modules]
        return _one_or_all(rule["weight"].kind if "weight" in rule else "its own values" for rule in rules)


def _one_or_all(values: Iterable[Any]) -> Value:
    """Return the value if all values are equal, otherwise all distinct values; None if there are none."""
    found = list(dict.fromkeys(values))
    return found[0] if len(found) == 1 else found or None


def _keras_count(module: nn.Module) -> int:
    statistics = sum(each.numel() for name, each in module.named_buffers() if "running_" in name)
    return statistics + sum(each.numel() for each in module.parameters())


def _maps(facts: NetworkFacts) -> Value:
    prefix = "network." if facts.memory else ""
    calls = trace(facts.network, (facts.shape.channels, facts.shape.height, facts.shape.width))
    rows = {call.name: call.output_shape[2] for call in calls if len(call.output_shape) == 4}
    return [rows[name] for stage in facts.layout().stages if (name := prefix + stage[-1].end) in rows] or None


def _strided(facts: NetworkFacts) -> Value:
    names = [name for stage in facts.layout().stages for block in stage for name in block.layers]
    layers = [facts.plain.get_submodule(name) for name in names]
    return _one_or_all(each.kernel_size[0] for each in layers if isinstance(each, nn.Conv2d) and max(each.stride) > 1)


def _stem_stride(facts: NetworkFacts) -> Value:
    return next((int(each.stride[0]) for each in facts.of_type(nn.Conv2d)), None)


def _biases(facts: NetworkFacts) -> Value:
    return _one_or_all(each.bias is not None for each in facts.of_type(nn.Conv2d))


def _memory_start(facts: NetworkFacts) -> Value:
    sources = facts.memory.sources() if facts.memory else ()
    return facts.starts(layer for each in sources for layer in each.modules() if isinstance(layer, _Convolutional))


def _update_end_start(facts: NetworkFacts) -> Value:
    updates = facts.memory.updates.values() if facts.memory else ()
    found = [[layer for layer in each.modules() if isinstance(layer, _Convolutional)] for each in updates]
    return facts.starts(layers[-1] for layers in found if layers)


def _count(*names: str) -> Callable[[NetworkFacts], Value]:
    """Return a function that sums numbers from the network's summary."""
    return lambda facts: sum(getattr(facts.summary, name) for name in names)


def _of_memory(answer: Callable[[AimNetwork], Value]) -> Callable[[NetworkFacts], Value]:
    """Return a function that applies `answer` to a network with memory, and returns None for any other network."""
    return lambda facts: answer(facts.memory) if facts.memory else None


_ANSWERS: dict[str, Callable[[NetworkFacts], Value]] = {
    "keras_parameters": _count("parameters", "running_statistics"),
    "trainable_parameters": _count("trainable_parameters"),
    "running_statistics": _count("running_statistics"),
    "multiply_adds": _count("multiply_adds"),
    "stem_stride": _stem_stride,
    "maps": _maps,
    "strided_kernels": _strided,
    "convolution_biases": _biases,
    "batch_norm_epsilon": lambda facts: _one_or_all(each.eps for each in facts.of_type(_BatchNorm)),
    "batch_norm_momentum": lambda facts: _one_or_all(each.momentum for each in facts.of_type(_BatchNorm)),
    "convolution_start": lambda facts: facts.starts(facts.of_type(nn.Conv2d)),
    "dense_start": lambda facts: facts.starts(facts.of_type(nn.Linear)),
    "memory_values": _of_memory(lambda network: network.source.config.values),
    "memory_degrees_of_freedom": _of_memory(lambda network: network.source.degrees_of_freedom),
    "memory_start": _memory_start,
    "source_parameters": _of_memory(lambda network: [_keras_count(each) for each in network.sources()]),
    "readers": _of_memory(lambda network: len(network.attachment.readers)),
    "static_readers": _of_memory(lambda network: sum(each.memory == "static" for each in network.attachment.readers)),
    "channels_added": _of_memory(lambda network: [each.channels_added for each in network.attachment.readers]),
    "reading_weights": _of_memory(lambda network: sum(each.read_weight.numel() for each in network.readers())),
    "updates": _of_memory(lambda network: len(network.updates)),
    "update_parameters": _of_memory(lambda network: [_keras_count(each) for each in network.updates.values()]),
    "update_end_start": _update_end_start,
}
