"""Computing errors on demand: during a step, a bit in an activation, a gradient or a parameter is flipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.optim.optimizer import register_optimizer_step_post_hook

When = Callable[[int], bool]
"""A function that returns whether a step is computed wrongly; steps, including repeated ones, are numbered from 1."""
WHERE = ("activation", "gradient", "parameter", "optimizer")


def flip(tensor: Tensor, bit: int = 12) -> None:
    """Flip a bit in the largest element, in place; in a value that ReLU sets to 0, the flip would have no effect."""
    dense = tensor.detach() if tensor.is_contiguous() else tensor.detach().permute(0, 2, 3, 1)
    flat = dense.view(-1)
    at = int(flat.argmax())
    flat[at : at + 1].view(torch.int32).bitwise_xor_(1 << bit)


class Errors:
    """Computes some steps wrongly. Attributes
    ----------
    planted : the numbers of these steps.
    """

    def __init__(self, where: str, when: When) -> None:
        self.where, self.when = where, when
        self.planted: list[int] = []
        self._step = 1

    def _now(self, where: str) -> bool:
        if where != self.where or self._step in self.planted or not self.when(self._step):
            return False
        self.planted.append(self._step)
        return True

    def forward(self, module: nn.Module, _: Any, output: Any) -> None:
        """Flip a bit in an activation or its gradient."""
        if not module.training or not isinstance(module, nn.BatchNorm2d):
            return
        if self._now("activation"):
            flip(output)
        if output.requires_grad and self._now("gradient"):
            output.register_hook(_flipped)

    def stepped(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Flip a bit in a parameter or in the optimizer's state, and count the step."""
        parameter = optimizer.param_groups[0]["params"][0]
        if self._now("parameter"):
            flip(parameter)
        if self._now("optimizer"):
            flip(next(value for value in optimizer.state[parameter].values() if value.dim() == parameter.dim()))
        self._step += 1


@contextmanager
def errors(where: str, when: When) -> Iterator[list[int]]:
    """Compute some steps in this process wrongly; yield a list to which their numbers are added."""
    made = Errors(where, when)
    hooks = [register_module_forward_hook(made.forward), register_optimizer_step_post_hook(made.stepped)]
    try:
        yield made.planted
    finally:
        for hook in hooks:
            hook.remove()


def _flipped(gradient: Tensor) -> Tensor:
    changed = gradient.clone()
    flip(changed)
    return changed
