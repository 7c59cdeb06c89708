"""The record of a run: the row that a worker or the driver builds from a task and its outcome."""

from __future__ import annotations

import contextlib
import functools
import json
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ablations.execution.provenance import plugins_of, provenance
from ablations.execution.task import Task
from aimlib.config import RunConfig
from aimlib.datasets.base import DataSet
from aimlib.errors import UsageError
from aimlib.records import RUN_COLUMNS, SCHEMA_VERSION, RunRecord
from aimlib.registry import selections
from aimlib.training.devices import device_name, device_uuid, pick_device
from aimlib.training.outcomes import Outcome


def record_of(
    task: Task, config: RunConfig, outcome: Outcome, data: DataSet, reference: str | None = None
) -> RunRecord:
    """Return the row of a settled run.

    Parameters
    ----------
    reference : digest of the reference step on the run's device; None if the step was not computed.
    """
    trained, held_out, tested = outcome.images
    row = _origin(task) | {
        **_components(config),
        "identity": config.identity_text(task.fingerprint),
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
        "device_uuid": device_uuid(pick_device(task.device)) or None,
        "step": outcome.step,
        "data_on": outcome.data_on,
        "peak_device_bytes": outcome.peak_device_bytes,
        "started_at": datetime.fromisoformat(outcome.started_at),
        "spot_checks": outcome.spot_checks,
        "reference": reference,
        "repeated": outcome.repeated,
        "scalars": json.dumps(outcome.scalars) if outcome.scalars else None,
    }
    return RunRecord(row, outcome.epochs, outcome.predictions, outcome.scores)


def failed_record(task: Task, reason: str, end_of_traceback: str | None = None) -> RunRecord:
    """Return the row for a failed attempt, with the values that are known before anything is computed."""
    row = _origin(task) | {"status": "failed", "reason": reason, "traceback": end_of_traceback}
    with contextlib.suppress(UsageError):  # the attempt may have failed because this machine lacks a plugin
        row |= _components(RunConfig.parse(task.config))
    return RunRecord(row, [], np.zeros((0, 0), dtype=np.uint8))


def _origin(task: Task) -> dict[str, Any]:
    """Return the columns that depend only on the task; all other columns are null."""
    empty: dict[str, Any] = {column.name: None for column in RUN_COLUMNS}
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
