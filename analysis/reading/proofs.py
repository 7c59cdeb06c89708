"""Proof of a stored row: whether its accuracies follow from its predictions.

This module does not need a run's plugins. Two proofs need plugins and are left to `ablate verify`: that the run id is
the hash of the configuration with all its defaults, and that the rule selected this epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aimlib.errors import counted
from aimlib.paths import Place
from aimlib.records import ADDED, IMAGES, SETTLED, TEST_IMAGES, predictions_from, run_schema
from aimlib.records.checksums import Damaged
from aimlib.training.image_order import fixed_order
from analysis.reading.files import read_plain
from analysis.reading.frames import parsed_json

_ROUNDING = 1e-9
_DECIDES = ("test_accuracy",)
OF_SELECTED = ("test_accuracy", "test_loss", "test_top5_accuracy", "validation_accuracy", "validation_loss")
"""Columns of a run that repeat those of its selected epoch. The verdict and the report depend on the first column."""
_PREDICTIONS = ("predictions", "predictions.bits", "predictions.epochs")
_OF_RUN = ("run_id", "status", "epochs_run", "selected_epoch", "classes", "data_fingerprint", "config", *OF_SELECTED)
COLUMNS = (*_OF_RUN, *_PREDICTIONS, "epochs.epoch", *(f"epochs.{name}" for name in OF_SELECTED))
"""The columns needed for a proof."""
NO_IMAGES = "its test images are not stored"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TestImages:
    """The test images with a data fingerprint.

    Attributes
    ----------
    labels : number of the true class, [images].
    names : names as in `TEST_IMAGES`.
    """

    labels: npt.NDArray[np.int64]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Proof:
    """What a row proves about itself.

    Attributes
    ----------
    problem : a contradiction within the row; empty if there is none.
    unproven : why the accuracies were not compared with the predictions; empty if they were.
    """

    run_id: str
    problem: str = ""
    unproven: str = ""


def check_selected(rows: pa.Table) -> None:
    """Compare the values that settled runs report with those in their selected epochs; predictions are not needed.

    Parameters
    ----------
    rows : settled rows with the columns of the runs and the epochs.

    Raises
    ------
    Damaged: the values differ.
    """
    selected = rows.column("selected_epoch").to_numpy().astype(np.float64)
    epochs_run = rows.column("epochs_run").to_numpy().astype(np.float64)
    for name in _DECIDES:
        lists = _one(rows.column(f"epochs.{name}"))
        lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        ends = np.cumsum(lengths)
        reported = rows.column(name).to_numpy().astype(np.float64)
        within = (selected >= 1) & (selected <= lengths)
        at = np.where(within, ends - lengths + np.nan_to_num(selected).astype(np.int64) - 1, 0)
        values = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
        stored = values[at] if values.size else np.full(len(rows), np.nan)
        agree = (reported == stored) | (np.isnan(reported) & np.isnan(stored))
        wrong = np.flatnonzero((epochs_run != lengths) | ((lengths > 0) & ~(within & agree)))
        if wrong.size:
            row = int(wrong[0])
            raise Damaged(
                f"run {rows.column('run_id')[row]}: {name} is {reported[row]}, which is not the value in its selected "
                f"epoch, {selected[row]:g} of {lengths[row]}"
            )


def _one(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array."""
    combined = column.combine_chunks()
    return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)


def test_images(directory: Place) -> Callable[[str], TestImages | None]:
    """Return a function that returns the test images with a data fingerprint, or None if they are not stored."""
    known: dict[str, TestImages | None] = {}

    def find(fingerprint: str) -> TestImages | None:
        if fingerprint not in known:
            try:
                table = read_plain(directory / IMAGES / f"{fingerprint}.parquet", TEST_IMAGES).sort_by("image")
            except FileNotFoundError:
                known[fingerprint] = None
            else:
                names = tuple(table.column("image_name").to_pylist())
                known[fingerprint] = TestImages(table.column("label").to_numpy(), names)
        return known[fingerprint]

    return find


def proofs(
    rows: pa.Table, images: Callable[[str], TestImages | None], repeated: Sequence[str] = _DECIDES
) -> Iterator[Proof]:
    """Yield the proof of every settled row.

    Parameters
    ----------
    rows : settled rows with `COLUMNS`.
    images : function that returns the test images with a data fingerprint.
    repeated : the columns in `OF_SELECTED` to compare with those of the selected epoch.
    """
    rows = _complete(rows)
    plain = rows.select([*_OF_RUN, "predictions.bits", "predictions.epochs"]).to_pylist()
    curves = {name: lists_of(rows.column(f"epochs.{name}")) for name in ("epoch", *OF_SELECTED)}
    buffers = rows.column("predictions").combine_chunks() if rows.num_rows else []
    for number, row in enumerate(plain):
        if row["status"] in SETTLED:
            curve = {name: values[number] for name, values in curves.items()}
            yield _proof(row, curve, buffers[number], images, repeated)


def _complete(rows: pa.Table) -> pa.Table:
    """Return rows with the columns that were added since the rows were written; these columns are null."""
    for name in COLUMNS:
        if name in ADDED and name not in rows.column_names:
            rows = rows.append_column(run_schema().field(name), pa.nulls(len(rows), run_schema().field(name).type))
    return rows


def lists_of(column: pa.ChunkedArray) -> list[Floats]:
    """Return the numbers of every row, NaN for null."""
    found: list[Floats] = []
    for chunk in column.chunks:
        values = chunk.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
        ends = np.concatenate([[0], np.cumsum(chunk.value_lengths().fill_null(0).to_numpy(zero_copy_only=False))])
        found += [values[start:end] for start, end in pairwise(ends.astype(int))]
    return found


def _proof(
    row: Mapping[str, Any],
    curve: Mapping[str, Floats],
    buffer: Any,
    images: Callable[[str], TestImages | None],
    repeated: Sequence[str],
) -> Proof:
    run_id = row["run_id"]
    if problem := _selected(row, curve, repeated):
        return Proof(run_id, problem)
    if not row["predictions.epochs"]:
        return Proof(run_id, unproven="it has no predictions")
    tested = images(str(row["data_fingerprint"]))
    if tested is None:
        return Proof(run_id, unproven=NO_IMAGES)
    try:
        predicted = predictions_from(buffer.as_buffer(), row["predictions.bits"], row["predictions.epochs"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return Proof(run_id, "its predictions are not readable")
    return Proof(run_id, _accuracies(row, curve["test_accuracy"], predicted, tested))


def _selected(row: Mapping[str, Any], curve: Mapping[str, Floats], repeated: Sequence[str]) -> str:
    """Return how the run's values contradict its epochs; empty if they agree."""
    count, chosen = len(curve["epoch"]), row["selected_epoch"]
    if any(len(values) != count for values in curve.values()):
        return "its epoch columns have different lengths"
    if row["epochs_run"] != count or not np.array_equal(curve["epoch"], np.arange(1, count + 1)):
        return f"epochs_run is {row['epochs_run']}, but its epochs are not 1 to {row['epochs_run']}"
    if chosen is None or not (0 if not count else 1) <= chosen <= count:
        return f"selected_epoch is {chosen}, but the run has {counted(count, 'epoch')}"
    for name in repeated if chosen else ():
        stored = np.nan if row[name] is None else row[name]
        if not np.array_equal(stored, curve[name][chosen - 1], equal_nan=True):
            return f"{name} is {row[name]}, but {curve[name][chosen - 1]} in the selected epoch, {chosen}"
    return ""


def _accuracies(row: Mapping[str, Any], stored: Floats, predicted: npt.NDArray[Any], tested: TestImages) -> str:
    """Return which accuracy does not follow from the predictions; empty if all do."""
    rows = max(len(stored), 1)
    if predicted.shape != (rows, len(tested.labels)):
        return f"its predictions do not cover {rows} epochs and {len(tested.labels)} images"
    if row["classes"] is not None and predicted.max(initial=0) >= row["classes"]:
        return f"it predicts class {predicted.max()}, but there are {row['classes']} classes"
    right = predicted == tested.labels
    counted = _counted(parsed_json(row["config"], {}), tested)
    computed = (right if counted is None else right[:, counted]).mean(axis=1)
    given = stored if len(stored) else np.array([np.nan if row["test_accuracy"] is None else row["test_accuracy"]])
    stated = ~np.isnan(given)  # any epoch except the selected epoch may lack an accuracy
    stated[max(0, row["selected_epoch"] - 1)] = True
    wrong = np.flatnonzero(stated & ~(np.abs(given - computed) <= _ROUNDING))
    if not wrong.size:
        return ""
    first = int(wrong[0])
    epoch = f"epoch {first + 1}" if len(stored) else "the network at its start"
    return f"the test accuracy of {epoch} is {given[first]:.6f}, but its predictions give {computed[first]:.6f}"


def _counted(config: Any, tested: TestImages) -> npt.NDArray[np.int64] | None:
    """Return the numbers of the images that count if the last incomplete batch was left out; None: all images."""
    training = config.get("training") if isinstance(config, dict) else None
    if not isinstance(training, dict) or not training.get("evaluation_drop_last"):
        return None
    data, every = config.get("data") or {}, np.arange(len(tested.names), dtype=np.int64)
    order = fixed_order(every, tested.names, training.get("order", "sha256"), data=data.get("name", ""))
    size = int(training["batch_size"])
    return order[: len(order) // size * size]
