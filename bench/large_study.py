"""A large study that is written to disk without training, for measurements of reading and reporting.

The study is a factorial design of 5 placements × 5 updates × 4 memories × 5 sizes around `aim`, in addition to the
baseline and the matched and frozen controls. It has up to 500 arms, each with 20 paired seeds of 50 epochs, and each
run is tested after every epoch on the 1,708 images of 20 breeds from Stanford Dogs. Files, columns, row groups and
compression are the same as in the store; the learning curves are drawn at random, and one run in 200 diverges halfway.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aimlib import records
from aimlib.config import RunConfig
from analysis import analysis_plan
from analysis.claims import read_claim
from analysis.looks import Looks

SEEDS, EPOCHS, IMAGES, CLASSES = 20, 50, 1708, 20
LOOKS = (5, 8, 12, 20)
_PLACEMENTS = ("every_layer", "block_entry", "stage_only", "input_only", "deep_convolutions")
_UPDATES = ("conv_sigmoid", "none", "gated", "residual", "attention")
_MEMORIES = ("conv_ones", "dense_ones", "parameter", "noise")
_SIZES = (1024, 256, 512, 2048, 4096)
_FINGERPRINT = "6f1e8c0d2b7a49f30c5d"
_START = datetime(2026, 3, 1, 12, tzinfo=UTC)
_GROUP = 750
"""Number of runs per row group; the store closes a group after 64 MB of rows, which consist mostly of predictions."""


def write(directory: Path, runs: int) -> Path:
    """Write a study with the given number of runs (a multiple of 20, at least 80) to `directory`; return its path."""
    rng = np.random.default_rng(runs)
    arms = _arms(runs // SEEDS)
    for name in (records.RUNS, records.FAILURES, records.SEGMENTS, records.IMAGES):
        (directory / name).mkdir(parents=True)
    plan = _plan(arms)
    (directory / records.STUDY_FILE).write_text(json.dumps(plan), encoding="utf-8")
    _freeze(directory / records.ANALYSIS_PLAN, plan)
    models = pa.Table.from_pylist([_model(arm, arms[0]) for arm in arms], schema=records.table_schema(records.MODELS))
    records.write_table(models, directory / records.MODELS_FILE)
    labels = np.arange(IMAGES) % CLASSES
    images = [
        {"image": i, "image_name": f"n{label:02}/n{i:05}.jpg", "label": int(label), "class_name": f"breed {label}"}
        for i, label in enumerate(labels)
    ]
    table = pa.Table.from_pylist(images, schema=records.table_schema(records.TEST_IMAGES))
    records.write_table(table, directory / records.IMAGES / f"{_FINGERPRINT}.parquet")
    segment = directory / records.SEGMENTS / f"{runs:020x}.parquet"
    planned = list(zip(plan["runs"], [arm for arm in arms for _ in range(SEEDS)], strict=True))
    parts = (planned[start : start + _GROUP] for start in range(0, len(planned), _GROUP))
    groups = (_rows(part, labels.astype(np.uint8), rng) for part in parts)
    records.write_groups(groups, records.run_schema(), segment)
    return directory


def _arms(number: int) -> list[dict[str, Any]]:
    """Return the `name`, `role`, `of`, `levels` and `config` of each arm, and the accuracy that its runs approach."""
    rng = np.random.default_rng(0)
    arms = [
        _arm("baseline", "baseline", None, {"placement": "none", "update": "none"}, 0.151),
        _arm("aim", "aim", None, {"placement": "every_layer", "update": "conv_sigmoid", "memory": "conv_ones"}, 0.18),
        _arm("matched", "matched", "aim", {"placement": "none", "update": "none"}, 0.158),
        _arm("frozen", "frozen", "aim", {"placement": "every_layer", "update": "none", "memory": "conv_ones"}, 0.155),
    ]
    combinations = islice(product(_SIZES, _MEMORIES, _PLACEMENTS, _UPDATES), number - len(arms))
    for size, memory, placement, update in combinations:
        levels = {"placement": placement, "update": update, "memory": memory, "size": str(size)}
        name = ", ".join(f"{factor}={level}" for factor, level in levels.items())
        arms.append(_arm(name, "aim", "aim", levels, float(rng.normal(0.165, 0.012)), levels))
    return arms


def _arm(
    name: str, role: str, of: str | None, model: dict[str, str], accuracy: float, levels: dict[str, str] | None = None
) -> dict[str, Any]:
    placement: Any = model["placement"]
    if placement == "deep_convolutions":
        placement = {"name": "layers", "names": ["layer3.*.conv2", "layer4.*.conv2"]}
    parts: dict[str, Any] = {
        "backbone": {"name": "small_resnet", "widths": [8, 16, 32, 64], "blocks": [1, 1, 1, 1], "stem_stride": 2},
        "placement": placement,
        "update": model["update"],
    }
    if "memory" in model:
        parts["memory"] = model["memory"]
    config = RunConfig.model_validate(
        {
            "model": parts,
            "data": {"name": "stanford_dogs", "classes": CLASSES, "size": 64},
            "training": {"epochs": EPOCHS, "batch_size": 32, "optimizer": "adam", "selection": "best_validation"},
            "seed": 0,
        }
    ).model_dump(mode="json")
    return {"name": name, "role": role, "of": of, "levels": levels or {}, "config": config, "accuracy": accuracy}


def _plan(arms: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "schema_version": records.SCHEMA_VERSION,
        "name": "large_study",
        "claim": "stanford_dogs_aim",
        "created_at": _START.isoformat(),
        "package_version": "0.0.0",
        "scope": {
            "dataset": "stanford_dogs",
            "classes": CLASSES,
            "image_size": 64,
            "backbone": "small_resnet",
            "protocol": "controlled",
            "data_fingerprint": _FINGERPRINT,
        },
        "delta_pp": 1.0,
        "alpha": 0.05,
        "looks": list(LOOKS),
        "further_block": 0,
        "arms": [{name: arm[name] for name in ("name", "role", "of", "levels", "config")} for arm in arms],
        "seeds": list(range(SEEDS)),
        "runs": [
            {"run_id": f"{number:08x}{seed:012x}", "arm": arm["name"], "seed": seed}
            for number, arm in enumerate(arms)
            for seed in range(SEEDS)
        ],
    }


def _freeze(path: Path, plan: dict[str, Any]) -> None:
    claim = read_claim(plan["claim"])
    content = analysis_plan.content_of(plan, claim.gains_pp, Looks(LOOKS).levels, claim.scope)
    at = (_START + timedelta(seconds=30)).isoformat()
    document = {
        "schema_version": records.SCHEMA_VERSION,
        "frozen_at": at,
        "runs_before": 0,
        "sha256": analysis_plan.digest(at, 0, content),
        "content": content,
    }
    path.write_text(json.dumps(document), encoding="utf-8")


def _model(arm: dict[str, Any], baseline: dict[str, Any]) -> dict[str, Any]:
    with_memory = arm["role"] in ("aim", "frozen")
    readers = [
        {"name": f"layer{i}.0.conv{j}", "height": 16, "width": 16, "channels": 4, "memory": "current"}
        for i in range(1, 5)
        for j in (1, 2)
    ]
    differences = [
        {"option": f"model.{name}", "baseline": baseline["config"]["model"].get(name), "value": value}
        for name, value in arm["config"]["model"].items()
        if value != baseline["config"]["model"].get(name)
    ]
    return {
        "arm": arm["name"],
        "role": arm["role"],
        "parameters": 79_000 + 12_000 * with_memory,
        "trainable_parameters": 79_000 + 11_000 * with_memory,
        "running_statistics": 480,
        "multiply_adds": 3_100_000 + 300_000 * with_memory,
        "activation_bytes": 800_000,
        "memory_values": 1024 * with_memory,
        "memory_degrees_of_freedom": 1024 * with_memory,
        "readers": json.dumps(readers if with_memory else []),
        "updates": json.dumps(["layer1", "layer2", "layer3"] if with_memory else []),
        "skipped": "[]",
        "differences": json.dumps(differences),
        "config": json.dumps(arm["config"]),
    }


def _rows(planned: list[tuple[dict[str, Any], dict[str, Any]]], labels: Any, rng: np.random.Generator) -> pa.Table:
    """Return the rows of some runs in the store's format."""
    count = len(planned)
    lengths = np.where(rng.random(count) < 1 / 200, EPOCHS // 2, EPOCHS)
    ends = np.array([arm["accuracy"] for _, arm in planned]) + rng.normal(0, 0.006, count)
    steps = np.arange(1, EPOCHS + 1)
    curves = ends[:, None] * (1 - np.exp(-5 * steps / EPOCHS)) + rng.normal(0, 0.003, (count, EPOCHS))
    curves = np.round(np.clip(curves, 0.05, 1) * IMAGES) / IMAGES
    predictions = [_predictions(curve[:length], labels, rng) for curve, length in zip(curves, lengths, strict=True)]
    validation = np.clip(curves + rng.normal(0, 0.004, curves.shape), 0, 1)
    reached = np.arange(EPOCHS)[None] < lengths[:, None]
    selected = np.where(reached, validation, -1).argmax(axis=1)
    taken = np.arange(count), selected
    losses = 3.2 - 4 * curves + rng.normal(0, 0.01, curves.shape)
    epochs = {
        "epoch": np.broadcast_to(steps, curves.shape),
        "train_loss": losses - 0.1,
        "train_accuracy": curves + 0.02,
        "validation_loss": losses + 0.01,
        "validation_accuracy": validation,
        "test_loss": losses,
        "test_accuracy": curves,
        "test_top5_accuracy": np.minimum(3 * curves, 1.0),
        "learning_rate": np.broadcast_to(1e-3 * (1 + np.cos(np.pi * steps / EPOCHS)) / 2, curves.shape),
        "seconds": 4 + rng.random(curves.shape),
    }
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), type=pa.int32())
    lists = {
        f"epochs.{column.name}": pa.ListArray.from_arrays(
            offsets, pa.array(epochs[column.name][reached], type=records.arrow_type(column))
        )
        for column in records.EPOCHS
    }
    diverged = lengths < EPOCHS
    values: dict[str, Any] = {
        "run_id": [run["run_id"] for run, _ in planned],
        "arm": [run["arm"] for run, _ in planned],
        "seed": [run["seed"] for run, _ in planned],
        "status": np.where(diverged, "diverged", "finished").tolist(),
        "reason": [f"loss is not finite in epoch {EPOCHS // 2 + 1}" if each else None for each in diverged],
        "epochs_run": lengths,
        "selected_epoch": selected + 1,
        **{name: epochs[name][taken] for name in _OF_SELECTED},
        "seconds": np.where(reached, epochs["seconds"], 0).sum(axis=1),
        "started_at": [_START + timedelta(minutes=5 * run["seed"] + 1) for run, _ in planned],
        "finished_at": [_START + timedelta(minutes=5 * run["seed"] + 6) for run, _ in planned],
        "config": [json.dumps({**arm["config"], "seed": run["seed"]}) for run, arm in planned],
        "parameters": [79_000 + 12_000 * (arm["role"] in ("aim", "frozen")) for _, arm in planned],
        "multiply_adds": [3_100_000 + 300_000 * (arm["role"] in ("aim", "frozen")) for _, arm in planned],
        "predictions": predictions,
        "predictions.epochs": lengths,
    }
    columns = [
        lists[field.name]
        if field.name in lists
        else pa.array(values[field.name] if field.name in values else [_SAME.get(field.name)] * count, type=field.type)
        for field in records.run_schema()
    ]
    return pa.table(columns, schema=records.run_schema())


_OF_SELECTED = ("test_accuracy", "test_loss", "test_top5_accuracy", "validation_accuracy", "validation_loss")
_SAME: dict[str, Any] = {
    "study": "large_study",
    "epochs_planned": EPOCHS,
    "selection": "best_validation",
    "selection_oracle": False,
    "classes": CLASSES,
    "train_images": 1800,
    "validation_images": 200,
    "test_images": IMAGES,
    "trainable_parameters": 79_000,
    "attempts": 1,
    "device": "cpu",
    "device_name": "x86_64",
    "threads": 1,
    "host": "node1",
    "data_fingerprint": _FINGERPRINT,
    "git_commit": "0123456789abcdef0123456789abcdef01234567",
    "versions": json.dumps({"python": "3.11.7", "torch": "2.14.1", "numpy": "2.4.6", "ray": "2.60.0"}),
    "plugins": json.dumps({"backbone:small_resnet": "aim-ablations 0.1.0", "dataset:stanford_dogs": "aim-ablations"}),
    "schema_version": records.SCHEMA_VERSION,
    "predictions.bits": 8,
}


def _predictions(curve: Any, labels: Any, rng: np.random.Generator) -> bytes:
    """Return predictions [epochs, images] that are correct as often as the curve requires, in a fixed image order."""
    wrong = rng.integers(1, CLASSES, size=(len(curve), IMAGES), dtype=np.uint8)
    place = rng.permutation(IMAGES)
    right = place[None] < np.round(curve * IMAGES)[:, None]
    found: bytes = np.where(right, labels, (labels + wrong) % CLASSES).astype(np.uint8).tobytes()
    return found


def ready(directory: Path, out: Path) -> Iterator[Path]:
    """Write a study's runs to one Parquet file and its epochs to another, and yield the paths of both files."""
    table = pq.read_table(directory / records.SEGMENTS, columns=[column.name for column in records.RUN_COLUMNS])
    yield _written(table, out / "runs.parquet")
    names = [f"epochs.{column.name}" for column in records.EPOCHS]
    nested = pq.read_table(directory / records.SEGMENTS, columns=["run_id", "arm", "seed", *names]).combine_chunks()
    parents = pc.list_parent_indices(nested["epochs.epoch"].chunk(0))
    flat = {name: nested[name].take(parents) for name in ("run_id", "arm", "seed")}
    flat |= {name.removeprefix("epochs."): pc.list_flatten(nested[name]) for name in names}
    yield _written(pa.table(flat), out / "epochs.parquet")


def _written(table: pa.Table, path: Path) -> Path:
    pq.write_table(table, path, compression="zstd")
    return path
