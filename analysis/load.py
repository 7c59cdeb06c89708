"""Load a study's results, even while the study is running and only some rows exist."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import overload

import pandas as pd
import pyarrow as pa

from aimlib import records
from aimlib.errors import StoreError, counted
from aimlib.paths import Place, place
from aimlib.records.checksums import Damaged, check_identities
from aimlib.records.escaping import on_one_line
from analysis.plan import Plan, read_plan
from analysis.reading import factors, frames
from analysis.reading.files import read_failures, read_settled, read_settled_of, strays
from analysis.reading.proofs import check_selected
from analysis.results import Results, Studies

_RUN_COLUMNS = [column.name for column in records.RUN_COLUMNS]
_EPOCH_COLUMNS = [f"epochs.{column.name}" for column in records.EPOCHS]
log = logging.getLogger(__name__)
_noted: set[str] = set()
_strayed: set[str] = set()
Epochs = bool | Collection[str] | Callable[[Plan], Collection[str]]


@overload
def load(source: str | Place, *, epochs: Epochs = True) -> Results: ...  # type: ignore[overload-overlap]  # a str is one path


@overload
def load(source: Iterable[str | Place], *, epochs: Epochs = True) -> Studies: ...


def load(source: str | Place | Iterable[str | Place], *, epochs: Epochs = True) -> Results | Studies:
    """Return the current content of a study directory, or of several directories together.

    Parameters
    ----------
    source : a directory that `ablate run` wrote (see `aimlib.records` for its layout), or its ``s3://``, ``gs://`` or
        ``az://`` URL. Several directories are given as a list or an iterator such as ``Path("results").glob("*")``;
        those without a study are ignored.
    epochs : arms whose epochs are loaded, or a function that returns these arms for a plan; True: all arms, False:
        none. For a large study, loading the epochs takes most of the time, and queries on the runs do not need them.

    Raises
    ------
    StoreError: there is no study directory, a file is broken, or this package does not know the schema version.
    """
    if not isinstance(source, (str, Place)):
        return Studies.of(_load(path, epochs) for path in _study_directories(source))
    return _load(place(source), epochs)


def _study_directories(sources: Iterable[str | Place]) -> list[Place]:
    """Return the directories that are study directories, in the given order; StoreError if there are none."""
    paths = [place(source) for source in sources]
    found = [path for path in paths if (path / records.STUDY_FILE).exists()]
    if not found:
        raise StoreError(f"none of {len(paths)} paths is a study directory: {records.STUDY_FILE} is missing in each")
    return found


def _load(directory: Place, wanted: Epochs) -> Results:
    plan = read_plan(directory)
    table = _rows(directory, with_epochs=wanted is True)
    rows = frames.from_arrow(table, records.RUN_COLUMNS)
    _note_rows_without_checksums(directory, rows)
    _note_strays(directory)
    planned = frames.among(rows["run_id"], plan.runs["run_id"])
    varied = factors.of_plan(plan)
    runs = _as_planned(rows[planned], plan)
    epochs = _epochs(table if wanted is True else _epochs_of(_arms(wanted, plan), directory, runs), plan, directory)
    return Results(
        directory=directory,
        plan=plan,
        runs=factors.attach(runs, varied, runs["arm"]),
        epochs=frames.with_scalars(factors.attach(epochs, varied, epochs["arm"]), rows),
        stale=rows[~planned].reset_index(drop=True),
        missing=plan.runs[~frames.among(plan.runs["run_id"], rows["run_id"])].reset_index(drop=True),
    )


def _note_rows_without_checksums(directory: Place, rows: pd.DataFrame) -> None:
    """Log, once for each study, how many rows an earlier version wrote without checksums."""
    number = int((rows["schema_version"] < records.WITH_CHECKSUMS).fillna(True).sum())
    if number and str(directory) not in _noted:
        _noted.add(str(directory))
        written = counted(number, "row was", "rows were")
        log.warning("%s: %s written by an earlier version, without checksums", directory, written)


def _note_strays(directory: Place) -> None:
    """Log, once for each study, files with unexpected names; buckets are not listed, because requests cost money."""
    if not isinstance(directory, Path) or not (found := strays(directory)) or str(directory) in _strayed:
        return
    _strayed.add(str(directory))
    names = ", ".join(on_one_line(f"{path.parent.name}/{path.name}") for path in found[:3])
    log.warning(
        "%s: %s not read, because the study does not use such names: %s%s; move %s elsewhere",
        directory,
        counted(len(found), "file is", "files are"),
        names,
        ", ..." if len(found) > 3 else "",
        "it" if len(found) == 1 else "them",
    )


def _rows(directory: Place, *, with_epochs: bool) -> pa.Table:
    """Return one row per run: its settled row, or otherwise its last failure."""
    names = _RUN_COLUMNS + (_EPOCH_COLUMNS if with_epochs else [])
    settled = read_settled(directory, names)
    try:
        check_identities(settled)
    except Damaged as damage:
        raise StoreError(
            f"{directory}: a row is damaged: {damage}; `ablate run` sets its file aside and computes the run again"
        ) from None
    if with_epochs and len(settled):
        try:
            check_selected(settled)
        except Damaged as damage:
            raise StoreError(
                f"{directory}: {damage}; restore the file of this run from a copy, or delete it and run "
                f"`ablate run` to compute the run again"
            ) from None
    failed = read_failures(directory, names, set(settled["run_id"].to_pylist()))
    return pa.concat_tables([settled, failed])


def _arms(wanted: Epochs, plan: Plan) -> Collection[str]:
    if isinstance(wanted, bool):
        return [arm.name for arm in plan.arms] if wanted else []
    return wanted(plan) if callable(wanted) else wanted


def _epochs_of(arms: Collection[str], directory: Place, runs: pd.DataFrame) -> pa.Table:
    """Return the epochs of these arms' settled runs; a failed attempt does not have epochs."""
    chosen = runs["arm"].isin(arms) & runs["status"].isin(records.SETTLED)
    return read_settled_of(directory, ["run_id", *_EPOCH_COLUMNS], set(runs.loc[chosen, "run_id"]))


def _as_planned(rows: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Return rows in the plan's order, with the plan's arm and seed, and the arm's role."""
    roles = pd.DataFrame({"arm": [arm.name for arm in plan.arms], "role": [arm.role for arm in plan.arms]}, dtype="str")
    merged = plan.runs.merge(rows.drop(columns=["arm", "seed"]), on="run_id").merge(roles, on="arm", how="left")
    return _typed(merged, "runs")


def _epochs(table: pa.Table, plan: Plan, directory: Place) -> pd.DataFrame:
    at = pd.Index(table["run_id"].to_pandas()).get_indexer(plan.runs["run_id"])
    planned = plan.runs[at >= 0]
    try:
        epochs = frames.epochs_from(table.take(at[at >= 0]), planned["arm"], planned["seed"])
    except ValueError as error:
        raise StoreError(f"{directory}: {error}; delete that run's file and run `ablate run` again") from None
    return epochs


def _typed(frame: pd.DataFrame, table: str) -> pd.DataFrame:
    listed = frames.TABLES[table]
    return frame[[column.name for column in listed]].astype({column.name: frames.dtype(column) for column in listed})
