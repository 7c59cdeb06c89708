"""Initial values that depend only on the run's seed and on a parameter's own name.

Adding a memory layer therefore does not change the initial values of other layers, and layers that two arms share start
identically. For a given name, all rules draw the same uniform numbers, and transform them by an inverse distribution
function. Even arms with different rules (Glorot and He) therefore share the underlying draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from aimlib.memory.own_start import keeps_own_start
from aimlib.memory.readers import ConvReader, LinearReader
from aimlib.seeding import seed_for

ReadInit = Literal["concatenated", "own", "whole", "zero"]
"""See `aimlib.config.ModelConfig.read_init`."""
_RULES = "_initialization_rules"
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)
_TRUNCATION = 2.0
_TRUNCATED_SD = 0.87962566103423978
"""Standard deviation of a standard normal distribution truncated at ±2 (Keras divides by this value)."""


@dataclass(frozen=True)
class Rule:
    """How the initial values of a parameter are set.

    Attributes
    ----------
    kind : ``he_normal`` (truncated normal, variance 2 / fan-in), ``glorot_uniform`` (variance 2 / (fan-in + fan-out)),
        ``normal`` (standard deviation `value`) or ``constant`` (`value`).
    value : see `kind`; for ``he_normal`` and ``glorot_uniform``, a factor by which the drawn values are multiplied.
    fan_in, fan_out : the fan-in and fan-out to use instead of those that follow from the parameter's shape.
    """

    kind: Literal["he_normal", "glorot_uniform", "normal", "constant"]
    value: float = 1.0
    fan_in: int | None = None
    fan_out: int | None = None


def declare(module: nn.Module, **rules: Rule) -> None:
    """Declare the initial values of the direct parameters of `module`, by name; this overrides the rule for its type.

    Raises
    ------
    ValueError: a name is not a direct parameter of the module.
    """
    own = {name for name, _ in module.named_parameters(recurse=False)}
    if not set(rules) <= own:
        raise ValueError(f"{type(module).__name__} has no parameter {', '.join(sorted(set(rules) - own))}")
    setattr(module, _RULES, {**declared(module), **rules})


def declared(module: nn.Module) -> dict[str, Rule]:
    """Return the rules that `declare` set for the direct parameters of `module`."""
    rules: dict[str, Rule] = getattr(module, _RULES, {})
    return rules


def initialize(
    network: nn.Module,
    seed: int,
    conv_init: Literal["he_normal", "glorot_uniform"] = "he_normal",
    read_init: ReadInit = "concatenated",
) -> list[str]:
    """Set the initial values of all parameters of `network`, in place.

    Parameters
    ----------
    network : the network. If it has an attribute `baseline_prefix`, a parameter whose name begins with this prefix
        starts like the baseline's parameter with the rest of the name.
    seed : the run's seed.
    conv_init : rule for convolutions whose initial values are not declared.
    read_init : how reading weights start; see `aimlib.config.ModelConfig.read_init`.

    Returns
    -------
    Names of parameters that no rule covers; these parameters keep the values that their module set. Parameters of
    modules that keep their own initial values (`aimlib.memory.own_start`) and do not declare a rule also keep their
    values.
    """
    left: list[str] = []
    added = getattr(network, "baseline_prefix", "")
    for prefix, module in network.named_modules():
        rules = rules_of(module, conv_init, read_init)
        for name, parameter in module.named_parameters(recurse=False):
            full = f"{prefix}.{name}" if prefix else name
            if name not in rules:
                left.append(full)
                continue
            with torch.no_grad():
                parameter.copy_(draw(rules[name], parameter.shape, seed_for(seed, "init", full.removeprefix(added))))
    return left


def rules_of(
    module: nn.Module,
    conv_init: Literal["he_normal", "glorot_uniform"] = "he_normal",
    read_init: ReadInit = "concatenated",
) -> dict[str, Rule]:
    """Return the rules for the direct parameters of `module`; parameters without a rule keep their values."""
    rules = _rules_by_type(module, conv_init, read_init)
    if keeps_own_start(module):
        rules = {name: rule for name, rule in rules.items() if name == "read_weight"}
    return {**rules, **declared(module)}


def _rules_by_type(
    module: nn.Module,
    conv_init: Literal["he_normal", "glorot_uniform"],
    read_init: ReadInit,
) -> dict[str, Rule]:
    zero = Rule("constant", 0.0)
    rules: dict[str, Rule] = {}
    if isinstance(module, nn.Conv2d):
        rules = {"weight": Rule(conv_init), "bias": zero}
    elif isinstance(module, nn.Linear):
        rules = {"weight": Rule("glorot_uniform"), "bias": zero}
    elif isinstance(module, _NORMS):
        rules = {"weight": Rule("constant", 1.0), "bias": zero}
    if isinstance(module, (ConvReader, LinearReader)):
        fan_in, fan_out = fans(module.read_weight.shape)
        if read_init != "own":
            fan_in += fans(module.weight.shape)[0]
        rules["read_weight"] = Rule(rules["weight"].kind, fan_in=fan_in, fan_out=fan_out)
        if read_init == "whole":
            rules["weight"] = rules["read_weight"]
        elif read_init == "zero":
            rules["read_weight"] = zero
    return rules


def fans(shape: torch.Size) -> tuple[int, int]:
    """Return the fan-in and the fan-out of a weight [out, in, ...]."""
    receptive = math.prod(shape[2:])
    return shape[1] * receptive, shape[0] * receptive


def draw(rule: Rule, shape: torch.Size, seed: int) -> Tensor:
    """Return a float32 CPU tensor with `shape`, drawn from `seed` according to `rule`."""
    if rule.kind == "constant":
        return torch.full(shape, rule.value)
    u = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    if rule.kind == "normal":
        return _normal(u, bound=5.0).mul_(rule.value)
    fan_in, fan_out = fans(shape)
    fan_in, fan_out = rule.fan_in or fan_in, rule.fan_out or fan_out
    if rule.kind == "glorot_uniform":
        limit = math.sqrt(6.0 / (fan_in + fan_out)) * rule.value
        return u.mul_(2 * limit).sub_(limit)
    return _normal(u, bound=_TRUNCATION).mul_(rule.value * math.sqrt(2.0 / fan_in) / _TRUNCATED_SD)


def _normal(u: Tensor, bound: float) -> Tensor:
    """Convert uniform numbers, in place, to standard normal numbers truncated at ±`bound`."""
    inside = math.erf(bound / math.sqrt(2))
    return u.mul_(2 * inside).sub_(inside).erfinv_().mul_(math.sqrt(2))
