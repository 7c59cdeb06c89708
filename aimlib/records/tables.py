"""How the record of a run is written as one Parquet file.

A run file contains one row, which is committed in one atomic step. The row has the `RUN_COLUMNS` columns, the `EPOCHS`
columns (each as a list with one value per epoch) and `predictions`, which are the predicted classes of all test images
after every epoch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aimlib.errors import warn_renamed
from aimlib.records.columns import EPOCHS, RUN_COLUMNS, Column
from aimlib.records.escaping import LONGEST_MESSAGE, LONGEST_TRACEBACK, storable
from aimlib.records.files import SCHEMA_VERSION
from aimlib.records.scores import COLUMN as SCORES

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa


@dataclass(frozen=True)
class RunRecord:
    """The complete record of one run.

    Attributes
    ----------
    run : one value per column in `RUN_COLUMNS`.
    epochs : one mapping per completed epoch, with one value per `EPOCHS` column.
    predictions : predicted class, [epochs_run, test images], uint8 or uint16. If the selected epoch is 0 (the run
        diverged in the first epoch), there is one row, for the initial network.
    scores : log-probabilities in the selected epoch, [test images, classes]; None if the run does not keep scores.
    """

    run: dict[str, Any]
    epochs: list[dict[str, Any]]
    predictions: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    scores: npt.NDArray[np.float16] | None = None

    @property
    def trial(self) -> dict[str, Any]:
        """Earlier name of `run`; warns."""
        warn_renamed("RunRecord.trial", "RunRecord.run")
        return self.run


def check(record: RunRecord) -> None:
    """Raise ValueError if a record lacks columns, has unknown columns, or has parts that contradict each other."""
    _same_names("run", record.run, RUN_COLUMNS)
    for epoch in record.epochs:
        _same_names("epoch", epoch, EPOCHS)
    if [epoch["epoch"] for epoch in record.epochs] != list(range(1, len(record.epochs) + 1)):
        raise ValueError("epochs must be numbered 1, 2, 3, ... without a gap")
    rows = max(len(record.epochs), 1 if record.run["selected_epoch"] == 0 else 0)
    if record.predictions.ndim != 2 or len(record.predictions) not in (rows, 0):
        raise ValueError(f"predictions must be [epochs, images] with {rows} rows; got {record.predictions.shape}")
    if record.scores is not None and record.scores.shape != (record.predictions.shape[1], record.run["classes"]):
        raise ValueError(f"scores must be [images, classes]; got {record.scores.shape}")


def _same_names(part: str, values: dict[str, Any], columns: tuple[Column, ...]) -> None:
    expected, given = {column.name for column in columns}, set(values)
    if expected != given:
        raise ValueError(
            f"{part}: missing columns {sorted(expected - given)}, unknown columns {sorted(given - expected)}"
        )


def arrow_type(column: Column) -> pa.DataType:
    """Return the Arrow type of a column."""
    import pyarrow as pa  # noqa: PLC0415 -- listing columns must not import pyarrow

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
        (SCORES, pa.large_binary()),
    ]
    return pa.schema(fields, metadata={"schema_version": str(SCHEMA_VERSION)})


def table_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """Return the Arrow schema of a plain table."""
    import pyarrow as pa  # noqa: PLC0415

    return pa.schema([(column.name, arrow_type(column)) for column in columns])


def to_table(record: RunRecord) -> pa.Table:
    """Return the record as a table with one row."""
    import numpy as np  # noqa: PLC0415 -- nor import numpy
    import pyarrow as pa  # noqa: PLC0415

    check(record)
    row = {name: _storable(name, value) for name, value in record.run.items()}
    for column in EPOCHS:
        row[f"epochs.{column.name}"] = [epoch[column.name] for epoch in record.epochs]
    row["predictions"] = np.ascontiguousarray(record.predictions).tobytes()
    row["predictions.bits"] = record.predictions.dtype.itemsize * 8
    row["predictions.epochs"] = len(record.predictions)
    row[SCORES] = None if record.scores is None else record.scores.astype("<f2").tobytes()
    return pa.Table.from_pylist([row], schema=run_schema())


_LIMITS = {"reason": LONGEST_MESSAGE, "traceback": LONGEST_TRACEBACK}


def _storable(name: str, value: Any) -> Any:
    return storable(value, _LIMITS.get(name)) if isinstance(value, str) else value


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table as compressed Parquet. The function is not atomic; the store links the finished file into place."""
    # With one row, dictionaries and statistics only repeat the values; without these, the file is smaller and is
    # written faster.
    write_groups([table], table.schema, path, indexed=len(table) != 1)


def write_groups(groups: Iterable[pa.Table], schema: pa.Schema, path: Path, *, indexed: bool = True) -> None:
    """Write tables as row groups of one compressed Parquet file, with checksums. The function is not atomic.

    Parameters
    ----------
    indexed : whether to write dictionaries and statistics of the columns.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415

    from aimlib.records.checksums import KEY, add_checksums, checksums  # noqa: PLC0415

    written = []
    schema = schema.with_metadata({key: value for key, value in (schema.metadata or {}).items() if key != KEY})
    with pq.ParquetWriter(
        path, schema, compression="zstd", write_page_checksum=True, use_dictionary=indexed, write_statistics=indexed
    ) as writer:
        for group in groups:
            if len(group):
                writer.write_table(group, row_group_size=len(group))
                written.append(checksums(group))
        add_checksums(writer, written)


def predictions_from(buffer: bytes, bits: int, epochs: int) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Return the predictions [epochs, images] stored in a run file's three prediction columns."""
    import numpy as np  # noqa: PLC0415

    flat: npt.NDArray[Any] = np.frombuffer(buffer, dtype={8: np.uint8, 16: np.uint16}[bits])
    return flat.reshape(epochs, -1) if epochs else flat.reshape(0, 0)
