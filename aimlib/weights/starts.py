"""Find out where each parameter's initial values come from, without building the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from aimlib.component import ComponentConfig
from aimlib.config import ModelConfig
from aimlib.datasets.base import ImageShape
from aimlib.errors import counted
from aimlib.memory.attach import AimNetwork
from aimlib.memory.initialization import Rule, rules_of
from aimlib.models import build, skeleton, weights_fit
from aimlib.registry import Registry, backbones, memories, updates
from aimlib.weights.fitting import Fit, few, plain

_FAMILIES: tuple[tuple[str, Registry], ...] = (("backbone", backbones), ("memory", memories), ("update", updates))


@dataclass(frozen=True)
class Start:
    """Names of a network's parameters, in the form without memory, grouped by the origin of their initial values.

    Attributes
    ----------
    own : parameters that keep the values that their class sets itself.
    by_rule : parameters that a rule draws or sets, grouped by rule.
    fit : what is loaded from a weight file in place of these values; None without a file.
    """

    own: tuple[str, ...]
    by_rule: Mapping[str, tuple[str, ...]]
    fit: Fit | None = field(default=None)


def own_parts(model: ModelConfig) -> list[str]:
    """Return the parts of a model that keep the values that they set themselves, such as ``backbone 'my_net'``."""
    return [f"{registry.kind} {part.name!r}" for part, registry in _parts(model) if type(part).initial_values == "own"]


def foreign_parts(model: ModelConfig) -> list[str]:
    """Return the parts of a model that set initial values themselves, whether or not these values are kept."""
    return [*own_parts(model), *_replaced_parts(model)]


def _parts(model: ModelConfig) -> Iterator[tuple[ComponentConfig, Registry]]:
    for field_name, registry in _FAMILIES:
        part = getattr(model, field_name)
        if part is not None:
            yield part, registry


def start_of(model: ModelConfig, shape: ImageShape) -> Start:
    """Return where the initial values of a model come from, before its control is applied.

    Raises
    ------
    UsageError: the parts do not fit together, or a weight file is missing or does not fit.
    """
    network = skeleton(model, shape)
    fit = None if model.weights is None else weights_fit(model, shape)
    loaded = frozenset[str]() if fit is None else frozenset(fit.loaded)
    own: list[str] = []
    by_rule: dict[str, list[str]] = {}
    for prefix, module in network.named_modules():
        rules = rules_of(module, model.conv_init, model.read_init or "concatenated")
        for name, _ in module.named_parameters(recurse=False):
            full = f"{prefix}.{name}" if prefix else name
            if full in loaded:
                continue
            if name in rules:
                by_rule.setdefault(_words(rules[name]), []).append(full)
            else:
                own.append(full)
    return Start(tuple(plain(own)), {rule: tuple(plain(names)) for rule, names in by_rule.items()}, fit)


def _words(rule: Rule) -> str:
    if rule.kind == "constant":
        return f"{rule.value:g}"
    return rule.kind


def sentences(model: ModelConfig, shape: ImageShape) -> Iterator[str]:
    """Yield sentences on where initial values come from; none if this package's rules set all of them."""
    kept, replaced = own_parts(model), _replaced_parts(model)
    if model.weights is None and not kept and not replaced:
        return
    start = start_of(model, shape)
    if start.fit is not None and model.weights is not None:
        yield start.fit.sentence(model.weights.source)
    if start.own and (kept or replaced):
        what = counted(len(start.own), "parameter keeps the value", "parameters keep the values")
        yield f"start: {what} that {' and '.join(kept or replaced)} set: {few(start.own)}"
    if replaced and start.by_rule:
        what = counted(sum(map(len, start.by_rule.values())), "parameter starts", "parameters start")
        rules = "; ".join(f"{rule}: {few(names)}" for rule, names in start.by_rule.items())
        yield f"start: {what} from a rule, instead of the values that {' and '.join(replaced)} set ({rules})"


def _replaced_parts(model: ModelConfig) -> list[str]:
    """Return the parts from other packages or the user's own code whose values the rules replace."""
    return [
        f"{registry.kind} {part.name!r}"
        for part, registry in _parts(model)
        if type(part).initial_values == "rules" and not registry.get(part.name).__module__.startswith("aimlib.")
    ]


def unpaired(model: ModelConfig, other: ModelConfig, shape: ImageShape, seed: int) -> tuple[list[str], int]:
    """Return the shared parameters of two models that start differently, and the number of shared parameters.

    Both networks are built with `seed`. Parameters with different shapes do not count as shared.
    """
    one, two = (_values(build(each, shape, seed)) for each in (model, other))
    shared = [name for name in one if name in two and one[name].shape == two[name].shape]
    return [name for name in shared if not torch.equal(one[name], two[name])], len(shared)


def _values(network: nn.Module) -> dict[str, torch.Tensor]:
    inside = AimNetwork.baseline_prefix if isinstance(network, AimNetwork) else ""
    return {name.removeprefix(inside): value for name, value in network.named_parameters()}
