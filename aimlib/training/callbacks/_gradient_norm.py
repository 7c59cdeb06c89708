"""The gradient norm."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from aimlib.registry import callbacks
from aimlib.training.callbacks.base import Callback, CallbackConfig, RunView


@callbacks.register("gradient_norm")
class GradientNorm(Callback):
    """Logs ``gradient_norm``: the norm of the gradient of all parameters, averaged over the steps in an epoch."""

    source = "torch.nn.utils.get_total_norm"

    class Config(CallbackConfig):
        """Names and defaults as in torch."""

        norm_type: Annotated[float, Field(gt=0)] = 2.0
        """Order p of the p-norm."""

    reads_gradients = True

    def on_step_end(self, run: RunView) -> None:
        """Log the norm of the step's gradient."""
        gradients = [parameter.grad for parameter in run.network.parameters() if parameter.grad is not None]
        run.log("gradient_norm", torch.nn.utils.get_total_norm(gradients, self.config.norm_type))
