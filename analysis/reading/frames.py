"""Result tables as pandas frames: column types that do not depend on the rows, and the list of all columns.

Text columns are ``str``, numbers ``float64`` (NaN if missing), integers and booleans nullable (``Int64``, ``boolean``),
and times ``datetime64[us, UTC]``. Columns that identify a row (seed, epoch, image, label, predicted) are never null and
are plain ``int64``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from aimlib import records
from aimlib.records import Column

_DTYPES: dict[str, Any] = {
    "text": pd.StringDtype(na_value=np.nan),
    "integer": pd.Int64Dtype(),
    "number": np.dtype("float64"),
    "boolean": pd.BooleanDtype(),
    "time": pd.DatetimeTZDtype("us", "UTC"),
}
_NEVER_NULL: dict[str, Any] = {
    "seed": np.dtype("int64"),
    "epoch": np.dtype("int64"),
    "image": np.dtype("int64"),
    "predicted": np.dtype("int64"),
    "label": np.dtype("int64"),
    "correct": np.dtype("bool"),
}

ROLE = Column(
    "role", "text", "", "part of the arm in the argument: baseline, treatment, matched, frozen, permuted or other"
)
FINGERPRINT = Column("data_fingerprint", "text", "", "hash of the decoded images and labels")
MODELS = tuple(replace(each, meaning=ROLE.meaning) if each.name == ROLE.name else each for each in records.MODELS)
_BY_NAME = {column.name: column for column in records.RUN_COLUMNS}
_RUN = tuple(_BY_NAME[name] for name in ("run_id", "arm", "seed"))

TABLES: dict[str, tuple[Column, ...]] = {
    "runs": (*records.RUN_COLUMNS, ROLE),
    "epochs": (*_RUN, *records.EPOCHS),
    "predictions": records.PREDICTIONS,
    "models": MODELS,
    "images": (FINGERPRINT, *records.TEST_IMAGES),
    "stale": records.RUN_COLUMNS,
    "missing": _RUN,
}


def columns() -> pd.DataFrame:
    """Return every column of every table in `Results`: table, column, type, unit, meaning."""
    rows = [(table, c.name, c.type, c.unit, c.meaning) for table, listed in TABLES.items() for c in listed]
    return pd.DataFrame(rows, columns=["table", "column", "type", "unit", "meaning"]).astype("str")


def dtype(column: Column) -> Any:
    """Return the pandas dtype of a column."""
    return _NEVER_NULL.get(column.name, _DTYPES[column.type])


def empty(listed: Iterable[Column]) -> pd.DataFrame:
    """Return a frame with the given columns and no rows."""
    return pd.DataFrame({column.name: pd.Series([], dtype=dtype(column)) for column in listed})


def from_arrow(table: pa.Table, listed: tuple[Column, ...]) -> pd.DataFrame:
    """Return the listed columns of an Arrow table, in that order, with the right dtypes."""
    mapped = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype(), pa.string(): _DTYPES["text"]}
    frame: pd.DataFrame = table.select([column.name for column in listed]).to_pandas(types_mapper=mapped.get)
    return frame.astype({column.name: dtype(column) for column in listed})


def epochs_from(table: pa.Table, arms: pd.Series, seeds: pd.Series) -> pd.DataFrame:
    """Return one row per run and epoch from a table with `records.run_schema` columns: run_id, arm, seed and `EPOCHS`.

    Parameters
    ----------
    arms, seeds : arm and seed of each row in the table.

    Raises
    ------
    ValueError: a run's lists differ in length.
    """
    lists = {column.name: _one_array(table[f"epochs.{column.name}"]) for column in records.EPOCHS}
    lengths = [pc.fill_null(pc.list_value_length(values), 0) for values in lists.values()]
    if any(not lengths[0].equals(other) for other in lengths[1:]):
        raise ValueError("a run has epoch columns of different lengths")
    parents = pc.list_parent_indices(lists["epoch"])
    of_run = {"run_id": _one_array(table["run_id"]), "arm": pa.array(arms), "seed": pa.array(seeds)}
    flat = {name: values.take(parents) for name, values in of_run.items()}
    flat |= {name: pc.list_flatten(values) for name, values in lists.items()}
    return from_arrow(pa.table(flat), TABLES["epochs"])


def with_scalars(epochs: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Return the epochs with one column for every name that callbacks logged; NaN where a run has no value.

    Parameters
    ----------
    runs : a frame with `run_id` and `scalars`. If a name is already a column, such as a factor, the new column is
        called scalars.NAME.
    """
    logged = {row.run_id: parsed_json(row.scalars, {}) for row in runs[runs["scalars"].notna()].itertuples()}
    names = sorted({name for scalars in logged.values() for name in scalars})
    if not names:
        return epochs
    epochs = epochs.copy()
    keys = list(zip(epochs["run_id"], epochs["epoch"], strict=True))
    for name in names:
        values = [_of_epoch(logged.get(run_id, {}).get(name, []), epoch) for run_id, epoch in keys]
        epochs[f"scalars.{name}" if name in epochs else name] = np.array(values, dtype=np.float64)
    return epochs


def _of_epoch(means: list[float | None], epoch: int) -> float:
    found = means[epoch - 1] if epoch <= len(means) else None
    return np.nan if found is None else found


def among(values: pd.Series, known: pd.Series) -> npt.NDArray[np.bool_]:
    """Return, for every text, whether it is one of the known texts; missing texts are not.

    `Series.isin` returns the same, but converts 10,000 known texts one by one, which takes a hundred times as long.
    """
    found = pc.is_in(pa.array(values), value_set=pa.array(known.dropna()))
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=bool)


def _one_array(column: Any) -> Any:
    combined = column.combine_chunks()
    if isinstance(combined, pa.ChunkedArray):
        return combined.chunk(0) if combined.num_chunks else pa.array([], type=combined.type)
    return combined


def parsed_json(text: Any, otherwise: Any) -> Any:
    """Return the parsed JSON in a cell; `otherwise` if the cell is empty or not valid JSON."""
    if not isinstance(text, str):
        return otherwise
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return otherwise
