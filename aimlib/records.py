"""The result of a run: columns, units and schema version, and how a run becomes one Parquet file.

`ablations.store` writes these files and `analysis.load` reads them; both take names and types from here.
A study directory holds

=====================================  =====================================================================
``study.json``                         the plan: arms with role and configuration, seeds, run ids
``runs/<run_id>.parquet``              one settled run: finished, diverged or pruned
``failures/<run_id>.<nnn>.parquet``    one failed attempt, numbered from 000; a later one may still settle
``segments/<digest>.parquet``          many settled runs, compacted
``models.parquet``                     one row per arm: layers, parameters, multiply-adds
``analysis_plan.json``                 what decides, frozen before the first run
``plans/<nnn>.json``                   every plan that the study ever had
``mark``                               random text: is this path the same directory on another machine?
``live/<session>.json``                what a driver says is running; no result
``images/<data fingerprint>.parquet``  test images: number, name, label
=====================================  =====================================================================

A run file is one row, committed in one atomic step: `RUN_COLUMNS` columns, the `EPOCHS` columns each as a
list over epochs, and `predictions`, the predicted class of every test image after every epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from aimlib.errors import warn_renamed

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 2
"""Raised when a column changes its meaning or disappears; readers refuse versions they do not know."""

Status = Literal["finished", "failed", "diverged", "pruned"]
SETTLED: tuple[Status, ...] = ("finished", "diverged", "pruned")
"""Outcomes of the experiment itself: never repeated. A failed run is tried again when the study is run again."""

RunState = Literal[
    "waiting", "running", "retrying", "held", "paused", "stopped", "finished", "diverged", "pruned", "failed"
]
RUN_STATES: tuple[RunState, ...] = get_args(RunState)
"""States of a run in a session; the `Status` of a row is one of them. retrying: an attempt ended through no fault of
the run, which soon continues. held: another process computes it. paused: it stopped on request and saved its state.
stopped: it was not started, because its arm fails with the same error every time."""
ENDED: tuple[RunState, ...] = (*SETTLED, "failed", "stopped")
"""States after which nothing more happens to a run in a session."""

STUDY_FILE = "study.json"
RUNS, FAILURES, SEGMENTS, IMAGES = "runs", "failures", "segments", "images"
MODELS_FILE = "models.parquet"
ANALYSIS_PLAN = "analysis_plan.json"
MEASUREMENTS_FILE = "measurements.json"
CHECKPOINTS, LOCKS, PLANS, LIVE = "checkpoints", "locks", "plans", "live"


@dataclass(frozen=True)
class Column:
    """One column of a result table.

    Attributes
    ----------
    name : its name in the file and in the frame.
    type : ``text``, ``integer``, ``number``, ``boolean`` or ``time`` (UTC).
    unit : unit, or an empty string without one. Accuracies are fractions from 0 to 1.
    meaning : one line.
    """

    name: str
    type: Literal["text", "integer", "number", "boolean", "time"]
    unit: str
    meaning: str


RUN_COLUMNS: tuple[Column, ...] = (
    Column("run_id", "text", "", "identity of the run: same id, same experiment"),
    Column("study", "text", "", "name of the study that computed it"),
    Column("arm", "text", "", "name of the arm in that study"),
    Column("seed", "integer", "", "unit of replication; pairs arms"),
    Column("status", "text", "", "finished, failed, diverged or pruned"),
    Column("reason", "text", "", "why it failed, diverged or was pruned; null otherwise"),
    Column("traceback", "text", "", "end of the traceback of a failed run; null otherwise"),
    Column("epochs_planned", "integer", "epochs", "budget of the run"),
    Column("epochs_run", "integer", "epochs", "epochs completed with a finite loss"),
    Column("selected_epoch", "integer", "epochs", "epoch whose network is reported, from 1; 0 is the start"),
    Column("selection", "text", "", "rule that chose it"),
    Column("selection_oracle", "boolean", "", "true where that rule looked at test data"),
    Column("test_accuracy", "number", "fraction", "accuracy of the selected epoch on all test images"),
    Column("test_loss", "number", "nats", "mean cross-entropy of the selected epoch on all test images"),
    Column(
        "test_top5_accuracy",
        "number",
        "fraction",
        "share of all test images whose true class is among the five of highest score in the selected epoch; null with "
        "five classes or fewer",
    ),
    Column("validation_accuracy", "number", "fraction", "accuracy of the selected epoch on the validation images"),
    Column(
        "validation_loss",
        "number",
        "nats",
        "mean cross-entropy of the selected epoch on the validation images",
    ),
    Column("classes", "integer", "classes", "number of classes"),
    Column("train_images", "integer", "images", "images trained on (validation images left out)"),
    Column("validation_images", "integer", "images", "images held out of the training set"),
    Column("test_images", "integer", "images", "images of the test set"),
    Column("parameters", "integer", "parameters", "trainable and frozen parameters, without running statistics"),
    Column("trainable_parameters", "integer", "parameters", "parameters that the optimizer changes"),
    Column(
        "multiply_adds",
        "integer",
        "per image",
        "multiply-adds of one forward pass at the training batch size",
    ),
    Column("seconds", "number", "s", "wall time that led to the result; work lost to interruptions not counted"),
    Column("attempts", "integer", "", "starts whose work is in the result: 1, and 1 more per resumed checkpoint"),
    Column("device", "text", "", "cpu or cuda"),
    Column("device_name", "text", "", "model of the device"),
    Column("threads", "integer", "", "CPU threads used by torch"),
    Column("device_uuid", "text", "", "the GPU by its UUID, of the last attempt; null on the CPU"),
    Column("peak_device_bytes", "integer", "bytes", "most that torch held of the GPU's memory; null on the CPU"),
    Column("step", "text", "", "how training steps ran: eager, graph or compiled"),
    Column("data_on", "text", "", "where the images lay: device or host"),
    Column("host", "text", "", "name of the machine"),
    Column("started_at", "time", "UTC", "start of the first attempt"),
    Column("finished_at", "time", "UTC", "when the row was written"),
    Column("data_fingerprint", "text", "", "hash of the decoded images and labels"),
    Column("git_commit", "text", "", "commit of the checkout that ran it; null outside a checkout"),
    Column("git_dirty", "text", "", "hash of its uncommitted changes; null: clean; unknown: git did not say"),
    Column("versions", "text", "JSON", "versions of Python and of the libraries that decide the numbers"),
    Column("plugins", "text", "JSON", "distribution of every component used"),
    Column("config", "text", "JSON", "the whole RunConfig"),
    Column("schema_version", "integer", "", "version of these columns"),
)

ADDED = frozenset({"device_uuid", "peak_device_bytes", "step", "data_on"})
"""Columns that rows of earlier versions lack; they are null there."""

EPOCHS: tuple[Column, ...] = (
    Column("epoch", "integer", "epochs", "number of the epoch, from 1"),
    Column("train_loss", "number", "nats", "mean loss over the epoch's batches, as trained"),
    Column("train_accuracy", "number", "fraction", "accuracy over the epoch's augmented training images"),
    Column("validation_loss", "number", "nats", "mean cross-entropy on the validation images"),
    Column("validation_accuracy", "number", "fraction", "accuracy on the validation images"),
    Column("test_loss", "number", "nats", "mean cross-entropy on the test images"),
    Column("test_accuracy", "number", "fraction", "accuracy on the test images"),
    Column(
        "test_top5_accuracy",
        "number",
        "fraction",
        "share of the test images whose true class is among the five of highest score; null with five classes or fewer",
    ),
    Column("learning_rate", "number", "", "learning rate at the end of the epoch"),
    Column("seconds", "number", "s", "wall time of the epoch, evaluation included"),
)

MODELS: tuple[Column, ...] = (
    Column("arm", "text", "", "name of the arm"),
    Column("role", "text", "", "baseline, aim, matched, frozen, permuted, or other"),
    Column("parameters", "integer", "parameters", "trainable and frozen parameters, without running statistics"),
    Column("trainable_parameters", "integer", "parameters", "parameters that the optimizer changes"),
    Column(
        "running_statistics",
        "integer",
        "values",
        "batch-norm means and variances (Keras counts them as parameters)",
    ),
    Column(
        "multiply_adds",
        "integer",
        "per image",
        "multiply-adds of one forward pass at the training batch size",
    ),
    Column("activation_bytes", "integer", "bytes per image", "tensors kept for the backward pass, in float32"),
    Column(
        "memory_values",
        "integer",
        "values",
        "numbers in the memory (in each of two with routing as_run); 0 without memory",
    ),
    Column(
        "memory_degrees_of_freedom",
        "integer",
        "values",
        "distinct values that the source can hold; 0 without memory",
    ),
    Column(
        "readers",
        "text",
        "JSON",
        "layers that read: name, map height and width, channels added, current or static memory",
    ),
    Column("updates", "text", "JSON", "modules after which the memory is updated"),
    Column("skipped", "text", "JSON", "layers that the placement asked for and that cannot read, with the reason"),
    Column(
        "differences",
        "text",
        "JSON",
        "options that differ from the baseline: objects with option (key path), baseline and value",
    ),
    Column("config", "text", "JSON", "RunConfig of the arm's first seed"),
)

TEST_IMAGES: tuple[Column, ...] = (
    Column("image", "integer", "", "number of the image in the test set, from 0"),
    Column("image_name", "text", "", "relative path, or a number where the data has no files"),
    Column("label", "integer", "", "number of the true class, from 0"),
    Column("class_name", "text", "", "name of the true class"),
)

PREDICTIONS: tuple[Column, ...] = (
    Column("run_id", "text", "", "identity of the run"),
    Column("epoch", "integer", "epochs", "epoch after which the network was asked; 0 is the start"),
    Column("image", "integer", "", "number of the image in the test set, from 0"),
    Column("predicted", "integer", "", "number of the predicted class, from 0"),
    Column("label", "integer", "", "number of the true class, from 0"),
    Column("correct", "boolean", "", "predicted equals label"),
)


@dataclass(frozen=True)
class RunRecord:
    """The complete record of one run.

    Attributes
    ----------
    run : one value per column of `RUN_COLUMNS`.
    epochs : one mapping per completed epoch, one value per `EPOCHS` column.
    predictions : predicted class, [epochs_run, test images], uint8 or uint16. If the selected epoch is 0 (diverged in
        the first epoch) it has one row: the network at its start.
    """

    run: dict[str, Any]
    epochs: list[dict[str, Any]]
    predictions: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

    @property
    def trial(self) -> dict[str, Any]:
        """Earlier name of `run`; warns."""
        warn_renamed("RunRecord.trial", "RunRecord.run")
        return self.run


def check(record: RunRecord) -> None:
    """Raise ValueError if a record lacks columns or has unknown ones, or its parts disagree."""
    _same_names("run", record.run, RUN_COLUMNS)
    for epoch in record.epochs:
        _same_names("epoch", epoch, EPOCHS)
    if [epoch["epoch"] for epoch in record.epochs] != list(range(1, len(record.epochs) + 1)):
        raise ValueError("epochs must be numbered 1, 2, 3, ... without a gap")
    rows = max(len(record.epochs), 1 if record.run["selected_epoch"] == 0 else 0)
    if record.predictions.ndim != 2 or len(record.predictions) not in (rows, 0):
        raise ValueError(f"predictions must be [epochs, images] with {rows} rows; got {record.predictions.shape}")


def _same_names(part: str, values: dict[str, Any], columns: tuple[Column, ...]) -> None:
    expected, given = {column.name for column in columns}, set(values)
    if expected != given:
        raise ValueError(
            f"{part}: missing columns {sorted(expected - given)}, unknown columns {sorted(given - expected)}"
        )


def arrow_type(column: Column) -> pa.DataType:
    """Return the Arrow type of a column."""
    import pyarrow as pa  # noqa: PLC0415 -- listing columns must not cost an import of pyarrow

    return {
        "text": pa.string(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "boolean": pa.bool_(),
        "time": pa.timestamp("us", tz="UTC"),
    }[column.type]


def run_schema() -> pa.Schema:
    """Return the Arrow schema of run files, failure files and segments."""
    import pyarrow as pa  # noqa: PLC0415

    fields = [(column.name, arrow_type(column)) for column in RUN_COLUMNS]
    fields += [(f"epochs.{column.name}", pa.list_(arrow_type(column))) for column in EPOCHS]
    fields += [
        ("predictions", pa.large_binary()),
        ("predictions.bits", pa.int64()),
        ("predictions.epochs", pa.int64()),
    ]
    return pa.schema(fields, metadata={"schema_version": str(SCHEMA_VERSION)})


def table_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """Return the Arrow schema of a plain table."""
    import pyarrow as pa  # noqa: PLC0415

    return pa.schema([(column.name, arrow_type(column)) for column in columns])


def to_table(record: RunRecord) -> pa.Table:
    """Return the record as a table of one row."""
    import pyarrow as pa  # noqa: PLC0415

    check(record)
    row = dict(record.run)
    for column in EPOCHS:
        row[f"epochs.{column.name}"] = [epoch[column.name] for epoch in record.epochs]
    row["predictions"] = np.ascontiguousarray(record.predictions).tobytes()
    row["predictions.bits"] = record.predictions.dtype.itemsize * 8
    row["predictions.epochs"] = len(record.predictions)
    return pa.Table.from_pylist([row], schema=run_schema())


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table as compressed Parquet. Not atomic: the store links a finished file into place."""
    import pyarrow.parquet as pq  # noqa: PLC0415

    pq.write_table(table, path, compression="zstd", write_page_checksum=True)


def predictions_from(buffer: bytes, bits: int, epochs: int) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Return the predictions [epochs, images] of a run file's three prediction columns."""
    flat: npt.NDArray[Any] = np.frombuffer(buffer, dtype={8: np.uint8, 16: np.uint16}[bits])
    return flat.reshape(epochs, -1) if epochs else flat.reshape(0, 0)


Role = Literal["baseline", "treatment", "matched", "frozen", "permuted", "other"]
ROLES: tuple[Role, ...] = ("baseline", "treatment", "matched", "frozen", "permuted", "other")
_ROLES: dict[str, Role] = {**{role: role for role in ROLES}, "aim": "treatment"}
"""By the role as it is stored. Stored documents contain ``aim``, which every version reads."""


def role(stored: str) -> Role | None:
    """Return the role for a stored word; None for an unknown word."""
    return _ROLES.get(stored)


def __getattr__(name: str) -> Any:
    if name == "TRIALS":
        warn_renamed("aimlib.records.TRIALS", "aimlib.records.RUN_COLUMNS")
        return RUN_COLUMNS
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
