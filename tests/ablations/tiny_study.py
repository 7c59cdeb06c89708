"""A study that trains in one second, and functions that compare its results."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from aimlib.records import EPOCHS, SETTLED

TINY: dict[str, Any] = {
    "name": "tiny",
    "base": {
        "data": {"name": "digits", "size": 8, "train_images": 40, "test_images": 100},
        "model": {"backbone": {"name": "small_resnet", "widths": [4, 4, 8]}},
        "training": {
            "epochs": 2,
            "batch_size": 16,
            "optimizer": {"name": "adam", "learning_rate": 2e-3},
            "selection": "best_validation",
            "validation_fraction": 0.25,
        },
    },
    "arms": {
        "baseline": {},
        "aim": {
            "model": {
                "memory": {"name": "conv_ones", "channels": 4, "rows": 2, "columns": 2},
                "placement": "block_entry",
                "update": "conv_sigmoid",
            }
        },
    },
    "seeds": 2,
}

REMOVED = object()


def changed(changes: dict[str, Any], document: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the tiny study with changes, given by key path; `REMOVED` removes the key."""
    result = copy.deepcopy(TINY if document is None else document)
    for path, value in changes.items():
        *parents, last = path.split("/") if "/" in path else path.split(".")
        inner = result
        for key in parents:
            inner = inner.setdefault(key, {})
        if value is REMOVED:
            del inner[last]
        else:
            inner[last] = copy.deepcopy(value)
    return result


def write(folder: Path, document: dict[str, Any], name: str = "study.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path


def rows(directory: Path) -> list[dict[str, Any]]:
    """Return all rows of settled runs from all files. A run that is stored twice is listed twice."""
    files = [*sorted((directory / "runs").glob("*.parquet")), *sorted((directory / "segments").glob("*.parquet"))]
    return [row for path in files for row in pq.ParquetFile(path).read().to_pylist()]


def failures(directory: Path) -> list[dict[str, Any]]:
    return [
        row for path in sorted((directory / "failures").iterdir()) for row in pq.ParquetFile(path).read().to_pylist()
    ]


_NUMBERS = (
    "status",
    "reason",
    "epochs_run",
    "selected_epoch",
    "test_accuracy",
    "test_loss",
    "test_top5_accuracy",
    "validation_accuracy",
    "validation_loss",
    "train_images",
    "config",
    "data_fingerprint",
    "threads",
    "predictions",
    *(f"epochs.{column.name}" for column in EPOCHS if column.name != "seconds"),
)


def numbers(directory: Path) -> dict[str, str]:
    """Return each run's exact results, without times, by run id.

    The values are text, because NaN does not equal itself. The `repr` of a float is exact.
    """
    found = rows(directory)
    ids = [row["run_id"] for row in found]
    assert len(set(ids)) == len(ids), f"runs that are stored twice: {sorted({i for i in ids if ids.count(i) > 1})}"
    assert {row["status"] for row in found} <= set(SETTLED)
    return {row["run_id"]: repr({name: row[name] for name in _NUMBERS}) for row in found}


def planned(directory: Path) -> list[str]:
    """Return the planned run ids, in plan order."""
    return [run["run_id"] for run in json.loads((directory / "study.json").read_text())["runs"]]


def litter(directory: Path) -> list[Path]:
    """Return temporary files and checkpoints that were left behind."""
    found = [*directory.rglob("*.tmp"), *directory.rglob(".*"), *(directory / "checkpoints").iterdir()]
    return sorted(set(found))
