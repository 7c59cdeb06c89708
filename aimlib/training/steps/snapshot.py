"""Store everything that a training step changes on the host, to restore it or to compare two kinds of steps bitwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from aimlib.training import rng_state
from aimlib.training.steps.base import Computation

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Snapshot:
    """Earlier values of the parameters, buffers, optimizer state and options, and generators.

    Parameters
    ----------
    computation : the computation whose values are stored.
    """

    def __init__(self, computation: Computation) -> None:
        self._of = computation
        self._tensors = {name: tensor.detach().to("cpu", copy=True) for name, tensor in _tensors(computation)}
        self._groups = [_options(group) for group in computation.optimizer.param_groups]
        self._generators = rng_state.state(computation.device)

    @torch.no_grad()
    def put_back(self) -> None:
        """Restore everything in place; remove later additions, and drop gradients."""
        optimizer = self._of.optimizer
        for name, tensor in list(_tensors(self._of)):
            if name in self._tensors:
                tensor.copy_(self._tensors[name])
        for parameter in [p for group in optimizer.param_groups for p in group["params"]]:
            parameter.grad = None
        for number, parameter in enumerate(_parameters(optimizer)):
            for name in [name for name in optimizer.state.get(parameter, {}) if self._is_new(number, name)]:
                del optimizer.state[parameter][name]
            if not optimizer.state.get(parameter, True):
                del optimizer.state[parameter]
        for group, options in zip(optimizer.param_groups, self._groups, strict=True):
            group.update(options)
        rng_state.restore(self._generators, self._of.device)

    def _is_new(self, number: int, name: str) -> bool:
        value = self._of.optimizer.state[_parameters(self._of.optimizer)[number]][name]
        return isinstance(value, Tensor) and f"optimizer.{number}.{name}" not in self._tensors

    def differences(self) -> list[str]:
        """Return the names of all values that have changed in any bit; ``generators`` stands for all generators.

        Tensors are fetched from the device one at a time, so there is no second snapshot.
        """
        names, found = set(self._tensors), []
        for name, tensor in _tensors(self._of):
            names.discard(name)
            if not _same_bits(self._tensors.get(name), tensor.detach().cpu()):
                found.append(name)
        now = rng_state.state(self._of.device)
        same = repr(self._generators) == repr(now) and all(
            _same_bits(self._generators[kind], now[kind]) for kind in ("cpu", "cuda")
        )
        return [*found, *sorted(names)] if same else [*found, *sorted(names), "generators"]


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are bitwise identical, so that NaN may equal NaN, but 0 does not equal -0."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.is_floating_point:
        integers = _INTEGERS[one.element_size()]
        one, other = one.contiguous().view(integers), other.contiguous().view(integers)
    return torch.equal(one, other)


def _same_bits(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return same_bits(one, other)


def _options(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _tensors(computation: Computation) -> Iterator[tuple[str, Tensor]]:
    """Yield all tensors that a step changes, each with a unique name."""
    network, optimizer = computation.network, computation.optimizer
    yield from ((f"parameter.{name}", tensor) for name, tensor in network.named_parameters())
    yield from ((f"buffer.{name}", tensor) for name, tensor in network.named_buffers())
    for number, parameter in enumerate(_parameters(optimizer)):
        state = optimizer.state.get(parameter, {})
        yield from ((f"optimizer.{number}.{name}", value) for name, value in state.items() if isinstance(value, Tensor))
