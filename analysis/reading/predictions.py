"""Predicted classes for the test images, read from the run files on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import xxhash

from aimlib.errors import StoreError
from aimlib.paths import Place
from aimlib.records import PREDICTIONS, predictions_from
from analysis.reading import frames
from analysis.reading.files import collect, first_positions, read_batches

_COLUMNS = [
    "run_id",
    "data_fingerprint",
    "selected_epoch",
    "epochs_run",
    "predictions",
    "predictions.bits",
    "predictions.epochs",
]


@dataclass(frozen=True)
class _Block:
    """One run's predictions: classes[epochs, images] after the epochs whose numbers are in `epochs`."""

    run_id: str
    fingerprint: str | None
    epochs: npt.NDArray[np.int64]
    classes: npt.NDArray[Any]


def read(directory: Place, run_ids: pd.Series, images: pd.DataFrame, epoch: int | str) -> pd.DataFrame:
    """Return the long-format frame `PREDICTIONS` for the given runs; see `Results.predictions_at`."""
    wanted = set(run_ids)
    parts = collect(
        directory, lambda path: read_batches(path, _COLUMNS, wanted, lambda batch: _blocks(batch, wanted, epoch))
    )
    found = [block for batches in parts for blocks in batches for block in blocks]
    kept = [found[i] for i in first_positions(block.run_id for block in found)]
    order = {run_id: position for position, run_id in enumerate(run_ids)}
    kept = sorted((block for block in kept if block.classes.size), key=lambda block: order[block.run_id])
    return _long(kept, _labels(images, {block.fingerprint for block in kept}, directory))


Found = TypeVar("Found")
Use = Callable[[str, "npt.NDArray[np.int64]", "npt.NDArray[Any]", "npt.NDArray[Any]", Mapping[str, Any]], Found]
"""Called with the run id, epoch numbers, predicted classes [epochs, images], labels [images] and further columns."""


def of_each_run(
    directory: Place, run_ids: Iterable[str], images: pd.DataFrame, use: Use[Found], columns: Sequence[str] = ()
) -> dict[str, Found]:
    """Return the result of `use` for every settled run with predictions, by run id, loading 64 runs at a time.

    Parameters
    ----------
    columns : further columns from the run files that `use` needs; null in files that lack them.

    Raises
    ------
    StoreError: the table of test images is missing, or a file is broken.
    """
    wanted, labels = set(run_ids), _Labels(images, directory)

    def convert(batch: pa.RecordBatch) -> list[tuple[str, Found]]:
        further = {name: batch.column(name) if name in batch.schema.names else None for name in columns}
        rows = {run_id: row for row, run_id in enumerate(batch.column("run_id").to_pylist())}
        found = []
        for block in _blocks(batch, wanted, "all"):
            if block.classes.size:
                values = {
                    name: None if column is None else column[rows[block.run_id]].as_py()
                    for name, column in further.items()
                }
                own = labels.of(block)
                found.append((block.run_id, use(block.run_id, block.epochs, block.classes, own, values)))
        return found

    names = [*_COLUMNS, *(name for name in columns if name not in _COLUMNS)]
    parts = collect(directory, lambda path: read_batches(path, names, wanted, convert))
    pairs = [pair for batches in parts for batch in batches for pair in batch]
    return {pairs[i][0]: pairs[i][1] for i in first_positions(run_id for run_id, _ in pairs)}


class _Labels:
    """The classes of the test images, by data fingerprint."""

    def __init__(self, images: pd.DataFrame, directory: Place) -> None:
        self._images, self._directory = images, directory
        self._known: dict[str | None, npt.NDArray[Any]] = {}

    def of(self, block: _Block) -> npt.NDArray[Any]:
        """Return the labels of a block's images; StoreError if the block's images differ from the listed images."""
        if block.fingerprint not in self._known:
            self._known |= _labels(self._images, {block.fingerprint}, self._directory)
        _refuse_other_images([block], self._known)
        return self._known[block.fingerprint]


def correct_selected(
    directory: Place, run_ids: Sequence[str], images: pd.DataFrame
) -> tuple[list[str], npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Return which test images each run classified correctly in its selected epoch.

    Returns
    -------
    The runs with predictions for listed images, in the given order; right [runs, images]; and the images' classes
    [images]. Empty if no run has predictions, or if runs were tested on different images, which cannot be paired.

    Raises
    ------
    StoreError: a file is broken, or contains predictions for more or fewer images than are listed.
    """
    wanted = set(run_ids)
    parts = collect(
        directory, lambda path: read_batches(path, _COLUMNS, wanted, lambda batch: _blocks(batch, wanted, "selected"))
    )
    found = {block.run_id: block for batches in parts for blocks in batches for block in blocks if block.classes.size}
    listed = set(images["data_fingerprint"])
    kept = [found[run_id] for run_id in run_ids if run_id in found and found[run_id].fingerprint in listed]
    if not kept or not _same_images(images, {block.fingerprint for block in kept}):
        return [], np.zeros((0, 0), dtype=bool), np.zeros(0, dtype=np.int64)
    known = _labels(images, {block.fingerprint for block in kept}, directory)
    _refuse_other_images(kept, known)
    labels = known[kept[0].fingerprint]
    return [block.run_id for block in kept], np.stack([block.classes[0] for block in kept]) == labels, labels


@dataclass(frozen=True)
class Selected:
    """What is known about the predictions in a run's selected epoch; two are equal if the predictions are equal.

    Attributes
    ----------
    largest_share : share of the class that is predicted most often.
    digest : digest of the predicted classes, in the order of the images, and of the data.
    """

    largest_share: float
    digest: str


def selected(directory: Place, run_ids: Iterable[str]) -> dict[str, Selected]:
    """Return what is known about the predictions in the selected epoch, for each run that has predictions.

    StoreError if a file is broken.
    """
    wanted = set(run_ids)

    def of_batch(batch: pa.RecordBatch) -> list[tuple[str, Selected]]:
        blocks = _blocks(batch, wanted, "selected")
        return [(block.run_id, _selected(block)) for block in blocks if block.classes.size]

    parts = collect(directory, lambda path: read_batches(path, _COLUMNS, wanted, of_batch))
    pairs = [pair for batches in parts for batch in batches for pair in batch]
    return {pairs[i][0]: pairs[i][1] for i in first_positions(run_id for run_id, _ in pairs)}


def _selected(block: _Block) -> Selected:
    classes = np.asarray(block.classes[0], dtype="<i8")
    digest = xxhash.xxh3_128(classes.tobytes(), seed=0)
    digest.update((block.fingerprint or "").encode())
    return Selected(float(np.unique(classes, return_counts=True)[1].max() / len(classes)), digest.hexdigest())


def _blocks(batch: pa.RecordBatch, wanted: set[str], epoch: int | str) -> list[_Block]:
    columns = [batch.column(name).to_pylist() if name != "predictions" else batch.column(name) for name in _COLUMNS]
    blocks = []
    for run_id, fingerprint, selected, epochs_run, buffer, bits, rows in zip(*columns, strict=True):
        if run_id not in wanted or not rows:
            continue
        classes = predictions_from(buffer.as_buffer(), bits, rows)
        # A run that did not complete an epoch has one row, for the initial network. Otherwise, the rows belong to the
        # epochs in order, beginning with epoch 1.
        numbers = np.arange(1, rows + 1) if epochs_run else np.zeros(rows, dtype=np.int64)
        asked = numbers == (selected if epoch == "selected" else epoch)
        if epoch == "all":
            asked = np.ones_like(asked)
        blocks.append(_Block(run_id, fingerprint, numbers[asked], classes[asked]))
    return blocks


def _labels(
    images: pd.DataFrame, fingerprints: set[str | None], directory: Place
) -> dict[str | None, npt.NDArray[Any]]:
    labels: dict[str | None, npt.NDArray[Any]] = {}
    for fingerprint in fingerprints:
        rows = images[images["data_fingerprint"] == fingerprint].sort_values("image")
        if rows.empty:
            raise StoreError(
                f"{directory / 'images' / f'{fingerprint}.parquet'}: missing, so the predictions do not have labels; "
                "run `ablate run` on this study to write it"
            )
        labels[fingerprint] = rows["label"].to_numpy()
    return labels


def _same_images(images: pd.DataFrame, fingerprints: set[str | None]) -> bool:
    """Return whether differently decoded data contains the same test images: the same names and classes, in order."""
    lists = {
        tuple(zip(rows["image_name"], rows["label"], strict=True))
        for fingerprint, rows in images.sort_values("image").groupby("data_fingerprint")
        if fingerprint in fingerprints
    }
    return len(lists) == 1


def _refuse_other_images(blocks: list[_Block], labels: dict[str | None, npt.NDArray[Any]]) -> None:
    for block in blocks:
        if block.classes.shape[1] != len(labels[block.fingerprint]):
            found, known = block.classes.shape[1], len(labels[block.fingerprint])
            raise StoreError(
                f"run {block.run_id}: it has predictions for {found} images, but images/{block.fingerprint}.parquet "
                f"lists {known}; delete this run's file and run `ablate run` again"
            )


def _long(blocks: list[_Block], labels: dict[str | None, npt.NDArray[Any]]) -> pd.DataFrame:
    if not blocks:
        return frames.empty(PREDICTIONS)
    _refuse_other_images(blocks, labels)
    predicted = np.concatenate([block.classes.ravel() for block in blocks]).astype(np.int64)
    label = np.concatenate([np.tile(labels[block.fingerprint], len(block.epochs)) for block in blocks])
    sizes = [block.classes.size for block in blocks]
    run_ids = pa.array([block.run_id for block in blocks]).take(pa.array(np.repeat(np.arange(len(blocks)), sizes)))
    table = pa.table(
        {
            "run_id": run_ids,
            "epoch": np.concatenate([np.repeat(block.epochs, block.classes.shape[1]) for block in blocks]),
            "image": np.concatenate(
                [np.tile(np.arange(block.classes.shape[1]), len(block.epochs)) for block in blocks]
            ),
            "predicted": predicted,
            "label": label,
            "correct": predicted == label,
        }
    )
    return frames.from_arrow(table, PREDICTIONS)
