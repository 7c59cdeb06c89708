"""One run on a worker, from its task to a row in the store. This module does not depend on Ray."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Literal

from ablations.execution import device_references
from ablations.execution.attempts import Ending, ending_of
from ablations.execution.run_output import RunOutput
from ablations.execution.run_record import failed_record, record_of
from ablations.execution.storage_waits import Report, StorageWaits
from ablations.execution.task import Task
from ablations.store import Fenced, ResultStore, RunLock, read_mark
from ablations.store.outages import OutageTooLong
from aimlib.config import RunConfig
from aimlib.datasets.base import DataSet, ImageShape
from aimlib.errors import ComputingError, DataError, StoreError
from aimlib.models import weights_fit
from aimlib.own_code import parts
from aimlib.records import RunRecord
from aimlib.registry import datasets
from aimlib.training import checkpointing, network_files
from aimlib.training.checkpoint_manager import Save
from aimlib.training.device_errors import diagnose, failure_of
from aimlib.training.devices import device_uuid, pick_device
from aimlib.training.kept_networks import KeptNetwork
from aimlib.training.loop import OnEpoch, OnNotice, Paused, train
from aimlib.training.outcomes import Outcome, outcome_so_far
from aimlib.training.own import loop as own
from aimlib.training.own.config import OwnRunConfig
from aimlib.training.reference_step import described
from aimlib.training.spot_checks import SpotBudget

_POLL_INTERVAL_S = 1.0
"""Seconds between two checks of whether the session must end."""
_spot_budget = SpotBudget()
"""Time spent on spot checks in all runs in this process."""


def execute(
    task: Task,
    on_epoch: OnEpoch | None = None,
    pause: Callable[[], bool] | None = None,
    deadline: Callable[[], float | None] | None = None,
    on_notice: OnNotice | None = None,
    on_outage: Report | None = None,
) -> Ending:
    """Compute a run and settle it in the store, continuing from its checkpoint if there is one.

    An exception is recorded as a row with the status ``failed``, unless the machine, the storage or the device caused
    it; only exceptions that end the process are passed on. If the storage is unavailable, the run waits for it.

    Parameters
    ----------
    on_epoch : called after every epoch with the epoch's row.
    pause : called after every step; if it returns true, the run saves its state and ends.
    deadline : called while the run waits to save; returns the monotonic time by which the state must be saved, or None
        for no limit.
    on_notice : called with messages about the run for the user.
    on_outage : called with the reason when the run starts to wait for the storage, and with an empty string when it
        continues.
    """
    device = pick_device(task.device)
    uuid = device_uuid(device)  # a lost device is no longer listed
    log = _LogWriter(task)
    output = RunOutput(log)

    def notice(text: str) -> None:
        output.add("note", text)
        if on_notice is not None:
            on_notice(text)

    log.waits = waits = StorageWaits(task, pause, deadline, on_outage, lambda text: output.add("note", text))
    with waits.active(), output.captured():
        try:
            ending = _execute(task, _Callbacks(on_epoch, pause, deadline, notice), waits)
        except Exception as error:  # noqa: BLE001 -- any exception must end up in a row
            ending = ending_of(error, failure_of(error) or diagnose(error, device, _share(task)))
            if ending.end == "failed" and waits.outages.passes(error, of_storage=False):
                ending = replace(ending, end="storage", fault="")
            if ending.end == "failed":
                with contextlib.suppress(StoreError):  # the driver reports this anyway
                    store = ResultStore(task.directory, outages=waits.outages)
                    store.record_failure(failed_record(task, ending.reason, ending.traceback))
            else:  # the run is retried, so the traceback is not stored in any row
                output.add("note", f"the attempt ended with {ending.reason}\n{ending.traceback}")
    if device.type == "cpu" and ending.end == "device_error":
        return replace(ending, device=described(device))
    return replace(ending, device=device_uuid(device) or uuid)


class _LogWriter:
    """Writes an attempt's log to the study's folder, unless this machine has a different folder at that path."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._name: str | None = None
        self.waits: StorageWaits | None = None

    def __call__(self, content: str) -> None:
        if self.waits is not None and read_mark(self._task.directory) == self._task.mark:
            store = self.waits.store().at_once()  # the next write contains all lines
            self._name = store.write_log(self._task.run_id, content, self._name)


@dataclass(frozen=True)
class _Callbacks:
    """Optional callbacks for a run; see `execute`."""

    on_epoch: OnEpoch | None = None
    pause: Callable[[], bool] | None = None
    deadline: Callable[[], float | None] | None = None
    on_notice: OnNotice | None = None


def _execute(task: Task, callbacks: _Callbacks, waits: StorageWaits) -> Ending:
    if waits.mark() != task.mark:
        return Ending("unshared")
    parts.install(task.own_code)
    store = waits.store()
    lock = store.lock_run(task.run_id)
    if lock is None:
        return Ending("held")
    with lock:
        if store.is_settled(task.run_id):
            return Ending("finished")
        if task.until is not None:
            epochs, accuracy = paused_at(task, store)
            if epochs >= task.until:  # the run had reached that epoch without reporting it
                return Ending("paused", epochs=epochs, accuracy=accuracy)
        return _attempt(task, store, lock, _Supervisor(task, store, lock, callbacks), waits)


def _attempt(task: Task, store: ResultStore, lock: RunLock, supervisor: _Supervisor, waits: StorageWaits) -> Ending:
    """Compute a run whose lock is held, and settle it."""
    try:
        record = _compute(task, store, lock, supervisor, waits)
        digest = store.settle(record, lock)
    except (
        Fenced
    ) as fenced:  # this process was considered dead, and another process continues from the run's last checkpoint
        return Ending("held", process_spent=_is_spent(fenced))
    except Paused as paused:
        ending = Ending("held") if lock.taken else supervisor.ending("paused")
        return replace(ending, process_spent=_is_spent(paused))
    with contextlib.suppress(OutageTooLong):  # the run is settled; its checkpoint is removed at the end of the session
        store.discard_checkpoint(task.run_id)
    ending = supervisor.ending("diverged" if record.run["status"] == "diverged" else "finished")
    return replace(ending, row_digest=digest)


def _is_spent(error: BaseException) -> bool:
    """Return whether the device was lost when a run ended, no matter why the run ended."""
    failure = failure_of(error)
    return failure is not None and failure.context_lost


class _Supervisor:
    """Progress of a run, and whether it must pause."""

    def __init__(self, task: Task, store: ResultStore, lock: RunLock, callbacks: _Callbacks) -> None:
        self._task, self._store, self._lock, self._on_epoch = task, store.at_once(), lock, callbacks.on_epoch
        self._asked, self.on_notice = callbacks.pause, callbacks.on_notice
        self._deadlines = [callbacks.deadline] if callbacks.deadline is not None else []
        self._checked, self._stopping, self._told = 0.0, False, False
        self.epochs, self.accuracy = 0, None

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Record a completed epoch and pass it on."""
        self.epochs, self.accuracy = row["epoch"], row["validation_accuracy"]
        if self._on_epoch is not None:
            self._on_epoch(row)

    def pause(self) -> bool:
        """Tell the run whether to save its state and end."""
        asked = self._asked is not None and self._asked()
        until = self._task.until
        return asked or self._is_to_stop() or (until is not None and self.epochs >= until)

    def saving(self, save: Save) -> AbstractContextManager[bool]:
        """Wait until the run may save its state before it pauses. See `ResultStore.saving`."""
        return self._store.saving((save.epochs, save.step), save.seconds, self._deadline)

    def _deadline(self) -> float | None:
        self._is_to_stop()  # the request may arrive only now
        return min((until for each in self._deadlines if (until := each()) is not None), default=None)

    def ending(self, end: Literal["finished", "diverged", "paused"]) -> Ending:
        """Return the ending of the run."""
        return Ending(end, epochs=self.epochs, accuracy=self.accuracy)

    def _is_to_stop(self) -> bool:
        """Return whether the session must end or another process has taken over the run.

        The storage is queried periodically.
        """
        now = time.monotonic()
        if now - self._checked >= _POLL_INTERVAL_S:
            self._checked = now
            session = self._task.session
            with contextlib.suppress(StoreError):  # if the storage is unavailable, it is queried again a second later
                stop = bool(session) and self._store.stop_requested(session)
                if stop and not self._told:
                    self._hear(now, self._store.time_to_stop(session))
                    self._told = True
                self._stopping = self._stopping or stop
            self._stopping = self._stopping or self._lock.taken
        return self._stopping

    def _hear(self, now: float, within: float | None) -> None:
        """Record the time by which everything must be finished.

        The request may have been made at any time since the last check.
        """
        if within is not None:
            self._deadlines.append(lambda: now + within - _POLL_INTERVAL_S)


def _compute(task: Task, store: ResultStore, lock: RunLock, supervisor: _Supervisor, waits: StorageWaits) -> RunRecord:
    config, data = _prepared(task)
    at_once = store.at_once()
    device, reference = pick_device(task.device), None
    if task.integrity != "off":
        notice = supervisor.on_notice or (lambda _: None)
        reference = device_references.confirm(task, config, device, store, notice)
    if isinstance(config, OwnRunConfig):
        outcome = _own_training(task, config, data, store, lock, supervisor, waits)
        return record_of(task, config, outcome, data, None if reference is None else reference.digest)
    outcome = train(
        config,
        data,
        device=device,
        threads=task.threads,
        run_id=task.run_id,
        checkpoint_directory=store.checkpoint_directory(task.run_id, create=False),
        memory_share=_share(task),
        on_epoch=supervisor.epoch,
        pause=supervisor.pause,
        on_checkpoint=lambda _: at_once.keep_checkpoint(task.run_id, lock),
        on_failed_save=waits.goes_on_without,
        saving=supervisor.saving,
        on_notice=supervisor.on_notice,
        spot_budget=_spot_budget if task.integrity == "spot" else None,
        keep=task.keep,
        keep_scores=task.keep_scores != "none",
    )
    if reference is not None:
        try:
            device_references.refuse_minority(reference, device, store)  # other devices may have joined in the meantime
        except ComputingError:
            store.discard_checkpoint(task.run_id)  # this device computed the checkpoint
            raise
    record = record_of(task, config, outcome, data, None if reference is None else reference.digest)
    weights = getattr(config.model, "weights", None)  # the user's own training code may have no model
    if weights is not None:
        fit = weights_fit(config.model, _shape(data))
        record.run["weights"] = json.dumps({"source": weights.source, **fit.record()})
    if outcome.network is not None:
        record.run.update(_stored_network(task, config, outcome.network, data, store, supervisor.on_notice))
    return record


def _own_training(
    task: Task,
    config: OwnRunConfig,
    data: DataSet,
    store: ResultStore,
    lock: RunLock,
    supervisor: _Supervisor,
    waits: StorageWaits,
) -> Outcome:
    """Compute a run of the user's own training code."""
    at_once = store.at_once()
    attempt = own.Attempt(
        run_id=task.run_id,
        directory=store.checkpoint_directory(task.run_id, create=False),
        threads=task.threads,
        memory_share=_share(task),
        on_epoch=supervisor.epoch,
        on_notice=supervisor.on_notice or (lambda _: None),
        pause=supervisor.pause,
        on_checkpoint=lambda _: at_once.keep_checkpoint(task.run_id, lock),
        on_failed_save=waits.goes_on_without,
    )
    return own.train(config, data, attempt, pick_device(task.device), repeat=task.repeat)


def _stored_network(
    task: Task, config: RunConfig, kept: KeptNetwork, data: DataSet, store: ResultStore, notice: OnNotice | None
) -> dict[str, Any]:
    """Store a run's trained network, and return the row's columns that describe the network."""
    try:
        content = network_files.content_of(kept, config, task.run_id, _shape(data), data.classes)
    except TypeError as error:
        if notice is not None:
            notice(f"this run's network is not kept: {error}")
        return {}
    digest = network_files.digest(content)
    store.keep_network(task.run_id, digest, content)
    return {"kept_epoch": kept.epoch, "network": digest}


def _shape(data: DataSet) -> ImageShape:
    _, height, width, channels = data.test.pixels.shape
    return ImageShape(channels, height, width, len(data.classes))


def _share(task: Task) -> float | None:
    """Return the fraction of a GPU's memory that the run may use; None means all of it."""
    return task.gpus if 0 < task.gpus < 1 else None


def _prepared(task: Task) -> tuple[RunConfig, DataSet]:
    """Return the run's configuration, validated again, and its data, which must match the plan."""
    config = RunConfig.parse(task.config)
    data = _load(config, task.fingerprint)
    if data.fingerprint != task.fingerprint:
        own = type(config.data).code
        raise DataError(
            "the data on this machine differs from the data with which the study was planned (fingerprint "
            f"{data.fingerprint} instead of {task.fingerprint}): compare the two with `ablate data info "
            f"{config.data.name}`; if the data has changed in the meantime, run "
            f"again{'; load() must return the same images every time' if own else ''}"
        )
    assert config.run_id(data.fingerprint) == task.run_id, "driver and worker run different versions of this package"
    return config, data


def settle_as_pruned(task: Task, store: ResultStore, reason: str) -> bool:
    """Settle a paused run unchanged, with the status ``pruned``; return False if another process holds the run.

    Raises
    ------
    StoreError: the run has no checkpoint at the end of an epoch.
    """
    lock = store.lock_run(task.run_id)
    if lock is None:
        return False
    with lock:
        if not store.is_settled(task.run_id):
            config, data = _prepared(task)
            outcome = outcome_so_far(config, data, store.checkpoint_directory(task.run_id), task.run_id, reason)
            store.commit(record_of(task, config, outcome, data), lock)
        store.discard_checkpoint(task.run_id)
    return True


def paused_at(task: Task, store: ResultStore) -> tuple[int, float | None]:
    """Return the number of completed epochs of a run that is not settled, and a validation accuracy.

    The accuracy is from the epoch at which the run pauses if the run has reached it, and otherwise from the last
    completed epoch.
    """
    found = checkpointing.load(store.checkpoint_directory(task.run_id), task.run_id)
    if found is None or not found.epochs:
        return 0, None
    epochs = len(found.epochs)
    return epochs, found.epochs[min(epochs, task.until or epochs) - 1]["validation_accuracy"]


_loaded: dict[tuple[str, str], DataSet] = {}


def _load(config: RunConfig, fingerprint: str) -> DataSet:
    """Return the data, which stays loaded while consecutive runs in this process use the same data."""
    key = config.data.model_dump_json(), fingerprint
    if key not in _loaded:
        _loaded.clear()
        _loaded[key] = datasets.create(config.data).load_known(fingerprint)
    return _loaded[key]
