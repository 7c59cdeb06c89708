"""The training loop: one run from its configuration to its outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from aimlib.config import RunConfig
from aimlib.datasets.base import DataSet
from aimlib.training import rng_state
from aimlib.training.checkpoint_manager import CheckpointManager, OnCheckpoint, Pause, Paused, Saving
from aimlib.training.device_memory import limited_memory
from aimlib.training.devices import indexed
from aimlib.training.heap import kept_heap
from aimlib.training.outcomes import Outcome, outcome_of, outcome_so_far
from aimlib.training.reproducibility import reproducible
from aimlib.training.run import Diverged, Run
from aimlib.training.steps.choice import OnNotice

__all__ = ["OnCheckpoint", "OnEpoch", "OnNotice", "Outcome", "Pause", "Paused", "outcome_so_far", "train"]

_CHECKPOINT_SHARE = 0.05
"""Largest share of a run's time that goes into checkpoints: an epoch is not saved where saving would exceed it."""

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
    memory_share: float | None = None,
    on_notice: OnNotice | None = None,
) -> Outcome:
    """Train one run to its end, going on from its checkpoint where there is one.

    A run that was paused, however often and wherever, has the bits of one that was not. Errors of a GPU pass as torch
    raises them; `aimlib.training.device_errors.failure_of` tells what they mean.

    Parameters
    ----------
    device : None is the CPU.
    threads : CPU threads; None leaves torch's setting. With the same number the CPU gives the same bits.
    run_id : guards the checkpoint against another run's.
    checkpoint_directory : None keeps no checkpoint.
    checkpoint_share : largest share of the time spent on saving; infinity saves after every epoch.
    on_epoch : called after every completed epoch; what it raises ends the attempt.
    pause : asked after every training step, between the batches of evaluations, and after `on_epoch` while epochs are
        left; it must be cheap. Where it says yes, the run is saved, whatever `checkpoint_share` says, and left. Every
        attempt gets at least one step or batch further. Without a `checkpoint_directory` nothing is saved: pausing
        then gives the work up. The evaluation of a network at its start, after a divergence in the first epoch, is
        not left.
    on_checkpoint : called with the file after every save, to copy it elsewhere; what it raises ends the attempt.
    saving : entered around the save of a run that `pause` ends: it may wait for others that save, and where it yields
        False the run continues from its last checkpoint the next time. None saves at once.
    memory_share : largest share of a GPU's memory that the run may take, see `limit_memory`; None sets no limit.
    on_notice : called with what a user should know of the run, a sentence at a time: why its steps are not captured as
        a graph, for example.

    Raises
    ------
    Paused: `pause` said so.
    UsageError: data and configuration do not fit each other, or the device cannot run the steps that
        ``training.step`` states.
    """
    device = indexed(device or torch.device("cpu"))
    state = reproducible(threads=threads, tf32=config.training.tf32)

    def begin() -> Run:
        return Run(config, data, device, memory_share=memory_share, on_notice=on_notice)

    def kept(run: Run) -> CheckpointManager:
        return CheckpointManager(run, run_id, checkpoint_directory, checkpoint_share, pause, on_checkpoint, saving)

    with state, kept_heap(device), limited_memory(device, memory_share):
        rng_state.seed(config.seed, 0)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        return _trained(begin, kept, on_epoch)


def _trained(begin: Callable[[], Run], kept: Callable[[Run], CheckpointManager], on_epoch: OnEpoch | None) -> Outcome:
    """Train in a frame of its own: network and optimizer are gone when it is left."""
    run = begin()
    checkpoints = kept(run)
    return outcome_of(run, checkpoints, _epochs(run, checkpoints, on_epoch))


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
