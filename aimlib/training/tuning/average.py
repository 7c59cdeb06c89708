"""The exponential moving average of a network's weights over training steps."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from aimlib.training.tuning.config import AverageConfig


class WeightAverage:
    """The average of a network's weights, as a separate network in evaluation mode.

    Parameters
    ----------
    network : the network with its initial weights, which are the first value of the average.

    Attributes
    ----------
    network : a copy of the network, whose parameters and buffers are averages.
    steps : number of training steps included in the average.
    """

    def __init__(self, network: nn.Module, options: AverageConfig) -> None:
        self.options, self.steps = options, 0
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def add(self, network: nn.Module) -> None:
        """Add the weights after a training step."""
        self.steps += 1
        share = 1 - self._decay()
        pairs = list(zip(_tensors(self.network), _tensors(network), strict=True))
        floats = [(own, new) for own, new in pairs if own.is_floating_point()]
        torch._foreach_lerp_([own for own, _ in floats], [new for _, new in floats], share)
        for own, new in pairs:
            if not own.is_floating_point():
                own.copy_(new)

    def _decay(self) -> float:
        most = (1 + self.steps) / (10 + self.steps) if self.options.warmup else 1.0
        return min(self.options.decay, most)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint stores."""
        return {"steps": self.steps, "state": self.network.state_dict()}

    def resume(self, state: dict[str, Any]) -> None:
        """Continue from a value that `state` returned."""
        self.steps = state["steps"]
        self.network.load_state_dict(state["state"])


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*(parameter.detach() for parameter in network.parameters()), *network.buffers()]
