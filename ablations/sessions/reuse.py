"""Runs with the same id that other studies have computed are verified and copied instead of being computed again.

A row is copied unchanged, including the study, host and times of its computation; `reused_from` contains the study
directory from which it was copied. Other directories are only read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ablations.execution.row_verification import verify
from ablations.spec.short_names import clean
from ablations.store import ResultStore
from ablations.store.stored_rows import OtherStudy, copied, each_row, is_study, other_study, rows_of
from aimlib.errors import StoreError, UsageError, counted
from aimlib.paths import Place, place, resolved
from analysis.reading.files import read_settled

if TYPE_CHECKING:
    from ablations.planning.plan import Plan, PlannedRun

_SHOWN = 5
"""Maximum number of one study's unusable rows that are named individually."""


@dataclass(frozen=True)
class Found:
    """A verified row from another study."""

    study: OtherStudy
    file: Place


@dataclass(frozen=True)
class Reusable:
    """The missing runs that other studies have already computed.

    Attributes
    ----------
    runs : verified rows by run id.
    notices : messages for the user about unused rows, with the reasons.
    """

    runs: Mapping[str, Found]
    notices: tuple[str, ...] = ()

    @property
    def origins(self) -> str:
        """The studies from which the rows come.

        If there are several studies, each is listed with its number of runs.
        """
        return _origins(found.study for found in self.runs.values())


def missing_runs(plan: Plan, own: Place) -> set[str]:
    """Return the ids of the runs that are not settled in the study's directory; the directory is only read."""
    settled = read_settled(own, ["run_id"])["run_id"].to_pylist() if is_study(own) else []
    return {run.run_id for run in plan.runs}.difference(settled)


def find(plan: Plan, missing: Collection[str], given: Iterable[str | Place], own: Place) -> Reusable:
    """Return which missing runs other studies have; read and verify their rows, and write nothing.

    If several studies have a valid row for a run, the study listed first is used.

    Parameters
    ----------
    missing : ids of the planned runs that have no result.
    given : study directories, or folders that contain study directories.
    own : directory of the study itself, which is ignored in `given`.

    Raises
    ------
    UsageError: a directory does not exist or is not a study directory.
    """
    given, wanted_ids = list(given), set(missing)
    if not wanted_ids or not given:
        return Reusable({})
    planned = {run.run_id: run for run in plan.runs if run.run_id in wanted_ids}
    runs: dict[str, Found] = {}
    notices: list[str] = []
    for study in _studies(given, own):
        wanted = planned.keys() - runs.keys()
        if not wanted:
            break
        inspected = _inspected(study, {run_id: planned[run_id] for run_id in wanted}, plan)
        for row in inspected:
            if not row.problem:
                runs.setdefault(row.run_id, Found(study, row.file))
        notices += _notices(study, [row for row in inspected if row.run_id not in runs], inspected)
    return Reusable(runs, tuple(notices))


def take(found: Reusable, plan: Plan, store: ResultStore, stop: Callable[[], bool] = lambda: False) -> int:
    """Copy the rows into a store, each by exclusive creation; return the number of copies that count.

    Every row is verified again while it is copied. A row that has changed or disappeared in the meantime is left to the
    next session. If the process is killed, the rows copied so far are settled, and the next session copies the rest.

    Parameters
    ----------
    stop : called before every row; if it returns true, no further rows are copied.
    """
    planned = {run.run_id: run for run in plan.runs if run.run_id in found.runs}
    by_file: dict[Place, list[str]] = {}
    for run_id, each in found.runs.items():
        by_file.setdefault(each.file, []).append(run_id)
    count = 0
    for file, run_ids in by_file.items():
        study = found.runs[run_ids[0]].study

        def settle(row: pa.Table, file: Place, study: OtherStudy = study) -> bool:
            problem = stop() or _inspect(study, row, file, planned, plan).problem
            return not problem and store.copy_row(copied(row, study))

        if stop():
            break
        try:
            count += sum(rows_of(file, run_ids, settle))
        except FileNotFoundError:  # the row was moved into a segment in the meantime
            count += sum(each_row(study, run_ids, settle, lambda *_: False))
    return count


@dataclass(frozen=True)
class _Inspected:
    """A row that was read and checked, or a file that could not be read; then the run id is empty."""

    file: Place
    run_id: str
    problem: str
    unconfirmed: str = ""


def _inspected(study: OtherStudy, wanted: Mapping[str, PlannedRun], plan: Plan) -> list[_Inspected]:
    def damaged(file: Place, error: StoreError) -> _Inspected:
        return _Inspected(file, "", str(error).removeprefix(f"{file}: ").partition(";")[0])

    return each_row(study, wanted, lambda row, file: _inspect(study, row, file, wanted, plan), damaged)


def _inspect(
    study: OtherStudy, table: pa.Table, file: Place, wanted: Mapping[str, PlannedRun], plan: Plan
) -> _Inspected:
    row: dict[str, Any] = table.to_pylist()[0]
    run = wanted[row["run_id"]]
    found = verify(row, run, plan.data[run.arm])
    return _Inspected(file, run.run_id, found.problem or study.contradiction(table), found.unconfirmed)


def _notices(study: OtherStudy, unusable: Sequence[_Inspected], inspected: Sequence[_Inspected]) -> Iterable[str]:
    """Yield messages about rows that are not used, and about rows whose run id was not recomputed."""
    for row in unusable[:_SHOWN]:
        what = f"run {row.run_id} is not" if row.run_id else "nothing is"
        yield clean(f"reuse {row.file}: {what} copied from this file: {row.problem}")
    if len(unusable) > _SHOWN:
        rest = counted(len(unusable) - _SHOWN, "further row is", "further rows are")
        yield clean(f"reuse {study.place}: {rest} not copied, for similar reasons")
    unconfirmed = [row for row in inspected if row.unconfirmed and not row.problem]
    if unconfirmed:
        rows = counted(len(unconfirmed), "row")
        yield clean(
            f"reuse {study.place}: the run ids of {rows} could not be recomputed, but everything else matches; "
            f"{unconfirmed[0].unconfirmed}"
        )


def _studies(given: Sequence[str | Place], own: Place) -> list[OtherStudy]:
    places = dict.fromkeys(study for each in given for study in _in_folder(each))
    return [other_study(where) for where in places if not _same(where, own)]


def _in_folder(given: str | Place) -> list[Place]:
    """Return the study directory itself, or the study directories in a folder, sorted."""
    where = place(given)
    if isinstance(where, Path):
        where = where.expanduser()
    if is_study(where):
        return [where]
    try:
        entries: list[Place] = sorted(where.iterdir())
        inside = [each for each in entries if is_study(each)]
    except (FileNotFoundError, NotADirectoryError):
        inside = []
    if not inside:
        raise UsageError(
            f"reuse {given}: neither a study directory nor a folder of study directories; specify a directory that "
            "`ablate run` wrote"
        )
    return inside


def _same(one: Place, other: Place) -> bool:
    if isinstance(one, Path) and isinstance(other, Path):
        return resolved(one) == resolved(other)
    return one == other


def _origins(studies: Iterable[OtherStudy]) -> str:
    counts = sorted(Counter(each.name for each in studies).items())
    return ", ".join(f"{name} ({count})" if len(counts) > 1 else name for name, count in counts)
