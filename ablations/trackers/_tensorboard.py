"""TensorBoard: event files in ``tracking/tensorboard/<arm>/<seed>-<run id>``."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablations.trackers.base import RunInfo, Tracker


class TensorBoard(Tracker):
    """Tracker that writes scalars by epoch and the configuration as text.

    View the event files with ``tensorboard --logdir DIR/tracking``.

    The tracker uses tensorboardX, which does not import torch into the driver.
    """

    def __init__(self, directory: Path, study: str) -> None:
        super().__init__(directory, study)
        self._writers: dict[str, Any] = {}

    def started(self, run: RunInfo, *, resumed: bool) -> None:
        """Open an event file; TensorBoard treats all event files in a folder as one run."""
        from tensorboardX import SummaryWriter  # noqa: PLC0415 -- an optional dependency

        arm = re.sub(r"[^A-Za-z0-9._=-]+", "_", run.arm)[:80].strip(".") or "arm"
        folder = self.directory / arm / f"seed{run.seed}-{run.run_id}"
        writer = SummaryWriter(str(folder), filename_suffix=f".{uuid.uuid4().hex[:8]}")
        self._writers[run.run_id] = writer
        if not resumed:
            lines = json.dumps({"arm": run.arm, "seed": run.seed, **run.config}, indent=1, ensure_ascii=False)
            writer.add_text("config", "\n".join("    " + line for line in lines.splitlines()), 0)

    def epoch(self, run: RunInfo, number: int, metrics: Mapping[str, float]) -> None:
        """Write the scalars of an epoch."""
        writer = self._writers[run.run_id]
        for name, value in metrics.items():
            part, _, measure = name.partition("_")
            writer.add_scalar(f"{measure}/{part}" if part in ("train", "validation") else name, value, number)
        writer.flush()

    def ended(self, run: RunInfo, end: str) -> None:
        """Close the event file."""
        self._writers.pop(run.run_id).close()

    def close(self) -> None:
        """Close all event files."""
        while self._writers:
            self._writers.popitem()[1].close()
