"""The learning curves of all runs as short lists of numbers: which epochs are left out, and how numbers are rounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from aimlib import records
from analysis.browse.columns import is_test_measure

MOST_VALUES = 900_000
"""Maximum number of values in all curves on a page: enough for 2,000 runs of 50 epochs with nine measures."""
_DIGITS = 5


@dataclass(frozen=True)
class Curves:
    """The curves on a page.

    Attributes
    ----------
    measures : name, unit and meaning of every measure.
    epochs : epochs with values, [points].
    values : by measure and run, in the order of the runs: one value for each point that the run reached.
    longest : number of epochs in the longest run.
    """

    measures: list[dict[str, str]]
    epochs: list[int]
    values: dict[str, list[list[float | None]]]
    longest: int


def curves_of(epochs: pd.DataFrame, run_ids: pd.Series, hidden: pd.Series) -> Curves:
    """Return the curves of the given runs.

    Parameters
    ----------
    epochs : the frame of epochs from `Results`.
    hidden : by run id, whether measures on test images must not be shown.
    """
    tested = not hidden.all()
    listed = [c for c in records.EPOCHS if c.name not in ("epoch",) and (tested or not is_test_measure(c.name))]
    listed = [column for column in listed if epochs[column.name].notna().any()]
    longest = int(epochs["epoch"].max()) if len(epochs) else 0
    points = _points(longest, len(run_ids), len(listed))
    chosen = epochs[epochs["epoch"].isin(points)]
    position = pd.Series(np.arange(len(run_ids)), index=run_ids)
    chosen = chosen.assign(at=chosen["run_id"].map(position)).sort_values(["at", "epoch"])
    column_of = np.searchsorted(points, chosen["epoch"])
    reached = np.zeros(len(run_ids), dtype=int)
    np.maximum.at(reached, chosen["at"].to_numpy(dtype=int), column_of + 1)
    veiled = hidden.reindex(run_ids).to_numpy(dtype=bool)
    values = {}
    for column in listed:
        table = np.full((len(run_ids), len(points)), np.nan)
        table[chosen["at"].to_numpy(dtype=int), column_of] = chosen[column.name].to_numpy(dtype=float, na_value=np.nan)
        if is_test_measure(column.name):
            table[veiled] = np.nan
        values[column.name] = _lists(rounded(table), reached)
    measures = [{"name": c.name, "unit": c.unit, "meaning": c.meaning} for c in listed]
    return Curves(measures, points, values, longest)


def _points(longest: int, runs: int, measures: int) -> list[int]:
    """Return the epochs to show: all, or as many evenly spaced epochs as `MOST_VALUES` allows, but at least two."""
    most = max(2, MOST_VALUES // max(1, runs * measures))
    if longest <= most:
        return list(range(1, longest + 1))
    return sorted({int(epoch) for epoch in np.linspace(1, longest, most).round()})


def _lists(table: npt.NDArray[np.float64], reached: npt.NDArray[np.int_]) -> list[list[float | None]]:
    rows = with_nulls(table)
    return [row[:end] for row, end in zip(rows, reached, strict=True)]


def with_nulls(values: npt.NDArray[np.float64]) -> list[Any]:
    """Return numbers as lists, with None in place of NaN."""
    found = values.astype(object)
    found[np.isnan(values)] = None
    listed: list[Any] = found.tolist()
    return listed


def rounded(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return values rounded to five significant digits; infinite values become NaN."""
    finite = np.where(np.isfinite(values), values, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        exponent = np.floor(np.log10(np.abs(finite)))
    scale = 10.0 ** np.clip(_DIGITS - 1 - np.nan_to_num(exponent, neginf=0.0), -300, 300)
    found: npt.NDArray[np.float64] = np.round(finite * scale) / scale
    return found
