"""A step whose operations are launched one by one from Python."""

from __future__ import annotations

from torch import Tensor

from aimlib.training.steps.base import Inputs, Step


class EagerStep(Step):
    """The eager step."""

    name = "eager"

    def take(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Train on a batch; return its mean loss and its number of correct predictions."""
        self.computation.write_rates()
        return self.computation.update(inputs)
