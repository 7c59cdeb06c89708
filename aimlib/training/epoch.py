"""The epoch under way of a run: it may be left after any of its parts, kept, and gone on with bit for bit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from aimlib.training import generators
from aimlib.training.evaluation import Tally

AfterPart = Callable[[], None]
"""Called after a part of an epoch: a training step, or a batch of an evaluation. What it raises leaves the epoch."""


class Epoch:
    """How far an epoch has come, beside what network and optimizer hold.

    Parameters
    ----------
    number : of the epoch, from 1.
    seed : of the run; puts the generators to the start of this epoch.

    Attributes
    ----------
    step : training steps done.
    loss, hits : sums over the images trained on, on the device: loss in nats (float64), right answers.
    validation, test : the evaluations.
    """

    def __init__(self, number: int, seed: int, device: torch.device) -> None:
        self.number, self.device = number, device
        self.step = 0
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        self.hits = torch.zeros((), dtype=torch.int64, device=device)
        self.validation, self.test = Tally(device), Tally(device)
        self._before, self._began = 0.0, time.perf_counter()
        generators.seed(seed, number)

    @property
    def seconds(self) -> float:
        """Wall time of this epoch over all attempts so far."""
        return self._before + time.perf_counter() - self._began

    def add(self, loss: Tensor, hits: Tensor, images: int) -> None:
        """Take in a training step: its mean loss and its number of right answers."""
        self.loss += loss.double() * images
        self.hits += hits
        self.step += 1

    def state(self) -> dict[str, Any]:
        """Return what it needs to go on, as tensors and plain values; the generators as they stand now."""
        return {
            "step": self.step,
            "loss": self.loss,
            "hits": self.hits,
            "validation": self.validation.state(),
            "test": self.test.state(),
            "seconds": self.seconds,
            "generators": generators.state(self.device),
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned, on the same kind of device; the generators are put back, too."""
        self.step, self._before = state["step"], state["seconds"]
        self.loss, self.hits = state["loss"].to(self.device), state["hits"].to(self.device)
        self.validation.resume(state["validation"])
        self.test.resume(state["test"])
        generators.restore(state["generators"], self.device)
