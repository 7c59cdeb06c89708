"""Adam (Kingma and Ba, 2015)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from aimlib.dimensions import Dimension, Real
from aimlib.registry import optimizers
from aimlib.training.optimizers.base import BelowOne, OptimizerConfig, OptimizerPlugin, Positive
from aimlib.training.optimizers.on_device import Parameters, lies_on_device, zero_state


class _AsTheyLie(torch.optim.Adam):
    """Torch's Adam, whose fused step takes weights that lie channels last in memory in that order.

    The numbers are the same. Left to itself, torch 2.14 copies the gradients of such weights on a CPU first, and takes
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
    """The same of AdamW."""


def _lies_channels_last(tensor: Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


@optimizers.register("adam")
class Adam(OptimizerPlugin):
    """Adam; `weight_decay` is added to the gradient (L2)."""

    source = "Kingma and Ba, 2015: Adam"
    search_space: ClassVar[dict[str, Dimension]] = {"learning_rate": Real(1e-5, 1e-2, log=True)}

    class Config(OptimizerConfig):
        """Learning rate 1e-3 is the post's."""

        learning_rate: Positive = 1e-3
        beta1: BelowOne = 0.9
        beta2: BelowOne = 0.999
        epsilon: Positive = 1e-8
        epsilon_on: Literal["corrected", "uncorrected"] = "corrected"
        """Whether epsilon is added to the root of the second moment after the correction of its bias (torch) or before
        (Keras, hence as run; the "epsilon hat" of the paper's section 2)."""
        fused: bool = False
        """Whether a step is one pass over parameters, gradients and moments: the more parameters, the faster; rounded
        otherwise, so that numbers differ in their last digits."""

    on_device = True
    config: Config
    algorithm: ClassVar[type[torch.optim.Adam]] = _AsTheyLie

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        """Return torch's optimizer; on a GPU its ``capturable`` one, which counts steps there.

        There `fused` has no effect together with `epsilon_on: uncorrected`, whose epsilon changes from step to step:
        torch's fused kernel takes a Python number.
        """
        o, parameters = self.config, list(parameters)
        on_device, uncorrected = lies_on_device(parameters), o.epsilon_on == "uncorrected"
        fused = o.fused and not (on_device and uncorrected)
        optimizer = self.algorithm(
            parameters,
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
        if uncorrected:
            before = _uncorrected_on_device if on_device else _uncorrected
            optimizer.register_step_pre_hook(_Uncorrected(o.epsilon, o.beta2, before))
            optimizer.register_step_post_hook(_Plain(o.epsilon))
        return optimizer


def _uncorrected(epsilon: float, beta2: float, group: dict[str, Any], optimizer: torch.optim.Optimizer) -> float:
    """Return the epsilon of a group's next step; its count of steps lies on the host."""
    done = next((int(optimizer.state[p]["step"]) for p in group["params"] if p in optimizer.state), 0)
    return epsilon / math.sqrt(1 - beta2 ** (done + 1))


def _uncorrected_on_device(
    epsilon: float, beta2: float, group: dict[str, Any], optimizer: torch.optim.Optimizer
) -> float | Tensor:
    """Return the same as a tensor, computed where the count of steps lies: nothing is read from there."""
    done = next((optimizer.state[p]["step"] for p in group["params"] if p.grad is not None), None)
    if done is None:
        return epsilon
    return (epsilon / torch.sqrt(1 - torch.pow(beta2, done.double() + 1))).float()


class _Uncorrected:
    """Before step t, sets the epsilon that torch's formula needs: epsilon hat / sqrt(1 - beta2^t).

    With it lr m / ((1 - b1^t) (sqrt(v / (1 - b2^t)) + eps)) equals lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + hat).
    """

    def __init__(self, epsilon: float, beta2: float, of: Callable[..., float | Tensor]) -> None:
        self.epsilon, self.beta2, self.of = epsilon, beta2, of

    def __call__(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group in optimizer.param_groups:
            group["eps"] = self.of(self.epsilon, self.beta2, group, optimizer)


class _Plain:
    """After a step, puts back the configured epsilon, so that a checkpoint holds no other."""

    def __init__(self, epsilon: float) -> None:
        self.epsilon = epsilon

    def __call__(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group in optimizer.param_groups:
            group["eps"] = self.epsilon
