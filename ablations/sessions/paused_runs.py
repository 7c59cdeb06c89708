"""Runs that a search pauses after an epoch, and settles unchanged if it stops their trials."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ablations.execution.task import Task
from ablations.store import ResultStore
from aimlib.errors import UsageError


def paused_before(missing: Mapping[str, Task], store: ResultStore) -> dict[str, float | None]:
    """Return the runs that have reached the requested epoch, each with its validation accuracy as a fraction."""
    found: dict[str, float | None] = {}
    if all(task.until is None for task in missing.values()):
        return found
    from ablations.execution.run_task import paused_at  # noqa: PLC0415 -- imports torch

    for run_id, task in missing.items():
        if task.until is not None:
            epochs, accuracy = paused_at(task, store)
            if epochs >= task.until:
                found[run_id] = accuracy
    return found


def prune(todo: Mapping[str, Task], run_ids: Collection[str], settled: set[str], store: ResultStore) -> None:
    """Settle paused runs unchanged, with the status ``pruned``.

    Raises
    ------
    UsageError: the study does not contain a run, or another process holds the run.
    """
    for run_id in run_ids:
        if run_id not in todo:
            raise UsageError(f"prune: {run_id} is not a run in the study")
        if run_id not in settled:
            from ablations.execution.run_task import paused_at, settle_as_pruned  # noqa: PLC0415 -- imports torch

            epochs, _ = paused_at(todo[run_id], store)
            if not settle_as_pruned(todo[run_id], store, f"stopped after {epochs} epochs by the search"):
                raise UsageError(f"run {run_id} is held by {store.holder(run_id)}; wait for it, or end it")
