"""Optimizer steps without the host: every number that changes from step to step is a tensor on the device.

No step waits for the device, and one captured graph can be used for all steps. On the CPU, optimizers take Python
numbers, as usual.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

DEVICES: set[str] = {"cuda"}
"""Device types on which changing numbers are tensors. Stand-ins for a GPU in tests add their own types."""

Parameters = Iterable[nn.Parameter] | Iterable[dict[str, Any]]


def runs_on_device(device: torch.device) -> bool:
    """Return whether optimizers for parameters on `device` take changing numbers as tensors."""
    return device.type in DEVICES


def lies_on_device(parameters: list[Any]) -> bool:
    """Return whether optimizers for these parameters, or groups of parameters, take changing numbers as tensors."""
    groups = [entry["params"] if isinstance(entry, dict) else [entry] for entry in parameters]
    return any(runs_on_device(parameter.device) for group in groups for parameter in group)


class Rates:
    """The learning rates of an optimizer's groups, as tensors on the device during a step.

    Between steps, ``group["lr"]`` is a Python number, which schedules set and checkpoints store.

    Parameters
    ----------
    optimizer : optimizer built by an `OptimizerPlugin` that is `on_device`.
    device : device of the optimizer's parameters.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        self._optimizer = optimizer
        groups = optimizer.param_groups
        self._tensors = [torch.zeros((), dtype=torch.float32, device=device) for _ in groups]
        self._written: list[float | None] = [None for _ in groups]

    def write(self) -> None:
        """Update the tensors from the numbers; the host does not wait."""
        for number, (group, tensor) in enumerate(zip(self._optimizer.param_groups, self._tensors, strict=True)):
            if self._written[number] != group["lr"]:
                tensor.fill_(group["lr"])
                self._written[number] = group["lr"]

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Replace the numbers with the tensors, as they were last written, and restore the numbers at the end."""
        groups = self._optimizer.param_groups
        numbers = [group["lr"] for group in groups]
        for group, tensor in zip(groups, self._tensors, strict=True):
            group["lr"] = tensor
        try:
            yield
        finally:
            for group, number in zip(groups, numbers, strict=True):
                group["lr"] = number


def zero_state(optimizer: torch.optim.Optimizer, *moments: str, step: bool) -> None:
    """Create the state of every parameter, as zeros, before the first step, because a captured step needs it.

    Parameters
    ----------
    moments : names of the state tensors that have the parameter's shape.
    step : whether there is a step count, with torch's name ``step``.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state: dict[str, Tensor] = optimizer.state[parameter]
            if step:
                state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state |= {name: torch.zeros_like(parameter, memory_format=torch.preserve_format) for name in moments}
