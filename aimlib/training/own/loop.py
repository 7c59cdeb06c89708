"""A run of the user's own training code, from configuration to outcome, with its checkpoints and its repetition."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from aimlib.datasets.base import DataSet
from aimlib.errors import UsageError, counted
from aimlib.registry import trainers
from aimlib.training import checkpointing, rng_state
from aimlib.training.checkpoint_manager import OnCheckpoint, OnFailedSave, Pause, Paused
from aimlib.training.checkpointing import Checkpoint
from aimlib.training.device_memory import limited_memory
from aimlib.training.devices import indexed
from aimlib.training.outcomes import Outcome, selected_of
from aimlib.training.own.config import OwnRunConfig
from aimlib.training.own.run import OwnRun, Saved
from aimlib.training.reproducibility import reproducible
from aimlib.training.run import Diverged
from aimlib.training.steps.choice import OnNotice

SAME = "same"
"""What `difference` returns for equal predictions."""
_FILES = "own_training_code"
_SCALARS = "scalars"
"""Keys, in the network state of a checkpoint, of the files and of the code's own numbers."""


@dataclass
class Attempt:
    """An attempt to compute a run: where its checkpoints are saved, and which functions it calls.

    Attributes
    ----------
    run_id : id of the run; protects against restoring a different run's checkpoint.
    directory : directory of the checkpoint; None: no checkpoints.
    threads : number of CPU threads; None leaves the number unchanged.
    memory_share : maximum share of a GPU's memory that the run may use; None: no limit.
    on_epoch, on_notice, pause, on_checkpoint, on_failed_save : as in `aimlib.training.loop.train`.
    """

    run_id: str = ""
    directory: Path | None = None
    threads: int | None = None
    memory_share: float | None = None
    on_epoch: Callable[[Mapping[str, Any]], None] = lambda _: None
    on_notice: OnNotice = lambda _: None
    pause: Pause = lambda: False
    on_checkpoint: OnCheckpoint = lambda _: None
    on_failed_save: OnFailedSave | None = None
    started_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat())
    began: float = field(default_factory=time.perf_counter)
    attempts: int = 1
    before: float = 0.0

    @property
    def seconds(self) -> float:
        """Wall time over all attempts so far."""
        return self.before + time.perf_counter() - self.began

    def found(self) -> Checkpoint | None:
        """Return the last intact checkpoint, which the code may ignore, and report damaged checkpoints."""
        if self.directory is None:
            return None
        damages: list[str] = []
        found = checkpointing.load(self.directory, self.run_id, damages.append)
        if damages:
            checkpointing.set_aside(self.directory)
            then = "starts from the beginning" if found is None else "continues from the previous checkpoint"
            self.on_notice(f"{'; '.join(damages)}; run {self.run_id} {then}")
        if found is not None:
            self.attempts, self.before, self.started_at = found.attempts + 1, found.seconds, found.started_at
        return found

    def save(self, run: OwnRun, content: dict[str, Any]) -> None:
        """Save everything that was reported, and the code's files."""
        if self.directory is None:
            return
        state = Checkpoint(
            run_id=self.run_id,
            epochs=run.history,
            predictions=torch.from_numpy(_stacked(run)),
            network={_FILES: content, _SCALARS: run.scalars},
            optimizer={},
            seconds=self.seconds,
            attempts=self.attempts,
            started_at=self.started_at,
        )
        while True:
            try:
                self.on_checkpoint(checkpointing.save(state, self.directory))
            except Exception as error:
                pausing = self.pause()
                if self.on_failed_save is None or not self.on_failed_save(error, pausing=pausing):
                    raise
                if pausing:
                    continue
            return


def _stacked(run: OwnRun) -> npt.NDArray[Any]:
    return np.stack(run.stored_predictions) if run.stored_predictions else np.zeros((0, 0), dtype=np.uint8)


def train(
    config: OwnRunConfig, data: DataSet, attempt: Attempt, device: torch.device | None = None, *, repeat: bool = False
) -> Outcome:
    """Call the user's own training code, which continues from its checkpoint if it saved one and requests it.

    Torch's deterministic kernels are preferred; if there is none for an operation, torch warns and the run continues.

    Parameters
    ----------
    device : device to train on; None: the CPU.
    repeat : whether to compute the run a second time from its start and compare the predictions; `Outcome.repeated`
        says how many predictions differ.

    Raises
    ------
    Paused: `Attempt.pause` returned true.
    UsageError: the code reported nothing, or invalid values.
    Exception: any exception that the code raises.
    """
    device = indexed(device or torch.device("cpu"))
    found = attempt.found()
    saved = None
    if found is not None:
        saved = Saved(
            found.epochs, list(found.predictions.numpy()), found.network[_FILES], found.network.get(_SCALARS, {})
        )
    run = OwnRun(
        config,
        data,
        device,
        threads=attempt.threads,
        saved=saved,
        on_epoch=attempt.on_epoch,
        on_notice=attempt.on_notice,
        save=attempt.save,
        pause=attempt.pause,
        seconds=lambda: attempt.seconds,
    )
    with _as_alone(config, device, attempt):
        diverged = _called(run)
    planned = config.training.epochs
    if diverged is None and len(run.history) < planned:
        attempt.on_notice(f"the training code reported {len(run.history)} of {counted(planned, 'planned epoch')}")
    outcome = _outcome(run, data, attempt, diverged)
    if repeat:
        return _repeated(outcome, config, data, attempt, device)
    return outcome


@contextmanager
def _as_alone(config: OwnRunConfig, device: torch.device, attempt: Attempt) -> Iterator[None]:
    state = reproducible(threads=attempt.threads, tf32=False)
    with state, limited_memory(device, attempt.memory_share):
        torch.use_deterministic_algorithms(True, warn_only=True)
        rng_state.seed(config.seed, 1)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        yield


def _called(run: OwnRun) -> str | None:
    """Call the code; return why the run diverged, or None.

    An exception that ends the run takes effect even if the user's code has caught the exception.
    """
    try:
        trainers.create(run.config.train).train(run.config, run)
    except Diverged as reason:
        return str(reason)
    except Exception:
        if run.ended is None:
            raise
    except SystemExit as error:
        if run.ended is None:
            raise UsageError("the training code called sys.exit; it must return instead") from error
    finally:
        run.close()
    if isinstance(run.ended, Diverged):
        return str(run.ended)
    if run.ended is not None:
        raise run.ended
    if not run.history:
        raise UsageError(
            f"training code {run.config.train.name!r} returned without a report; call run.predictions('test', ids, "
            f"labels), then run.report(), at least once"
        )
    return None


def _outcome(run: OwnRun, data: DataSet, attempt: Attempt, diverged: str | None) -> Outcome:
    chosen, selected = 0, dict.fromkeys(("validation_accuracy", "validation_loss", "test_loss", "test_top5_accuracy"))
    if run.history:
        chosen, selected = selected_of(run.config.training.selection, run.history)
    else:
        accuracy = float((run.stored_predictions[0] == data.test.labels).mean())
        selected = {**selected, "test_accuracy": accuracy}
    sizes = [len(run.split(name).labels) for name in ("train", "validation", "test")]
    peak = torch.cuda.max_memory_reserved(run.device) if run.device.type == "cuda" else None
    return Outcome(
        status="finished" if diverged is None else "diverged",
        reason=diverged,
        epochs=run.history,
        predictions=_stacked(run),
        selected_epoch=chosen,
        selected=selected,
        images=(sizes[0], sizes[1], sizes[2]),
        seconds=attempt.seconds,
        attempts=attempt.attempts,
        started_at=attempt.started_at,
        step=None,
        scalars=run.scalars or None,
        peak_device_bytes=peak,
    )


def _repeated(outcome: Outcome, config: OwnRunConfig, data: DataSet, attempt: Attempt, device: torch.device) -> Outcome:
    """Compute a run again from its start, and record how its predictions differ; the first outcome remains."""
    again = OwnRun(config, data, device, threads=attempt.threads, pause=attempt.pause)
    try:
        with _as_alone(config, device, attempt):
            _called(again)
    except Paused:
        return outcome  # the session is ending: the outcome is complete, and the repetition is not reported
    except Exception as error:  # noqa: BLE001 -- the run itself has succeeded
        return replace(outcome, repeated=f"failed the second time: {type(error).__name__}: {error}"[:500])
    return replace(outcome, repeated=difference(outcome.predictions, _stacked(again)))


def difference(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> str:
    """Return ``same``, or how the predictions [epochs, images] from two computations of a run differ."""
    if len(first) != len(second):
        return f"{counted(len(first), 'epoch')} the first time, {counted(len(second), 'epoch')} the second"
    differing = (first != second).sum(axis=1)
    if not differing.any():
        return SAME
    epoch = int(np.argmax(differing > 0)) + 1
    last = f"{int(differing[-1])} of {counted(first.shape[1], 'prediction')}"
    return f"from epoch {epoch} on: {last} differ in the last epoch"
