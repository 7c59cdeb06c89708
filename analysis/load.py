"""Load the results of a study, even while it is running and only some rows exist."""

from __future__ import annotations

from collections.abc import Iterable
from typing import overload

import pandas as pd
import pyarrow as pa

from aimlib import records
from aimlib.errors import StoreError
from aimlib.paths import Place, place
from analysis.plan import Plan, read_plan
from analysis.reading import factors, frames
from analysis.reading.files import read_failures, read_settled
from analysis.results import Results, Studies

_COLUMNS = [column.name for column in records.RUN_COLUMNS] + [f"epochs.{column.name}" for column in records.EPOCHS]


@overload
def load(source: str | Place) -> Results: ...  # type: ignore[overload-overlap]  # a text is one path


@overload
def load(source: Iterable[str | Place]) -> Studies: ...


def load(source: str | Place | Iterable[str | Place]) -> Results | Studies:
    """Return the present content of a study directory, or of several directories together.

    Parameters
    ----------
    source : a directory as `ablate run` wrote it (layout in `aimlib.records`), or ``s3://bucket/folder``; or several,
        as a list or an iterator such as ``Path("results").glob("*")``, of which only study directories count.

    Raises
    ------
    StoreError: no study directory, a broken file, or a schema version that this package does not know.
    """
    if not isinstance(source, (str, Place)):
        return Studies.of(_load(path) for path in _study_directories(source))
    return _load(place(source))


def _study_directories(sources: Iterable[str | Place]) -> list[Place]:
    """Return the given directories, in order; StoreError if none of them is one of a study."""
    paths = [place(source) for source in sources]
    found = [path for path in paths if (path / records.STUDY_FILE).exists()]
    if not found:
        raise StoreError(f"none of {len(paths)} paths is a study directory: {records.STUDY_FILE} is missing in each")
    return found


def _load(directory: Place) -> Results:
    plan = read_plan(directory)
    table = _rows(directory)
    try:
        epochs = frames.epochs_from(table)
    except ValueError as error:
        raise StoreError(f"{directory}: {error}; delete that run's file and run `ablate run` again") from None
    rows = frames.from_arrow(table, records.RUN_COLUMNS)
    planned = rows["run_id"].isin(plan.runs["run_id"])
    varied = factors.of_plan(plan)
    runs, epochs = _as_planned(rows[planned], plan), _epochs(epochs, plan)
    return Results(
        directory=directory,
        plan=plan,
        runs=factors.attach(runs, varied, runs["arm"]),
        epochs=factors.attach(epochs, varied, epochs["arm"]),
        stale=rows[~planned].reset_index(drop=True),
        missing=plan.runs[~plan.runs["run_id"].isin(rows["run_id"])].reset_index(drop=True),
    )


def _rows(directory: Place) -> pa.Table:
    """Return one row per run: its settled row, or else its last failure."""
    settled = read_settled(directory, _COLUMNS)
    failed = read_failures(directory, _COLUMNS, set(settled["run_id"].to_pylist()))
    return pa.concat_tables([settled, failed])


def _as_planned(rows: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Return rows in the order of the plan, with the plan's arm and seed, and the arm's role."""
    roles = pd.DataFrame({"arm": [arm.name for arm in plan.arms], "role": [arm.role for arm in plan.arms]}, dtype="str")
    merged = plan.runs.merge(rows.drop(columns=["arm", "seed"]), on="run_id").merge(roles, on="arm", how="left")
    return _typed(merged, "runs")


def _epochs(epochs: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    return _typed(plan.runs.merge(epochs, on="run_id"), "epochs")


def _typed(frame: pd.DataFrame, table: str) -> pd.DataFrame:
    listed = frames.TABLES[table]
    return frame[[column.name for column in listed]].astype({column.name: frames.dtype(column) for column in listed})
