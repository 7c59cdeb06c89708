"""Reading the rows of settled runs from another study's directory, without changing that directory."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from ablations.store.result_store import read_mark
from aimlib.errors import StoreError
from aimlib.paths import Place
from aimlib.records import PLANS, SEGMENTS, STUDY_FILE, run_schema
from aimlib.records.ledger import LEDGER, Ledger, kept_a_ledger
from aimlib.records.row_digests import row_digests
from analysis.plan import plan_differs, read_plan
from analysis.reading import ledger
from analysis.reading.files import collect, read_batches

Part = TypeVar("Part")
_MARK_DIGITS = 12


@dataclass(frozen=True)
class OtherStudy:
    """A study directory from which rows are read.

    Attributes
    ----------
    place : the directory, or the folder in object storage.
    name : name of the study and the first digits of its folder's mark; copied rows contain this name as their origin.
    ledger : the study's ledger.
    """

    place: Place
    name: str
    ledger: Ledger = field(default_factory=Ledger)

    def contradiction(self, row: pa.Table) -> str:
        """Return how a row contradicts its study's ledger; empty if it does not.

        Parameters
        ----------
        row : a table of one row, with the columns of `aimlib.records.run_schema`.
        """
        if not self.ledger.chains:
            return f"its study's {LEDGER}/ is missing" if kept_a_ledger(row) else ""
        expected = self.ledger.standing.get(row.column("run_id")[0].as_py())
        if expected is None:
            return ""
        if row_digests(row)[0] in expected:
            if len(expected) == 1 or self.ledger.gaps:
                return ""
            return f"its study's ledger contains {len(expected)} different rows for this run, as if copies were merged"
        return "it is not the row in its study's ledger, so it was replaced or changed"


def other_study(where: Place) -> OtherStudy:
    """Open the study in a directory for reading.

    Raises
    ------
    StoreError: the plan is missing, unreadable or was never stored by a session, or pages of the ledger are damaged or
        missing.
    """
    if plan_differs(where):
        raise StoreError(
            f"{where / STUDY_FILE}: it is not one of the plans in {PLANS}/, so it was changed or belongs to another "
            f"study; restore the newest of {PLANS}/*.json under this name"
        )
    name, mark = read_plan(where).name, read_mark(where)[:_MARK_DIGITS]
    return OtherStudy(where, f"{name}@{mark}" if mark.isalnum() else name, ledger.whole(where))


def is_study(where: Place) -> bool:
    """Return whether a location is a study directory."""
    return (where / STUDY_FILE).exists()


def each_row(
    study: OtherStudy,
    wanted: Collection[str],
    use: Callable[[pa.Table, Place], Part],
    damaged: Callable[[Place, StoreError], Part],
) -> list[Part]:
    """Return the result of `use` for every row of the wanted runs, rows of segments first.

    A run whose row is being moved to a segment has a row in both places. Several threads read the files, a few rows at
    a time.

    Parameters
    ----------
    use : called with a one-row table, which has the columns of `aimlib.records.run_schema`, and with the row's file.
    damaged : called for a file that cannot be read.
    """
    known = set(wanted)

    def of_file(path: Place) -> list[Part]:
        if path.parent.name != SEGMENTS and path.stem not in known:
            return []
        try:
            return rows_of(path, known, use)
        except StoreError as error:
            return [damaged(path, error)]

    return [part for parts in collect(study.place, of_file) for part in parts]


def rows_of(path: Place, wanted: Collection[str], use: Callable[[pa.Table, Place], Part]) -> list[Part]:
    """Return the result of `use` for every row of the wanted runs in one file.

    Raises
    ------
    FileNotFoundError: the file has vanished.
    StoreError: the file cannot be read.
    """
    values = pa.array(sorted(wanted), type=pa.string())

    def convert(batch: pa.RecordBatch) -> list[Part]:
        kept = batch.filter(pc.is_in(batch.column("run_id"), values))
        return [use(_row(kept.slice(number, 1)), path) for number in range(kept.num_rows)]

    return [part for parts in read_batches(path, run_schema().names, wanted, convert) for part in parts]


def _row(batch: pa.RecordBatch) -> pa.Table:
    """Return a row with all columns; columns added after the row was written are null."""
    schema, table = run_schema(), pa.Table.from_batches([batch])
    present = set(table.column_names)
    columns: list[Any] = [
        table.column(field.name).cast(field.type) if field.name in present else pa.nulls(1, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def copied(row: pa.Table, study: OtherStudy) -> pa.Table:
    """Return a row with the study from which it was copied as its origin, and otherwise unchanged."""
    position = row.schema.get_field_index("reused_from")
    return row.set_column(position, row.schema.field(position), pa.array([study.name], type=pa.string()))
