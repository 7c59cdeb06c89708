"""MLflow: an SQLite file, ``tracking/mlflow/mlflow.db``."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablations.trackers.base import RunInfo, Tracker

_TAG = "ablate.run_id"
_STATES = {
    "finished": "FINISHED",
    "diverged": "FINISHED",
    "pruned": "FINISHED",
    "failed": "FAILED",
    "stopped": "KILLED",
}
_LONGEST = 6000
_BATCH = 100


class MLflow(Tracker):
    """Tracker with one MLflow run per run, and the study as the experiment.

    View the runs with ``mlflow server --backend-store-uri sqlite:///...``.
    """

    def __init__(self, directory: Path, study: str) -> None:
        super().__init__(directory, study)
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # disables usage reports over the network
        from mlflow.tracking import MlflowClient  # noqa: PLC0415 -- an optional dependency

        self._client = MlflowClient(tracking_uri=f"sqlite:///{directory.resolve() / 'mlflow.db'}")
        found = self._client.get_experiment_by_name(study)
        if found is None:
            artifacts = (directory / "artifacts").resolve().as_uri()
            self._experiment = self._client.create_experiment(study, artifact_location=artifacts)
        else:
            self._experiment = found.experiment_id
        self._ids: dict[str, str] = {}

    def started(self, run: RunInfo, *, resumed: bool) -> None:
        """Create an MLflow run, or reopen the existing run with this id."""
        from mlflow.entities import Param  # noqa: PLC0415

        known = self._client.search_runs([self._experiment], f"tags.`{_TAG}` = '{run.run_id}'", max_results=1)
        if known:
            self._ids[run.run_id] = known[0].info.run_id
            self._client.update_run(known[0].info.run_id, status="RUNNING")
            return
        tags = {_TAG: run.run_id, "arm": run.arm, "seed": str(run.seed)}
        made = self._client.create_run(self._experiment, run_name=run.name, tags=tags).info.run_id
        self._ids[run.run_id] = made
        options: dict[str, Any] = {"arm": run.arm, "seed": run.seed, **run.config}
        params = [Param(name, str(value)[:_LONGEST]) for name, value in options.items()]
        for some in _batches(params):
            self._client.log_batch(made, params=some)

    def epoch(self, run: RunInfo, number: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of an epoch."""
        from mlflow.entities import Metric  # noqa: PLC0415

        now = int(time.time() * 1000)
        self._client.log_batch(self._ids[run.run_id], [Metric(name, v, now, number) for name, v in metrics.items()])

    def ended(self, run: RunInfo, end: str) -> None:
        """Record the outcome; a run that was only paused stays open."""
        made = self._ids.pop(run.run_id)
        if end in _STATES:
            self._client.set_tag(made, "outcome", end)
            self._client.set_terminated(made, _STATES[end])


def _batches(params: list[Any]) -> list[list[Any]]:
    return [params[i : i + _BATCH] for i in range(0, len(params), _BATCH)]
