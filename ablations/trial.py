"""One run on a worker: from plain JSON to a row in the store. Knows nothing of Ray."""

from __future__ import annotations

import contextlib
import functools
import json
import traceback
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ablations.planning import Plan, PlannedRun
from ablations.provenance import plugins_of, provenance
from ablations.store import ResultStore, read_mark
from aimlib.component import is_local
from aimlib.config import RunConfig
from aimlib.datasets.base import DataSet
from aimlib.errors import DataError, UsageError
from aimlib.records import SCHEMA_VERSION, TRIALS, RunRecord
from aimlib.registry import datasets, selections
from aimlib.training.devices import device_name, pick_device
from aimlib.training.loop import OnEpoch, Outcome, train

End = Literal["finished", "diverged", "failed", "held", "unshared"]
"""How an attempt ended; `held`: another process is computing this run; `unshared`: this machine does not see the
study's directory."""

_TRACEBACK_LINES = 25


@dataclass(frozen=True)
class Task:
    """Everything that a worker needs to know of a run, as plain values.

    Attributes
    ----------
    directory : the study directory.
    mark : what marks it as the driver's own directory, see `ResultStore.mark`.
    config : the RunConfig as JSON; validated again by the worker.
    costs : the trial columns that are known of the network before it is trained.
    device, threads : where it is trained.
    """

    directory: str
    mark: str
    study: str
    arm: str
    run_id: str
    fingerprint: str
    config: dict[str, Any]
    costs: dict[str, int]
    device: Literal["cpu", "cuda"]
    threads: int


def tasks(plan: Plan, store: ResultStore, runs: list[PlannedRun]) -> list[Task]:
    """Return the task of every given run."""
    resources = plan.study.spec.resources
    device = resources.device
    if device == "auto":
        device = "cuda" if resources.gpus > 0 else "cpu"
    costs = ("parameters", "trainable_parameters", "multiply_adds")
    return [
        Task(
            directory=str(store.directory),
            mark=store.mark(),
            study=plan.study.spec.name,
            arm=run.arm,
            run_id=run.run_id,
            fingerprint=run.fingerprint,
            config=_with_absolute_paths(run.config).model_dump(mode="json"),
            costs={name: getattr(plan.summaries[run.arm], name) for name in costs},
            device=device,
            threads=resources.cpus,
        )
        for run in runs
    ]


def _with_absolute_paths(config: RunConfig) -> RunConfig:
    """Return the run with the places of its data as absolute paths: a worker may stand in another folder."""
    fields = type(config.data).model_fields
    given = {name: getattr(config.data, name) for name, field in fields.items() if is_local(field)}
    places = {name: str(Path(place).expanduser().absolute()) for name, place in given.items() if place is not None}
    return config.model_copy(update={"data": config.data.model_copy(update=places)})


def execute(task: Task, on_epoch: OnEpoch | None = None) -> End:
    """Compute a run and settle it in the store, going on from its checkpoint where there is one.

    An exception becomes a row with the status ``failed``; only what ends the process is passed on.

    Parameters
    ----------
    on_epoch : called after every epoch with the epoch's row.
    """
    if read_mark(Path(task.directory)) != task.mark:
        return "unshared"
    store = ResultStore(Path(task.directory))
    claim = store.claim(task.run_id)
    if claim is None:
        return "held"
    with claim:
        if store.is_settled(task.run_id):
            return "finished"
        try:
            record = _compute(task, store, on_epoch)
        except Exception as error:  # noqa: BLE001 -- whatever it is, it must end up in a row
            store.record_failure(failure(task, _reason(error), _end_of_traceback(error)))
            return "failed"
        store.commit(record)
        store.discard_checkpoint(task.run_id)
        return "diverged" if record.trial["status"] == "diverged" else "finished"


def _compute(task: Task, store: ResultStore, on_epoch: OnEpoch | None) -> RunRecord:
    config = RunConfig.parse(task.config)
    data = _load(config.data.model_dump_json(), config)
    if data.fingerprint != task.fingerprint:
        raise DataError(
            f"the data on this machine differs from the data that the study was planned with (fingerprint "
            f"{data.fingerprint} instead of {task.fingerprint}): compare both with "
            f"`ablate data info {config.data.name}`"
        )
    assert config.run_id(data.fingerprint) == task.run_id, "driver and worker run different versions of this package"
    outcome = train(
        config,
        data,
        device=pick_device(task.device),
        threads=task.threads,
        run_id=task.run_id,
        checkpoint_directory=store.checkpoint_directory(task.run_id),
        on_epoch=on_epoch,
    )
    return _record(task, config, outcome, data)


_loaded: dict[str, DataSet] = {}


def _load(key: str, config: RunConfig) -> DataSet:
    """Return the data, kept from run to run while consecutive runs of this process use the same."""
    if key not in _loaded:
        _loaded.clear()
        _loaded[key] = datasets.create(config.data).load()
    return _loaded[key]


def _record(task: Task, config: RunConfig, outcome: Outcome, data: DataSet) -> RunRecord:
    trained, held_out, tested = outcome.images
    trial = _origin(task) | {
        **_components(config),
        "status": outcome.status,
        "reason": outcome.reason,
        "epochs_run": len(outcome.epochs),
        "selected_epoch": outcome.selected_epoch,
        **outcome.selected,
        "classes": len(data.classes),
        "train_images": trained,
        "validation_images": held_out,
        "test_images": tested,
        "seconds": outcome.seconds,
        "attempts": outcome.attempts,
        "started_at": datetime.fromisoformat(outcome.started_at),
    }
    return RunRecord(trial, outcome.epochs, outcome.predictions)


def failure(task: Task, reason: str, end_of_traceback: str | None = None) -> RunRecord:
    """Return the row of an attempt that failed, with what is known without having computed anything."""
    trial = _origin(task) | {"status": "failed", "reason": reason, "traceback": end_of_traceback}
    with contextlib.suppress(UsageError):  # a plugin that this machine lacks may be why it failed
        trial |= _components(RunConfig.parse(task.config))
    return RunRecord(trial, [], np.zeros((0, 0), dtype=np.uint8))


def _origin(task: Task) -> dict[str, Any]:
    """Return the columns that need nothing but the task; all others are null."""
    empty: dict[str, Any] = {column.name: None for column in TRIALS}
    return (
        empty
        | _here()
        | task.costs
        | {
            "run_id": task.run_id,
            "study": task.study,
            "arm": task.arm,
            "seed": task.config["seed"],
            "epochs_planned": task.config["training"]["epochs"],
            "selection": task.config["training"]["selection"]["name"],
            "device": task.device,
            "device_name": device_name(pick_device(task.device)),
            "threads": task.threads,
            "finished_at": datetime.now(UTC),
            "data_fingerprint": task.fingerprint,
            "config": json.dumps(task.config),
            "schema_version": SCHEMA_VERSION,
        }
    )


def _components(config: RunConfig) -> dict[str, Any]:
    """Return the columns that need the run's plugins."""
    rule = selections.get(config.training.selection.name)
    oracle = bool(rule.oracle) or config.training.monitor == "test"
    return {"selection_oracle": oracle, "plugins": plugins_of(config)}


@functools.cache
def _here() -> dict[str, Any]:
    return dict(provenance())


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _end_of_traceback(error: Exception) -> str:
    lines = "".join(traceback.format_exception(error)).splitlines()
    return "\n".join(lines[-_TRACEBACK_LINES:])


def as_json(task: Task) -> dict[str, Any]:
    """Return the task as plain values, for the way to a worker."""
    return asdict(task)
