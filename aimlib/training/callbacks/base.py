"""The base class of all callbacks, and their view of a run."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from aimlib.component import ComponentConfig
from aimlib.errors import PluginError, did_you_mean

EVENTS = "on_run_start", "on_epoch_start", "on_step_end", "on_epoch_end", "on_run_end"
"""Names of the methods called during a run."""


class CallbackConfig(ComponentConfig):
    """Options for a callback."""

    monitors_validation: ClassVar[bool] = False
    """Whether it uses validation measures and therefore needs validation images."""

    @property
    def uses_validation(self) -> bool:
        """Whether this callback uses validation measures; override this if it depends on the callback's options."""
        return self.monitors_validation


class RunView(Protocol):
    """What a callback sees of a run.

    Attributes
    ----------
    network, optimizer : the run's network and optimizer, on its device.
    epoch, epochs : number of the current epoch, from 1, and the planned number of epochs.
    step : number of training steps done in the epoch.
    loss : loss of the last step, a scalar on the device.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    epoch: int
    epochs: int
    step: int
    loss: Tensor | None

    def log(self, name: str, value: float | Tensor) -> None:
        """Log a scalar; the mean of its values in each epoch becomes a column of `results.epochs`.

        Parameters
        ----------
        name : letters, digits and underscores; not the name of an existing column.
        value : a number, or a tensor with one element, which may stay on the device.

        Raises
        ------
        UsageError: the name is taken or invalid, or the run is over.
        """

    def stop(self, reason: str) -> None:
        """End the run after the current epoch; the run counts as completed, with this reason."""


class Callback(ABC):  # noqa: B024 -- every event is optional
    """Base class of the `aimlib.callbacks` plugins.

    A callback must return everything that it keeps between events from `state_dict`, because the run may be interrupted
    after any step and continued with a different callback object. Callbacks do not receive test measures, so they
    cannot base decisions on them.

    Parameters
    ----------
    config : the callback's options.

    Attributes
    ----------
    reads_gradients : whether `on_step_end` reads gradients. If so, the run's steps are not captured as a CUDA graph,
        because a graph does not store gradients in the parameters.
    """

    Config: ClassVar[type[ComponentConfig]] = CallbackConfig
    reads_gradients: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse a method that looks like an event but is not one, because it would never be called."""
        super().__init_subclass__(**options)
        for name in vars(cls):
            if name.startswith("on_") and name not in EVENTS:
                near = did_you_mean(name, EVENTS)
                raise PluginError(
                    f"{cls.__qualname__}.{name} is not an event; {near}the events are {', '.join(EVENTS)}"
                )

    def __init__(self, config: Any) -> None:
        self.config = config

    def on_run_start(self, run: RunView) -> None:  # noqa: B027
        """Called once, before the first epoch; not called when an interrupted run continues."""

    def on_epoch_start(self, run: RunView) -> None:  # noqa: B027
        """Called before the first step of an epoch."""

    def on_step_end(self, run: RunView) -> None:  # noqa: B027
        """Called after every training step."""

    def on_epoch_end(self, run: RunView, row: Mapping[str, Any]) -> None:  # noqa: B027
        """Called after the evaluation of an epoch.

        Parameters
        ----------
        row : values of `aimlib.records.EPOCHS` without test measures, e.g. ``validation_accuracy``; validation measures
            are null if there are no validation images.
        """

    def on_run_end(self, run: RunView) -> None:  # noqa: B027
        """Called when the run is finished or has diverged; the network is in its state after the last step."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything to keep between events: tensors, numbers, text, and lists and mappings of these."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Continue from a value that `state_dict` returned; its tensors are on the CPU."""
