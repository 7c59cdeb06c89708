"""The callbacks of a run: when each is called, what it has logged, and what a checkpoint stores."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from aimlib.component import ComponentConfig
from aimlib.errors import PluginError, UsageError, text_of
from aimlib.own_code.places import place_of
from aimlib.records import EPOCHS, RUN_COLUMNS
from aimlib.registry import callbacks
from aimlib.training.callbacks.base import Callback

_TAKEN = frozenset(column.name for column in (*EPOCHS, *RUN_COLUMNS)) | {"role"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Callbacks:
    """The callbacks of a run, in the order of the list; this object is also the `RunView` that they receive.

    Parameters
    ----------
    configs : options of the callbacks.
    network, optimizer : the run's network and optimizer.
    epochs : planned number of epochs.

    Attributes
    ----------
    scalars : for every logged name, the mean in each completed epoch; null if nothing finite was logged.
    ended : why a callback ended the run; None if no callback did.
    """

    def __init__(
        self,
        configs: Sequence[ComponentConfig],
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        epochs: int,
    ) -> None:
        self.network, self.optimizer, self.epochs = network, optimizer, epochs
        self.epoch = self.step = 0
        self.loss: Tensor | None = None
        self.scalars: dict[str, list[float | None]] = {}
        self.ended: str | None = None
        self._sums: dict[str, tuple[Tensor, int]] = {}
        self._owners: dict[str, str] = {}
        self._completed, self._is_over, self._current = 0, False, ""
        self._all: dict[str, Callback] = {}
        for number, config in enumerate(configs):
            earlier = sum(each.name == config.name for each in configs[:number])
            self._all[f"{config.name} {earlier + 1}" if earlier else config.name] = callbacks.create(config)

    def __bool__(self) -> bool:
        """Return whether there are any callbacks."""
        return bool(self._all)

    def log(self, name: str, value: float | Tensor) -> None:
        """Log a scalar; see `RunView`."""
        if self._is_over or not _NAME.fullmatch(name) or name in _TAKEN:
            what = (
                "the run is over, so this value belongs to no epoch; log it in on_epoch_end"
                if self._is_over
                else "a column already has this name; choose a different one"
                if name in _TAKEN
                else "is not a valid name; use letters, digits and underscores"
            )
            raise UsageError(f"training.callbacks: {self._current}: log({name!r}, ...): {what}")
        if isinstance(value, Tensor) and value.numel() != 1:
            raise UsageError(
                f"training.callbacks: {self._current}: log({name!r}, ...): a tensor of shape {tuple(value.shape)} "
                f"is not a single number; log its mean or norm"
            )
        owner = self._owners.setdefault(name, self._current)
        if owner != self._current:
            raise UsageError(
                f"training.callbacks: {self._current}: log({name!r}, ...): {owner} already logs this name; choose "
                f"a different one, or remove one of the two callbacks"
            )
        given = (
            value.detach().double() if isinstance(value, Tensor) else torch.tensor(float(value), dtype=torch.float64)
        )
        total, count = self._sums.get(name, (torch.zeros((), dtype=torch.float64, device=given.device), 0))
        self._sums[name] = (total.to(given.device) + given.reshape(()), count + 1)

    def stop(self, reason: str) -> None:
        """End the run after the current epoch; the first reason counts."""
        self.ended = self.ended or f"{self._current}: {reason}"

    def run_start(self) -> None:
        """Notify all callbacks that the run begins."""
        self._tell("on_run_start")

    def epoch_start(self, number: int) -> None:
        """Notify all callbacks that an epoch begins."""
        self.epoch, self.step = number, 0
        self._tell("on_epoch_start")

    def step_end(self, number: int, step: int, loss: Tensor) -> None:
        """Notify all callbacks that a training step is done."""
        self.epoch, self.step, self.loss = number, step, loss
        self._tell("on_step_end")

    def epoch_end(self, row: Mapping[str, Any]) -> None:
        """Notify all callbacks that an epoch was evaluated; compute the means of the values logged in the epoch."""
        self.epoch = row["epoch"]
        seen = {name: value for name, value in row.items() if not name.startswith("test_")}
        self._tell("on_epoch_end", seen)
        for name in (name for name in self._sums if name not in self.scalars):
            self.scalars[name] = [None] * self._completed
        for name, means in self.scalars.items():
            total, count = self._sums.get(name, (torch.tensor(math.nan), 1))
            mean = float(total) / count
            means.append(mean if math.isfinite(mean) else None)
        self._sums, self._completed = {}, self._completed + 1

    def run_end(self) -> None:
        """Notify all callbacks that the run is over."""
        self._is_over = True
        self._tell("on_run_end")

    def _tell(self, event: str, *more: Any) -> None:
        for name, callback in self._all.items():
            self._current = name
            try:
                getattr(callback, event)(self, *more)
            except (
                UsageError,
                RuntimeError,
                OSError,
                MemoryError,
            ):  # the last three may be temporary
                raise
            except Exception as error:
                place = place_of(error)
                raise PluginError(
                    f"training.callbacks: {name}: {event} failed: {type(error).__name__}: {text_of(error)}"
                    f"{f' ({place})' if place else ''}; correct it, then run again"
                ) from error

    def state(self) -> dict[str, Any] | None:
        """Return what a checkpoint stores; None if there are no callbacks.

        Raises
        ------
        UsageError: a callback's state contains an object that cannot be read from a file without executing code.
        """
        if not self._all:
            return None
        states = {name: callback.state_dict() for name, callback in self._all.items()}
        for name, state in states.items():
            _refuse_others(state, f"training.callbacks: {name}: state_dict()")
        sums = {name: [total.cpu(), count] for name, (total, count) in self._sums.items()}
        return {"states": states, "sums": sums, "scalars": self.scalars, "ended": self.ended}

    def resume(self, state: Mapping[str, Any], completed: int) -> None:
        """Continue from a value that `state` returned after `completed` completed epochs."""
        self._sums = {name: (total, count) for name, (total, count) in state["sums"].items()}
        self.scalars, self.ended, self._completed = state["scalars"], state["ended"], completed
        for name, callback in self._all.items():
            callback.load_state_dict(state["states"][name])


def refuse_unusable_callbacks(configs: Sequence[ComponentConfig]) -> None:
    """Construct all callbacks twice, and resume the second set from the state of the first. No events are called.

    Raises
    ------
    UsageError: a callback's state contains an object that cannot be stored.
    """
    network = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    state = Callbacks(configs, network, optimizer, 1).state()
    if state is not None:
        Callbacks(configs, network, optimizer, 1).resume(state, 0)


def _refuse_others(value: object, where: str) -> None:
    """Refuse a value that `torch.load` cannot read with ``weights_only``."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _refuse_others(inner, f"{where}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value):
            _refuse_others(inner, f"{where}[{number}]")
    elif value is not None and type(value) not in (bool, int, float, str) and not isinstance(value, Tensor):
        raise UsageError(
            f"{where}: contains a {type(value).__name__}, which a checkpoint cannot store; return tensors, "
            f"numbers, text, and lists and mappings of these"
        )
