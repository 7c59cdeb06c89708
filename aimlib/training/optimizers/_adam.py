"""Adam (Kingma and Ba, 2015)."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from aimlib.component import Dimension, Real
from aimlib.registry import optimizers
from aimlib.training.optimizers.base import BelowOne, OptimizerConfig, OptimizerPlugin, Positive
from aimlib.training.optimizers.on_device import Parameters, lies_on_device, zero_state


class _AsTheyLie(torch.optim.Adam):
    """Torch's Adam, with a fused step that processes channels-last weights in their memory order.

    The results are the same. By default, torch 2.14 on a CPU first copies the gradients of such weights, and takes
    three times as long.
    """

    def _init_group(self, group: dict[str, Any], *gathered: list[Tensor]) -> bool:
        has_complex: bool = super()._init_group(group, *gathered)  # type: ignore[no-untyped-call]
        if group["fused"]:
            alike = gathered[:4]  # parameters, gradients, both moments
            for number, tensors in enumerate(zip(*alike, strict=True)):
                if all(map(_lies_channels_last, tensors)):
                    for of, tensor in zip(alike, tensors, strict=True):
                        of[number] = tensor.permute(0, 2, 3, 1)
        return has_complex


class DecoupledAsTheyLie(_AsTheyLie, torch.optim.AdamW):
    """`_AsTheyLie` for AdamW."""


class _UncorrectedOnDevice(_AsTheyLie):
    """Adam that adds epsilon to the root of the uncorrected second moment; step count and rate are on the device.

    Torch's own Adam takes epsilon as a Python number, but the epsilon that torch's formula would need here changes from
    step to step.
    """

    decoupled: ClassVar[bool] = False

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update the parameters with their gradients; all parameters share the first parameter's step count."""
        for group in self.param_groups:
            gathered: tuple[list[Tensor], ...] = ([], [], [], [], [], [])
            self._init_group(group, *gathered)
            if gathered[0]:
                self._change(group, *gathered)

    def _change(
        self,
        group: dict[str, Any],
        parameters: list[Tensor],
        gradients: list[Tensor],
        means: list[Tensor],
        squares: list[Tensor],
        _: list[Tensor],
        steps: list[Tensor],
    ) -> None:
        rate, decay, (beta1, beta2) = group["lr"], group["weight_decay"], group["betas"]
        torch._foreach_add_(steps, 1)
        if decay and self.decoupled:
            torch._foreach_mul_(parameters, 1 - rate * decay)
        elif decay:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=decay))
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_add_(roots, group["eps"])
        changes = torch._foreach_div(means, roots)
        done = steps[0].double()
        correction = torch.sqrt(1 - torch.pow(beta2, done)) / (1 - torch.pow(beta1, done))
        torch._foreach_mul_(changes, (correction * rate).float())
        torch._foreach_sub_(parameters, changes)


class DecoupledUncorrectedOnDevice(_UncorrectedOnDevice, torch.optim.AdamW):
    """`_UncorrectedOnDevice` for AdamW."""

    decoupled = True


def _lies_channels_last(tensor: Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


@optimizers.register("adam")
class Adam(OptimizerPlugin):
    """Adam; `weight_decay` is added to the gradient (L2)."""

    source = "Kingma and Ba, 2015: Adam"
    search_space: ClassVar[dict[str, Dimension]] = {"learning_rate": Real(1e-5, 1e-2, log=True)}

    class Config(OptimizerConfig):
        """A learning rate of 1e-3 is that of the post."""

        learning_rate: Positive = 1e-3
        beta1: BelowOne = 0.9
        """Decay rate per step of the running average of the gradient."""
        beta2: BelowOne = 0.999
        """Decay rate per step of the running average of the squared gradient."""
        epsilon: Positive = 1e-8
        """Number added to the denominator to avoid division by 0."""
        epsilon_on: Literal["corrected", "uncorrected"] = "corrected"
        """Whether epsilon is added to the root of the second moment after bias correction (torch) or before it (Keras,
        hence as run; the "epsilon hat" in section 2 of the paper)."""
        fused: bool = False
        """Whether a step is a single pass over parameters, gradients and moments. This is faster with many parameters,
        but rounds differently, so results differ in their last digits."""

    on_device = True
    config: Config
    algorithm: ClassVar[type[torch.optim.Adam]] = _AsTheyLie
    uncorrected_on_device: ClassVar[type[torch.optim.Adam]] = _UncorrectedOnDevice

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        """Return torch's optimizer; on a GPU, its ``capturable`` version, which counts steps on the GPU.

        On a GPU, `fused` has no effect together with `epsilon_on: uncorrected`, which torch's fused kernel does not
        support.
        """
        o = self.config
        trained: list[Any] = list(parameters)
        on_device, uncorrected = lies_on_device(trained), o.epsilon_on == "uncorrected"
        fused = o.fused and not (on_device and uncorrected)
        algorithm = self.uncorrected_on_device if on_device and uncorrected else self.algorithm
        optimizer = algorithm(
            trained,
            lr=o.learning_rate,
            betas=(o.beta1, o.beta2),
            eps=o.epsilon,
            weight_decay=o.weight_decay,
            fused=fused or None,
            foreach=True if on_device and not fused else None,
            capturable=on_device,
        )
        if on_device:
            zero_state(optimizer, "exp_avg", "exp_avg_sq", step=True)
        elif uncorrected:
            optimizer.register_step_pre_hook(_Uncorrected(o.epsilon, o.beta2))
            optimizer.register_step_post_hook(_Plain(o.epsilon))
        return optimizer


class _Uncorrected:
    """Before step t, sets the epsilon that torch's formula needs: epsilon hat / sqrt(1 - beta2^t).

    With this epsilon, lr m / ((1 - b1^t) (sqrt(v / (1 - b2^t)) + eps)) equals lr sqrt(1 - b2^t) / (1 - b1^t) m /
    (sqrt(v) + hat). This is for the CPU, where step counts are on the host.
    """

    def __init__(self, epsilon: float, beta2: float) -> None:
        self.epsilon, self.beta2 = epsilon, beta2

    def __call__(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group in optimizer.param_groups:
            done = next((int(optimizer.state[p]["step"]) for p in group["params"] if p in optimizer.state), 0)
            group["eps"] = self.epsilon / math.sqrt(1 - self.beta2 ** (done + 1))


class _Plain:
    """After a step, restores the configured epsilon, so that a checkpoint contains no other value."""

    def __init__(self, epsilon: float) -> None:
        self.epsilon = epsilon

    def __call__(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group in optimizer.param_groups:
            group["eps"] = self.epsilon
