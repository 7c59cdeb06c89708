"""The current epoch of a run: it can be interrupted after any of its parts, stored, and continued bit for bit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from aimlib.training import rng_state
from aimlib.training.evaluation import Tally

AfterPart = Callable[[], None]
"""Called after a part of an epoch: a training step, or a batch of an evaluation. An exception from it interrupts the
epoch."""


class Epoch:
    """The progress of an epoch, apart from the state of network and optimizer.

    Parameters
    ----------
    number : of the epoch, from 1.
    seed : of the run; sets the generators to the start of this epoch.

    Attributes
    ----------
    step : training steps done.
    loss, hits : sums over the images trained on, on the device: loss in nats (float64), right answers.
    finite_steps : number of steps before the first one with a loss that is not finite, on the device; all steps if
        every loss is finite.
    validation, test : the evaluations.
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
        self.finite_steps += (self.loss - self.loss).eq(0)  # a sum that is not finite stays that way
        self.step += 1

    def first_step_not_finite(self) -> int | None:
        """Return the number, from 1, of the first step whose loss was not finite, or None; waits for the device."""
        finite = int(self.finite_steps)
        return finite + 1 if 0 <= finite < self.step else None

    def state(self) -> dict[str, Any]:
        """Return the state that it needs to continue, as tensors and plain values, including the generators."""
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
        """Continue from a result of `state`, on the same kind of device; the generators are restored as well."""
        self.step, self._before = state["step"], state["seconds"]
        self.loss, self.hits = state["loss"].to(self.device), state["hits"].to(self.device)
        self.finite_steps = self._finite_steps(state).to(self.device)
        self.validation.resume(state["validation"])
        self.test.resume(state["test"])
        rng_state.restore(state["generators"], self.device)

    def _finite_steps(self, state: dict[str, Any]) -> Tensor:
        """Return the value that an older checkpoint lacks: all steps, or a number below 0 if a loss was not finite."""
        given: Tensor | None = state.get("finite_steps")
        if given is not None:
            return given
        return torch.tensor(self.step if bool(torch.isfinite(state["loss"])) else -(2**40))
