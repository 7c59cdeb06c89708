"""The columns of every table, with name, type, unit and meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Column:
    """One column of a result table.

    Attributes
    ----------
    name : the column's name in the file and in the frame.
    type : ``text``, ``integer``, ``number``, ``boolean`` or ``time`` (UTC).
    unit : the unit, or an empty string if there is none. Accuracies are fractions from 0 to 1.
    meaning : the meaning, in one line.
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
    Column("reason", "text", "", "why it failed, diverged, was pruned, or was ended by a callback; null otherwise"),
    Column("traceback", "text", "", "end of the traceback of a failed run; null otherwise"),
    Column("epochs_planned", "integer", "epochs", "budget of the run"),
    Column("epochs_run", "integer", "epochs", "epochs completed with a finite loss"),
    Column("selected_epoch", "integer", "epochs", "epoch whose network is reported, from 1; 0 is the start"),
    Column("selection", "text", "", "rule that chose it"),
    Column("selection_oracle", "boolean", "", "true where that rule looked at test data"),
    Column("test_accuracy", "number", "fraction", "accuracy of the selected epoch on all test images"),
    Column(
        "test_loss",
        "number",
        "nats",
        "mean cross-entropy, or mean of training.loss, of the selected epoch on all test images",
    ),
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
        "mean cross-entropy, or mean of training.loss, of the selected epoch on the validation images",
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
    Column("identity", "text", "JSON", "the text of which the run id is the hash; null in rows of earlier versions"),
    Column(
        "reused_from",
        "text",
        "",
        "study from which the row was copied, as name@start of its folder's mark; null if it was computed here",
    ),
    Column(
        "spot_checks",
        "integer",
        "steps",
        "training steps of the last attempt that were repeated and had the same bits; null with integrity: off",
    ),
    Column(
        "reference",
        "text",
        "",
        "hash of the reference step on the device of the last attempt; null with integrity: off",
    ),
    Column("kept_epoch", "integer", "epochs", "epoch whose network is kept, from 1; 0 is the start; null: none is"),
    Column("network", "text", "", "SHA-256 of the file of the kept network; null: none is"),
    Column(
        "repeated",
        "text",
        "",
        "own training code: same, or how predictions differed when the run was computed again; null: computed once",
    ),
    Column(
        "weights",
        "text",
        "JSON",
        "what of the file of weights was loaded: how many parameters and buffers, and the names of all others by "
        "reason; null: the network started from random values",
    ),
    Column(
        "scalars",
        "text",
        "JSON",
        "what callbacks logged: of every name the means of the epochs; they are columns of the table epochs",
    ),
)

ADDED = frozenset(
    {
        "device_uuid",
        "peak_device_bytes",
        "step",
        "data_on",
        "reused_from",
        "identity",
        "spot_checks",
        "reference",
        "kept_epoch",
        "network",
        "repeated",
        "scores",
        "weights",
        "scalars",
    }
)
"""Columns that are missing in rows from earlier versions; readers fill them with null."""

EPOCHS: tuple[Column, ...] = (
    Column("epoch", "integer", "epochs", "number of the epoch, from 1"),
    Column("train_loss", "number", "nats", "mean loss over the epoch's batches, as trained"),
    Column("train_accuracy", "number", "fraction", "accuracy over the epoch's augmented training images"),
    Column(
        "validation_loss", "number", "nats", "mean cross-entropy, or mean of training.loss, on the validation images"
    ),
    Column("validation_accuracy", "number", "fraction", "accuracy on the validation images"),
    Column("test_loss", "number", "nats", "mean cross-entropy, or mean of training.loss, on the test images"),
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
    Column("role", "text", "", "baseline, aim, matched, frozen, permuted, control, or other"),
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
