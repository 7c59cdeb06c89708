"""A step whose forward pass, loss and gradients are compiled with torch.compile."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from aimlib.errors import UsageError
from aimlib.training.steps.base import Computation, Inputs, Step
from aimlib.training.steps.eager import EagerStep

_OPTIONS: dict[str, Any] = {
    "fallback_random": True,  # random layers draw as in eager mode, from the generators that checkpoints store
    "triton.cudagraphs": False,  # cached graphs would reserve device memory for every shape
}


class CompiledStep(Step):
    """Compiled for full batches; other batches take eager steps.

    Compiled steps round differently from eager steps, so such runs have different ids. The optimizer is not compiled.

    Raises
    ------
    UsageError: raised by `take` if torch cannot compile the network.
    """

    name = "compiled"

    def __init__(self, computation: Computation) -> None:
        super().__init__(computation)
        self._eager = EagerStep(computation)
        self._loss_of: Any = None
        self._proven = False

    def take(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Train on a batch; return its mean loss and its number of correct predictions."""
        if len(inputs.labels_B) != self.computation.options.batch_size:  # also for the first step after a pause
            return self._eager.take(inputs)
        if self._loss_of is None:
            torch.compiler.reset()  # discards code compiled for other runs in this process
            loss = self.computation.loss
            if loss is not None and not loss.capturable:
                self.computation.compile_without_loss()
            self._loss_of = torch.compile(self.computation.loss_of, dynamic=False, options=_OPTIONS)
        self.computation.write_rates()
        if self._proven:
            return self.computation.update(inputs, self._loss_of)
        try:
            result = self.computation.update(inputs, self._loss_of)
        except Exception as error:
            if not _is_refusal(error):
                raise
            raise UsageError(
                f"training.step: compiled: torch.compile cannot compile this network ({_first_line(error)}); set "
                f"training.step to auto, or install a C++ compiler (CPU) or Triton (GPU) on this machine"
            ) from error
        self._proven = True
        return result


def _is_refusal(error: BaseException) -> bool:
    """Return whether an error comes from the compiler rather than from the network itself."""
    modules = {type(part).__module__ for part in (error, error.__cause__) if part is not None}
    return any(module.startswith(("torch._dynamo", "torch._inductor", "torch._functorch")) for module in modules)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
