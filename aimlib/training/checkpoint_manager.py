"""`CheckpointManager` keeps the checkpoint of a run, and pauses the run when the caller requests a pause."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from aimlib.errors import StoreError, counted
from aimlib.training import checkpointing
from aimlib.training.checkpointing import Checkpoint
from aimlib.training.epoch import Epoch
from aimlib.training.kept_networks import KeptNetwork, snapshot
from aimlib.training.run import Run

Pause = Callable[[], bool]
OnCheckpoint = Callable[[Path], None]


@dataclass(frozen=True)
class Save:
    """The save that a run is about to make before it pauses.

    Attributes
    ----------
    epochs, step : the run's progress, as in `Paused`.
    seconds : duration of the run's last save, including `on_checkpoint`; 0 if this attempt has not saved yet.
    """

    epochs: int
    step: int
    seconds: float


_WORTH_SAVING_S = 1.0
"""Minimum time since the last save, in seconds, that justifies a checkpoint after the last epoch."""
Saving = Callable[[Save], AbstractContextManager[bool]]
"""Returns a context manager for the save before a pause; the context manager yields whether to save."""


class OnFailedSave(Protocol):
    """Called with the exception that a save raised."""

    def __call__(self, error: Exception, *, pausing: bool) -> bool:
        """Return True to continue without the save or, if the run must pause, to try the save again; False to raise."""


class Paused(Exception):  # noqa: N818 -- an outcome, not an error
    """The run was interrupted at the caller's request; training it again continues with bitwise identical results.

    Attributes
    ----------
    epochs : number of completed epochs.
    step : number of training steps done in the current epoch; 0 between epochs.
    """

    def __init__(self, epochs: int, step: int) -> None:
        super().__init__(epochs, step)
        self.epochs, self.step = epochs, step

    def __str__(self) -> str:
        return f"paused after {self.epochs} epochs and {self.step} steps"


class CheckpointManager:
    """Keeps the checkpoint of a run, and its wall time over all attempts.

    Parameters
    ----------
    run : the run, before its first step; if there is a checkpoint, the run is restored from it.
    run_id : id of the run; protects against restoring a different run's checkpoint.
    directory : directory of the checkpoint; None: no checkpoints.
    share : maximum share of the time that may be spent on saving after epochs.
    pause : returns whether to pause; None: never pause.
    on_checkpoint : called with the checkpoint file after every save.
    saving : returns a context manager for the save before a pause, which may wait or refuse the save.
    on_failed_save : decides whether a run continues after a failed save; None: the save's exception is raised.

    Raises
    ------
    StoreError: the checkpoint belongs to a different run or network, or has an unknown format.
    """

    def __init__(
        self,
        run: Run,
        run_id: str,
        directory: Path | None,
        share: float,
        pause: Pause | None = None,
        on_checkpoint: OnCheckpoint | None = None,
        saving: Saving | None = None,
        on_failed_save: OnFailedSave | None = None,
    ) -> None:
        self._on_failed_save = on_failed_save
        self.saving = saving or (lambda _: nullcontext(enter_result=True))
        self.run, self.run_id, self.directory, self.share = run, run_id, directory, share
        self.pause, self.on_checkpoint = pause, on_checkpoint
        self.attempts, self.before = 1, 0.0
        self._peak_before: int | None = None
        self.started_at = datetime.now(UTC).isoformat()
        self.began = self.saved_at = time.perf_counter()
        self.cost = self.lasted = 0.0
        self.saved_epochs: int | None = None
        if directory is not None:
            self._resume_from(directory)

    def _resume_from(self, directory: Path) -> None:
        """Restore the run from its last intact checkpoint, if there is one, and report damaged ones."""
        damages: list[str] = []
        found = checkpointing.load(directory, self.run_id, damages.append)
        if damages:
            checkpointing.set_aside(directory)
        then = "starts from the beginning"
        if found is not None:
            self._resume(found, directory)
            then = f"continues from the previous checkpoint, after {counted(len(found.epochs), 'completed epoch')}"
        if damages:
            self.run.on_notice(f"{'; '.join(damages)}; run {self.run_id} {then}")

    def _resume(self, found: Checkpoint, directory: Path) -> None:
        run = self.run
        run.history, run.predictions = found.epochs, list(found.predictions.numpy())
        run.step_kept = found.step
        try:
            run.network.load_state_dict(found.network)
            run.optimizer.load_state_dict(found.optimizer)
            if run.average is not None:
                run.average.resume(_present(found.average))
            if found.under_way is not None:
                run.under_way = Epoch(len(run.history) + 1, run.config.seed_of("layers"), run.device)
                run.under_way.resume(found.under_way)
            if found.callbacks is not None:
                run.callbacks.resume(found.callbacks, len(run.history))
            if found.kept is not None and run.keep != "none":
                self._resume_kept(found.kept)
            if found.scores is not None and run.keep_scores:
                run.scores = found.scores[0], found.scores[1].numpy()
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{directory / checkpointing.FILE}: does not fit the network of this run (did a component change "
                f"without a new version?); delete it to start from the beginning"
            ) from error
        self.attempts, self.before, self.started_at = found.attempts + 1, found.seconds, found.started_at
        self._peak_before = found.peak_device_bytes

    def _resume_kept(self, kept: dict[str, Any]) -> None:
        run, epoch, state = self.run, kept["epoch"], kept["state"]
        run.memory = kept["memory"]
        if epoch is not None and run.keep == "best":
            run.kept = KeptNetwork(epoch, snapshot(run.evaluated) if state is None else state)

    @property
    def seconds(self) -> float:
        """Wall time over all attempts so far."""
        return self.before + time.perf_counter() - self.began

    @property
    def peak_device_bytes(self) -> int | None:
        """Peak of the GPU memory that torch reserved over all attempts so far; None on the CPU."""
        if self.run.device.type != "cuda":
            return self._peak_before
        return max(self._peak_before or 0, torch.cuda.max_memory_reserved(self.run.device))

    def keep(self) -> None:
        """Save the run after an epoch, unless saving would exceed its share of the time.

        After the last epoch, the result is about to be stored. A checkpoint then helps only if storing the result
        fails, so the run is not saved if its last save was less than a second ago.
        """
        since = time.perf_counter() - self.saved_at
        if self.run.done() and since < _WORTH_SAVING_S and self.share < math.inf:
            return
        if self.cost <= self.share * since:
            try:
                self._save()
            except Exception as error:
                if self._on_failed_save is None or not self._on_failed_save(error, pausing=False):
                    raise
                self.saved_at = time.perf_counter()

    def ask(self) -> None:
        """Pause the run if the caller requests a pause.

        Raises
        ------
        Paused: the caller requests a pause; the run has been saved, unless `saving` refused.
        """
        if self.pause is None or not self.pause():
            return
        under_way, epochs = self.run.under_way, len(self.run.history)
        step = under_way.step if under_way is not None else 0
        if under_way is not None or self.saved_epochs != epochs:
            with self.saving(Save(epochs, step, self.lasted)) as granted:
                if granted:
                    self._save_to_pause()
        raise Paused(epochs, step)

    def _save_to_pause(self) -> None:
        while True:
            try:
                return self._save()
            except Exception as error:
                if self._on_failed_save is None or not self._on_failed_save(error, pausing=True):
                    raise

    def _save(self) -> None:
        if self.directory is None:
            return
        started, run = time.perf_counter(), self.run
        state = Checkpoint(
            run_id=self.run_id,
            epochs=run.history,
            predictions=torch.from_numpy(np.stack(run.predictions) if run.predictions else _NONE),
            network=run.network.state_dict(),
            optimizer=run.optimizer.state_dict(),
            seconds=self.seconds,
            attempts=self.attempts,
            started_at=self.started_at,
            under_way=run.under_way.state() if run.under_way is not None else None,
            step=run.step_name,
            data_on=run.data_on,
            peak_device_bytes=self.peak_device_bytes,
            kept=self._kept(),
            scores=None if run.scores is None else (run.scores[0], torch.from_numpy(run.scores[1])),
            average=None if run.average is None else run.average.state(),
            callbacks=run.callbacks.state(),
        )
        file = checkpointing.save(state, self.directory)
        self.saved_at, self.saved_epochs = time.perf_counter(), None
        self.cost = self.saved_at - started
        if self.on_checkpoint is not None:
            self.on_checkpoint(file)
        self.saved_epochs = len(run.history)
        self.lasted = time.perf_counter() - started

    def _kept(self) -> dict[str, Any] | None:
        """Return the kept network; without its state if it is the current network, which is stored anyway."""
        kept, run = self.run.kept, self.run
        if kept is None:
            return {"epoch": None, "state": None, "memory": run.memory} if run.memory else None
        is_present = run.under_way is None and kept.epoch == len(run.history)
        return {"epoch": kept.epoch, "state": None if is_present else kept.state, "memory": run.memory}


def _present(average: dict[str, Any] | None) -> dict[str, Any]:
    if average is None:
        raise ValueError("no average")
    return average


_NONE = np.zeros((0, 0), dtype=np.uint8)


def __getattr__(name: str) -> Any:
    if name != "Keeper":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"{__name__}.Keeper is now CheckpointManager", DeprecationWarning, stacklevel=2)
    return CheckpointManager
