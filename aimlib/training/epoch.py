"""A run's current epoch, which can be interrupted after any part, stored, and continued with identical results."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from aimlib.training import rng_state
from aimlib.training.evaluation import Tally

AfterPart = Callable[[], None]
"""Called after each part of an epoch: a training step, or a batch in an evaluation. If it raises an exception, the
epoch is interrupted."""


class Epoch:
    """The progress of an epoch, without the state of the network and the optimizer.

    Parameters
    ----------
    number : number of the epoch, from 1.
    seed : the run's seed; it sets the generators to the start of this epoch.

    Attributes
    ----------
    step : number of training steps done.
    loss, hits : sums over the images used for training, on the device: the loss in nats (float64), and the correct
        predictions.
    finite_steps : number of steps before the first step whose loss is not finite, on the device; all steps if every
        loss is finite.
    validation, test : the evaluations on the validation and test images.
    """

    def __init__(self, number: int, seed: int, device: torch.device) -> None:
        self.number, self.device = number, device
        self.step = 0
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        self.hits = torch.zeros((), dtype=torch.int64, device=device)
        self.finite_steps = torch.zeros((), dtype=torch.int64, device=device)
        self.validation, self.test = Tally(device), Tally(device)
        self._before, self._began = 0.0, time.perf_counter()
        rng_state.seed(seed, number)

    @property
    def seconds(self) -> float:
        """Wall time of this epoch over all attempts so far."""
        return self._before + time.perf_counter() - self._began

    def add(self, loss: Tensor, hits: Tensor, images: int) -> None:
        """Add a training step: its mean loss and its number of correct predictions."""
        self.loss += loss.double() * images
        self.hits += hits
        self.finite_steps += (self.loss - self.loss).eq(0)  # once a sum is not finite, it stays that way
        self.step += 1

    def first_step_not_finite(self) -> int | None:
        """Wait for the device; return the number, from 1, of the first step whose loss was not finite, or None."""
        finite = int(self.finite_steps)
        return finite + 1 if 0 <= finite < self.step else None

    def state(self) -> dict[str, Any]:
        """Return the state needed to continue, as tensors and plain values, including the generators."""
        return {
            "step": self.step,
            "loss": self.loss,
            "hits": self.hits,
            "finite_steps": self.finite_steps,
            "validation": self.validation.state(),
            "test": self.test.state(),
            "seconds": self.seconds,
            "generators": rng_state.state(self.device),
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Continue from a value that `state` returned, on the same kind of device; also restore the generators."""
        self.step, self._before = state["step"], state["seconds"]
        self.loss, self.hits = state["loss"].to(self.device), state["hits"].to(self.device)
        self.finite_steps = self._finite_steps(state).to(self.device)
        self.validation.resume(state["validation"])
        self.test.resume(state["test"])
        rng_state.restore(state["generators"], self.device)

    def _finite_steps(self, state: dict[str, Any]) -> Tensor:
        """Return `finite_steps`; for older checkpoints, which lack it, all steps, or -2^40 if a loss was not finite."""
        given: Tensor | None = state.get("finite_steps")
        if given is not None:
            return given
        return torch.tensor(self.step if bool(torch.isfinite(state["loss"])) else -(2**40))
