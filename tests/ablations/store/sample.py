"""Records as a study would commit them, and the contents of a directory. The module does not import pytest, so that
writers start fast."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from aimlib.paths import Place, for_arrow, place
from aimlib.records import RUN_COLUMNS, RUNS, SCHEMA_VERSION, SEGMENTS, RunRecord

_VALUES: dict[str, Any] = {"text": "some text", "integer": 7, "number": 0.25, "boolean": False}


def identity(number: int) -> str:
    """Return a run id."""
    return hashlib.sha256(f"run {number}".encode()).hexdigest()[:20]


def make_record(
    run_id: str, *, status: str = "finished", epochs: int = 3, images: int = 40, host: str = "somewhere"
) -> RunRecord:
    """Return a complete record of one run; `host` distinguishes rows of the same run."""
    values = {**_VALUES, "time": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)}
    trial = {column.name: values[column.type] for column in RUN_COLUMNS}
    trial |= {"run_id": run_id, "status": status, "host": host, "schema_version": SCHEMA_VERSION}
    trial |= {
        "identity": None,
        "selected_epoch": min(1, epochs),
        "epochs_run": epochs,
        "reason": None,
        "traceback": None,
    }
    curve = {"train_loss": 1.0, "train_accuracy": 0.5, "validation_loss": 1.1, "validation_accuracy": 0.4}
    curve |= {"test_loss": 1.2, "test_accuracy": 0.3, "test_top5_accuracy": 0.7, "learning_rate": 0.1, "seconds": 0.05}
    predictions = np.random.default_rng(int(run_id[:8], 16)).integers(0, 10, (max(epochs, 1), images), dtype=np.uint8)
    return RunRecord(trial, [{"epoch": epoch, **curve} for epoch in range(1, epochs + 1)], predictions)


def rows_in(directory: str | Place) -> dict[str, str]:
    """Return the host of every settled row, by run id; if a row is in two places, both must be the same row."""
    found: dict[str, str] = {}
    for folder in (SEGMENTS, RUNS):
        seen: set[str] = set()
        for path in files_in(directory, folder):
            for row in pq.read_table(for_arrow(path)).to_pylist():
                assert row["run_id"] not in seen, "two rows for one run in one place"
                seen.add(row["run_id"])
                assert found.setdefault(row["run_id"], row["host"]) == row["host"]
    return found


def files_in(directory: str | Place, folder: str) -> list[Place]:
    """Return the Parquet files in one of a study's folders."""
    parent = place(directory) / folder
    return [path for path in sorted(parent.iterdir()) if path.suffix == ".parquet" and not path.name.startswith(".")]


def temporary_files(directory: Path) -> list[Path]:
    """Return every hidden file in the store."""
    return [path for path in directory.rglob(".*") if path.is_file()]
