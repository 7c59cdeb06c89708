"""Synthetic study directories, written with `aimlib.records` in the same way as by the store."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from aimlib import records
from analysis import analysis_plan as frozen
from analysis.claims import read_claim

FINGERPRINT = "f1" * 10
START = datetime(2024, 5, 1, 12, tzinfo=UTC)
SCOPE = {
    "dataset": "stanford_dogs",
    "classes": 120,
    "image_size": 224,
    "backbone": "resnet50",
    "protocol": "controlled",
    "data_fingerprint": FINGERPRINT,
}


@dataclass
class FakeArm:
    """An arm, and the test accuracies that its runs reach."""

    name: str
    role: str = "other"
    mean: float = 0.15
    of: str | None = None
    accuracies: list[float] | None = None  # one per seed; None: drawn around `mean`
    levels: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    question: str | None = None


@dataclass
class FakeStudy:
    """The study to write; `status` maps (arm, seed) to failed, diverged, pruned, chance or missing."""

    arms: list[FakeArm]
    seeds: list[int]
    status: dict[tuple[str, int], str] = field(default_factory=dict)
    epochs: int = 6
    images: int = 400
    spread: float = 0.005
    claim: str | None = "stanford_dogs_aim"
    scope: dict[str, Any] = field(default_factory=lambda: dict(SCOPE))
    models: bool = True
    write_images: bool = True
    compacted: bool = True
    name: str = "synthetic"
    delta_pp: float = 1.0
    looks: Any = None  # in the form in which a plan stores looks; None: one look at all seeds
    further_block: int = 0
    failure: str = "CUDA out of memory"  # why the failed runs failed
    frozen: str = "2024-05-01T11:59:30+00:00"  # when the plan was frozen; empty: never
    reused_from: str | None = None
    what: str | None = None  # for a study about something other than memory
    measure: Any = None  # a measure other than accuracy
    delta: float | None = None  # smallest effect of interest, in the measure's unit
    scores: bool = False  # whether scores are kept
    procedure: int = 1  # the procedure that reaches the verdict


def run_id(arm: int, seed: int) -> str:
    return f"{arm:08x}{seed:012x}"


def trial(study: FakeStudy, arm: int, seed: int, accuracy: float | None, status: str) -> dict[str, Any]:
    classes = study.scope["classes"]
    row: dict[str, Any] = {column.name: None for column in records.RUN_COLUMNS}
    row |= {
        "run_id": run_id(arm, seed),
        "study": study.name,
        "arm": study.arms[arm].name,
        "seed": seed,
        "status": status,
        "reason": {"failed": study.failure, "diverged": "loss is not finite in epoch 3"}.get(status),
        "traceback": "Traceback (most recent call last):\n  ...\nRuntimeError: boom" if status == "failed" else None,
        "epochs_planned": study.epochs,
        "selection": "best_validation",
        "selection_oracle": False,
        "test_accuracy": accuracy,
        "test_loss": None if accuracy is None else 4.0 - 5 * accuracy + 1e-6 * seed,
        "test_top5_accuracy": None if accuracy is None else min(1.0, 2.5 * accuracy),
        "validation_accuracy": None if accuracy is None else accuracy + 0.004,
        "classes": classes,
        "train_images": 10800,
        "validation_images": 1200,
        "test_images": study.images,
        "parameters": 23_833_592 + 1_049_600 * arm,
        "trainable_parameters": 23_833_592,
        "multiply_adds": 4_100_000_000,
        "seconds": 164.0,
        "attempts": 1,
        "device": "cuda",
        "device_name": "NVIDIA A100",
        "threads": 8,
        "host": "node1",
        "started_at": START + timedelta(hours=seed),
        "finished_at": START + timedelta(hours=seed, minutes=50),
        "data_fingerprint": FINGERPRINT,
        "git_commit": "0123456789abcdef0123456789abcdef01234567",
        "git_dirty": None,
        "versions": json.dumps({"python": "3.11.9", "torch": "2.7.0"}),
        "plugins": json.dumps({"backbone:resnet50": "aim-ablations 0.1.0"}),
        "config": json.dumps({"seed": seed}),
        "schema_version": records.SCHEMA_VERSION,
        "reused_from": study.reused_from,
    }
    return row


def epoch_rows(rng: np.random.Generator, epochs: int, accuracy: float) -> list[dict[str, Any]]:
    rows = []
    for number in range(1, epochs + 1):
        reached = accuracy * (1 - np.exp(-3 * number / epochs)) / (1 - np.exp(-3)) + rng.normal(0, accuracy * 0.02)
        value = float(np.clip(reached, 0, 1))
        rows.append(
            {
                "epoch": number,
                "train_loss": 5 - 4 * value,
                "train_accuracy": value,
                "validation_loss": 5 - 3.6 * value,
                "validation_accuracy": float(np.clip(value + rng.normal(0, 0.003), 0, 1)),
                "test_loss": 5 - 3.5 * value,
                "test_accuracy": value,
                "test_top5_accuracy": min(1.0, 2.5 * value),
                "learning_rate": 1e-3,
                "seconds": 160.0 / epochs,
            }
        )
    for row in rows[:-1]:  # the rule selects the last epoch
        row["validation_accuracy"] = min(row["validation_accuracy"], 0.998)
        rows[-1]["validation_accuracy"] = max(rows[-1]["validation_accuracy"], row["validation_accuracy"] + 0.001)
    return rows


def record(study: FakeStudy, rng: np.random.Generator, arm: int, seed: int, status: str) -> records.RunRecord:
    """Return a run with predictions, epochs and a row that agree with each other."""
    planned = study.arms[arm]
    draws = planned.accuracies
    accuracy = draws[study.seeds.index(seed)] if draws else float(rng.normal(planned.mean, study.spread))
    if status == "chance":
        accuracy, status = 1 / study.scope["classes"], "finished"
    completed = {"failed": 0, "diverged": study.epochs // 2, "pruned": 1}.get(status, study.epochs)
    rows = epoch_rows(rng, completed, accuracy)
    labels = np.arange(study.images) % study.scope["classes"]
    predictions = np.zeros((completed, study.images), dtype=np.uint8)
    right = 0
    for index, row in enumerate(rows):
        share = accuracy if index == completed - 1 else row["test_accuracy"]
        right = round(share * study.images)
        predictions[index] = (labels + (rng.permutation(study.images) >= right)) % study.scope["classes"]
        row["test_accuracy"] = right / study.images
    row = trial(study, arm, seed, right / study.images if completed else None, status)
    row |= {"epochs_run": completed, "selected_epoch": completed or None}
    scores = scores_of(predictions[-1], study.scope["classes"], rng) if study.scores and completed else None
    return records.RunRecord(row, rows, predictions, scores)


def scores_of(predicted: np.ndarray, classes: int, rng: np.random.Generator) -> np.ndarray:
    """Return float16 log-probabilities that are highest for the predicted classes."""
    logits = rng.normal(size=(len(predicted), classes))
    logits[np.arange(len(predicted)), predicted] = logits.max(axis=1) + rng.uniform(0.1, 2, len(predicted))
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float16)


_OPTION = {True: "model.memory", False: "model.backbone.excitation"}


def model_rows(study: FakeStudy) -> list[dict[str, Any]]:
    with_memory = {"aim", "frozen"} if study.what is None else set()
    reader = {"name": "layer1.0.conv1", "height": 56, "width": 56, "channels": 16}
    return [
        {
            "arm": arm.name,
            "role": arm.role,
            "parameters": 23_833_592 + 2_880_768 * (arm.role in with_memory),
            "trainable_parameters": 23_833_592 + 780_000 * (arm.role in with_memory),
            "running_statistics": 53_120,
            "multiply_adds": 4_090_000_000,
            "activation_bytes": 88_000_000,
            "memory_values": 50_176 * (arm.role in with_memory),
            "memory_degrees_of_freedom": 1_024 * (arm.role in with_memory),
            "readers": json.dumps([reader] * (arm.role in with_memory)),
            "updates": json.dumps(["layer1.0"] * (arm.role in with_memory)),
            "skipped": "[]",
            "differences": json.dumps(
                [{"option": _OPTION[study.what is None], "baseline": None, "value": {"name": "conv_ones"}}]
                if arm.role != "baseline"
                else []
            ),
            "config": "{}",
        }
        for arm in study.arms
    ]


def image_table(images: int, classes: int) -> pa.Table:
    rows = [
        {"image": i, "image_name": f"n{i:05}.jpg", "label": i % classes, "class_name": f"breed {i % classes}"}
        for i in range(images)
    ]
    return pa.Table.from_pylist(rows, schema=records.table_schema(records.TEST_IMAGES))


def plan_document(study: FakeStudy) -> dict[str, Any]:
    return (
        {
            "schema_version": records.SCHEMA_VERSION,
            "name": study.name,
            "claim": study.claim,
            "created_at": "2024-05-01T11:59:00+00:00",
            "package_version": "0.1.0",
            "scope": study.scope,
            **(
                {"delta_pp": study.delta_pp}
                if study.measure is None
                else {"measure": study.measure, "delta": study.delta}
            ),
            "alpha": 0.05,
            "looks": study.looks or [max(5, len(study.seeds))],
            "further_block": study.further_block,
            "arms": [
                {"name": arm.name, "role": arm.role, "of": arm.of, "levels": arm.levels, "config": arm.config}
                | ({} if arm.question is None else {"question": arm.question})
                for arm in study.arms
            ],
            "seeds": study.seeds,
            "runs": [
                {"run_id": run_id(i, seed), "arm": arm.name, "seed": seed}
                for i, arm in enumerate(study.arms)
                for seed in study.seeds
            ],
        }
        | ({} if study.what is None else {"what": study.what})
        | ({} if study.procedure == 1 else {"procedure": 2})
    )


def write_study(directory: Path, study: FakeStudy, rng: np.random.Generator) -> Path:
    for name in (records.RUNS, records.FAILURES, records.SEGMENTS, records.IMAGES):
        (directory / name).mkdir(parents=True, exist_ok=True)
    (directory / records.STUDY_FILE).write_text(json.dumps(plan_document(study)), encoding="utf-8")
    settled = []
    for index, arm in enumerate(study.arms):
        for seed in study.seeds:
            status = study.status.get((arm.name, seed), "finished")
            if status == "missing":
                continue
            table = records.to_table(record(study, rng, index, seed, status))
            if status == "failed":
                records.write_table(table, directory / records.FAILURES / f"{run_id(index, seed)}.000.parquet")
            else:
                settled.append((run_id(index, seed), table))
    write_settled(directory, settled, study.compacted)
    if study.models:
        table = pa.Table.from_pylist(model_rows(study), schema=records.table_schema(records.MODELS))
        records.write_table(table, directory / records.MODELS_FILE)
    if study.write_images:
        path = directory / records.IMAGES / f"{FINGERPRINT}.parquet"
        records.write_table(image_table(study.images, study.scope["classes"]), path)
    if study.frozen:
        freeze(directory, study.frozen)
    return directory


def write_settled(directory: Path, settled: list[tuple[str, pa.Table]], compacted: bool) -> None:
    if compacted and settled:
        table = pa.concat_tables([table for _, table in settled])
        records.write_table(table, directory / records.SEGMENTS / f"{'0123abcd':0>20}.parquet")
        return
    for name, table in settled:
        records.write_table(table, directory / records.RUNS / f"{name}.parquet")


ARMS = [
    FakeArm("baseline", "baseline", 0.151),
    FakeArm("matched", "matched", 0.158, "aim"),
    FakeArm("frozen", "frozen", 0.155, "aim"),
    FakeArm("aim", "aim", 0.185),
]


def freeze(directory: Path, at: str, seeds: list[int] | None = None, without: str = "") -> None:
    """Write the frozen analysis plan of an existing study, as `ablate run` does."""
    document = json.loads((directory / records.STUDY_FILE).read_text(encoding="utf-8"))
    document["seeds"] = document["seeds"] if seeds is None else seeds
    document["arms"] = [arm for arm in document["arms"] if arm["name"] != without]
    kept = {arm["name"] for arm in document["arms"]}
    document["runs"] = [run for run in document["runs"] if run["arm"] in kept and run["seed"] in document["seeds"]]
    claim = read_claim(document["claim"]) if document["claim"] else None
    content = frozen.content_of(document, claim.gains_pp if claim else {}, (0.05,), claim.scope if claim else None)
    plan = {
        "schema_version": records.SCHEMA_VERSION,
        "frozen_at": at,
        "runs_before": 0,
        "sha256": frozen.digest(at, 0, content),
    }
    (directory / records.ANALYSIS_PLAN).write_text(json.dumps({**plan, "content": content}), encoding="utf-8")
