"""Weights & Biases: offline runs in ``tracking/wandb``, for ``wandb sync``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablations.trackers.base import RunInfo, Tracker

_HOST = "(not shown)"
_CODES = {"failed": 1, "stopped": 1}


class WeightsAndBiases(Tracker):
    """Tracker with one Weights & Biases run per run, under the same id.

    The tracker is offline unless ``WANDB_MODE=online`` is set (after a login). The host, command line, code and output
    are not recorded. A resumed run has one folder per driver; ``wandb sync --append`` joins these folders.
    """

    def __init__(self, directory: Path, study: str) -> None:
        super().__init__(directory, study)
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self._mode = "online" if os.environ.get("WANDB_MODE") == "online" else "offline"
        self._runs: dict[str, Any] = {}

    def started(self, run: RunInfo, *, resumed: bool) -> None:
        """Open a run."""
        import wandb  # noqa: PLC0415 -- an optional dependency

        settings = wandb.Settings(
            console="off",
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            host=_HOST,
            silent=True,
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
        )
        self._runs[run.run_id] = wandb.init(
            project=self.study,
            id=run.run_id,
            name=run.name,
            group=run.arm,
            dir=str(self.directory),
            config={"arm": run.arm, "seed": run.seed, **run.config},
            mode=self._mode,
            resume="allow" if self._mode == "online" else None,
            reinit="create_new",
            save_code=False,
            settings=settings,
        )

    def epoch(self, run: RunInfo, number: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of an epoch."""
        self._runs[run.run_id].log(dict(metrics), step=number)

    def ended(self, run: RunInfo, end: str) -> None:
        """Finish the run."""
        found = self._runs.pop(run.run_id)
        found.summary["outcome"] = end
        found.finish(exit_code=_CODES.get(end, 0))

    def close(self) -> None:
        """Finish open runs as interrupted."""
        while self._runs:
            self._runs.popitem()[1].finish(exit_code=1)
