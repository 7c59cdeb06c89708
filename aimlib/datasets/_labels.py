"""A table of names, labels and splits, for examples that only the user's own training code can read."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from aimlib.component import ComponentConfig, local
from aimlib.datasets.base import DataSet, DatasetPlugin, Images, ImageShape
from aimlib.datasets.fingerprint import with_fingerprint
from aimlib.errors import DataError, counted, did_you_mean
from aimlib.paths import read_file
from aimlib.records.escaping import shortened, storable
from aimlib.registry import datasets

log = logging.getLogger(__name__)
COLUMNS = "name", "label", "split"
_SPLITS = "train", "test"
_MOST_BYTES = 1_000_000_000
_SHOWN = 80


@datasets.register("labels")
class Labels(DatasetPlugin):
    """A table of examples: ``name``, ``label`` and ``split`` (train or test), as CSV or Parquet.

    Only your training code knows what an example is, such as a text, a table or a sound. To this package, every example
    has one pixel with the value 0. The fingerprint covers names, labels and splits; it does not detect changes to the
    files that the names refer to.
    """

    source = "the user's own"
    has_pixels = False

    class Config(ComponentConfig):
        """Options for a table of examples."""

        file: str = local("labels.csv", "The table, relative to the current folder.")
        classes: Annotated[int, Field(ge=2)]
        """Number of different labels in the table."""

    config: Config

    def shape(self) -> ImageShape:
        """Return one value per example."""
        return ImageShape(1, 1, 1, self.config.classes)

    def load(self) -> DataSet:
        """Return the examples, in the order of the table; class numbers follow the sorted labels."""
        path = Path(self.config.file).expanduser()
        rows = list(_rows(path))
        classes = tuple(sorted({label for _, label, _ in rows}))
        if len(classes) != self.config.classes:
            raise DataError(
                f"{path}: has {counted(len(classes), 'different label')} ({shortened(', '.join(classes), _SHOWN)}), "
                f"but data.classes is {self.config.classes}; correct one of them"
            )
        numbers = {label: number for number, label in enumerate(classes)}
        train, test = (_images(rows, split, numbers, path) for split in _SPLITS)
        _tell_shared(path, train, test)
        return with_fingerprint(train, test, classes)


def _images(rows: list[tuple[str, str, str]], split: str, numbers: Mapping[str, int], path: Path) -> Images:
    names = tuple(name for name, _, of in rows if of == split)
    labels = np.array([numbers[label] for _, label, of in rows if of == split], dtype=np.int64)
    if len(names) < 2:
        raise DataError(f"{path}: has {counted(len(names), 'example')} of split {split!r}; list at least two")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(
            f"{path}: split {split!r} contains the name {shortened(twice, _SHOWN)!r} twice; names must be unique"
        )
    return Images(np.zeros((len(names), 1, 1, 1), dtype=np.uint8), labels, names)


def _tell_shared(path: Path, train: Images, test: Images) -> None:
    """Warn about names in both splits; such names are allowed, because each split may number its examples from 0."""
    if shared := sorted(set(train.names).intersection(test.names)):
        log.warning(
            "%s: %s both in train and in test, such as %s; if they are the same examples, keep each in one split, "
            "because accuracies on training examples are too high",
            path,
            counted(len(shared), "name is", "names are"),
            shortened(repr(shared[0]), _SHOWN),
        )


def _rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the name, label and split of every example, each as text."""
    for number, row in enumerate(_table(path), 2):
        name, label, split = ("" if row[column] is None else str(row[column]).strip() for column in COLUMNS)
        if not name or not label:
            raise DataError(f"{path}, row {number}: name or label is empty; complete it")
        if storable(name) != name or storable(label) != label:
            raise DataError(f"{path}, row {number}: {storable(name)!r} is not text that a table can hold; rename it")
        if split not in _SPLITS:
            hint = "to hold out validation examples from train, set training.validation_fraction"
            raise DataError(
                f"{path}, row {number}: split {shortened(split, _SHOWN)!r}; {did_you_mean(split, _SPLITS)}write "
                f"train or test ({hint})"
            )
        yield name, label, split


def _table(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        content = read_file(path, _MOST_BYTES)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {error.strerror or error}; set data.file to the table of examples, relative "
            f"to the current folder"
        ) from error
    if path.suffix.lower() in (".parquet", ".pq"):
        import pyarrow as pa  # noqa: PLC0415 -- only for this format
        import pyarrow.parquet as pq  # noqa: PLC0415

        try:
            table = pq.read_table(pa.BufferReader(content))
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path}: is not a readable Parquet file: {error}") from error
        _refuse_lacking(path, table.column_names)
        yield from table.select(list(COLUMNS)).to_pylist()
        return
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8: {error}; save it as UTF-8") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        _refuse_lacking(path, reader.fieldnames or [])
        yield from reader
    except csv.Error as error:
        raise DataError(f"{path}, row {reader.line_num}: is not CSV: {error}") from error


def _refuse_lacking(path: Path, columns: Any) -> None:
    lacking = [column for column in COLUMNS if column not in columns]
    if lacking:
        found = shortened(", ".join(map(str, columns)), _SHOWN) or "none"
        raise DataError(
            f"{path}: lacks the column {', '.join(lacking)}; its columns: {found}; the first row must contain the "
            f"column names"
        )
