"""The training loop: one run from its configuration to its outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from aimlib.config import RunConfig
from aimlib.datasets.base import DataSet
from aimlib.training import rng_state
from aimlib.training.checkpoint_manager import CheckpointManager, OnCheckpoint, OnFailedSave, Pause, Paused, Saving
from aimlib.training.device_memory import limited_memory
from aimlib.training.devices import indexed
from aimlib.training.heap import kept_heap
from aimlib.training.kept_networks import Keep
from aimlib.training.outcomes import Outcome, outcome_of, outcome_so_far
from aimlib.training.reproducibility import reproducible
from aimlib.training.run import Diverged, Run
from aimlib.training.spot_checks import SpotBudget, SpotChecks
from aimlib.training.steps.choice import OnNotice

__all__ = ["OnCheckpoint", "OnEpoch", "OnNotice", "Outcome", "Pause", "Paused", "outcome_so_far", "train"]

_CHECKPOINT_SHARE = 0.05
"""Maximum share of a run's time for checkpoints: an epoch is not saved if saving would exceed this share."""

OnEpoch = Callable[[Mapping[str, Any]], None]


def train(
    config: RunConfig,
    data: DataSet,
    *,
    device: torch.device | None = None,
    threads: int | None = None,
    run_id: str = "",
    checkpoint_directory: Path | None = None,
    checkpoint_share: float = _CHECKPOINT_SHARE,
    on_epoch: OnEpoch | None = None,
    pause: Pause | None = None,
    on_checkpoint: OnCheckpoint | None = None,
    saving: Saving | None = None,
    on_failed_save: OnFailedSave | None = None,
    memory_share: float | None = None,
    on_notice: OnNotice | None = None,
    spot_budget: SpotBudget | None = None,
    keep: Keep = "none",
    keep_scores: bool = False,
) -> Outcome:
    """Train one run to its end; continue from its checkpoint if there is one.

    The results of a run that was paused, however often and at whatever point, are bitwise identical to those of an
    uninterrupted run. GPU errors are raised as torch raises them; `aimlib.training.device_errors.failure_of` interprets
    them.

    Parameters
    ----------
    device : device to train on; None: the CPU.
    threads : number of CPU threads; None keeps torch's setting. With the same number, results on a CPU are bitwise
        identical.
    run_id : id of the run; protects against restoring a different run's checkpoint.
    checkpoint_directory : directory for the checkpoint; None: no checkpoints.
    checkpoint_share : maximum share of the time that may be spent on saving; infinity saves after every epoch.
        Otherwise, the run is not saved after the last epoch if its last save was less than a second ago.
    on_epoch : called after every completed epoch; an exception from it ends the attempt.
    pause : called after every training step, between the batches of evaluations, and after `on_epoch` while epochs
        remain; it must be fast. If it returns True, the run is saved, regardless of `checkpoint_share`, and
        interrupted. Every attempt advances by at least one step or batch. Without a `checkpoint_directory`, nothing is
        saved, so pausing discards the work. If a run diverges in the first epoch, the evaluation of its initial network
        is not interrupted.
    on_checkpoint : called with the file after every save, to copy it elsewhere; an exception from it ends the attempt.
    saving : returns a context manager for the save before a pause, which may wait for other runs to save. If it yields
        False, nothing is saved, and the run later continues from its previous checkpoint. None: save immediately.
    on_failed_save : called with the exception that a save or `on_checkpoint` raised. It returns whether to continue
        without the save (after an epoch) or to save again (before a pause). None: every exception is raised.
    memory_share : maximum share of a GPU's memory that the run may use; see `limit_memory`. None: no limit.
    on_notice : called with messages for the user about the run, for example why its steps are not captured as a graph.
    spot_budget : time budget for repeating steps to find computing errors; see `aimlib.training.spot_checks`. None: no
        steps are repeated. The budget does not affect results.
    keep : which trained network the outcome contains. This does not affect results.
    keep_scores : whether the outcome contains the scores of the test images in the selected epoch. It does not affect
        results.

    Raises
    ------
    Paused: `pause` returned True.
    ComputingError: a repeated step was not bitwise identical; train again to continue from the last checkpoint.
    UsageError: the data and the configuration do not match, or the device cannot run the steps that ``training.step``
        requests.
    """
    device = indexed(device or torch.device("cpu"))
    state = reproducible(threads=threads, tf32=config.training.tf32)

    def begin() -> Run:
        run = Run(config, data, device, memory_share=memory_share, on_notice=on_notice)
        run.keep, run.keep_scores = keep, keep_scores
        if spot_budget is not None:
            run.spot_checks = SpotChecks(spot_budget, device, memory_share, run.on_notice)
        return run

    def kept(run: Run) -> CheckpointManager:
        callbacks = pause, on_checkpoint, saving, on_failed_save
        return CheckpointManager(run, run_id, checkpoint_directory, checkpoint_share, *callbacks)

    with state, kept_heap(device), limited_memory(device, memory_share):
        rng_state.seed(config.seed_of("layers"), 0)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        return _trained(begin, kept, on_epoch)


def _trained(begin: Callable[[], Run], kept: Callable[[Run], CheckpointManager], on_epoch: OnEpoch | None) -> Outcome:
    """Train in a separate function, so that the network and the optimizer are released when the function returns."""
    run = begin()
    checkpoints = kept(run)
    if not run.history and not run.memory:
        run.measure_memory()
    if checkpoints.attempts == 1:
        run.callbacks.run_start()
    diverged = _epochs(run, checkpoints, on_epoch)
    run.callbacks.run_end()
    return outcome_of(run, checkpoints, diverged)


def _epochs(run: Run, checkpoints: CheckpointManager, on_epoch: OnEpoch | None) -> str | None:
    """Train the remaining epochs; return why the run diverged, or None."""
    while not run.done():
        try:
            run.epoch(checkpoints.ask if checkpoints.pause else None)
        except Diverged as reason:
            return str(reason)
        checkpoints.keep()
        if on_epoch is not None:
            on_epoch(run.history[-1])
        if not run.done():
            checkpoints.ask()
    return None
