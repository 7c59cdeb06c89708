"""Repair of a study: damaged files are set aside in ``damaged/``, so that their runs are computed again.

Files are removed only after they have been copied. Intact rows of a damaged segment are first written to a new segment.
An interrupted repair therefore does not lose anything, and the next repair continues.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from itertools import count
from pathlib import Path

import pyarrow as pa

from ablations.store import parquet_files, plans
from ablations.store.files import explained
from ablations.store.folder import Folder, folder_at
from ablations.store.inspection import ROUNDS, Damage, Inspection, Visitor, inspect, intact_groups, refuse_newer
from ablations.store.leases import Terms
from ablations.store.ledger import SessionLedger
from ablations.store.ledger import read as read_ledger
from ablations.store.run_locks import RunLock
from aimlib.errors import StoreError
from aimlib.paths import Place, make_folder, place
from aimlib.records import ANALYSIS_PLAN, LOCKS, SEGMENTS, STUDY_FILE, write_groups
from aimlib.records.ledger import Ledger

DAMAGED = "damaged"
"""Folder for files that were set aside."""
_LOCK_TIMEOUT_S = 60.0


def inspected(where: str | Place, terms: Terms | None = None, visit: Visitor | None = None) -> Inspection:
    """Inspect a study and return the result, without changing any files.

    Parameters
    ----------
    visit : see `ablations.store.inspection.inspect`.

    Raises
    ------
    StoreError: a newer version of this package wrote the study, or the storage does not answer.
    """
    folder = folder_at(place(where), terms or Terms())
    refuse_newer(folder)
    return inspect(folder, visit)


def ledger_of(where: str | Place, terms: Terms | None = None) -> tuple[Ledger, str | None]:
    """Return a study's ledger, and the SHA-256 that is stored with the frozen analysis plan, if there is a plan."""
    folder = folder_at(place(where), terms or Terms())
    refuse_newer(folder)
    return read_ledger(folder), plans.frozen_hash(folder)


def repair(
    where: str | Place, terms: Terms | None = None, *, networks: bool = True, obstructions: bool = True
) -> list[str]:
    """Set a study's damaged files aside; return a sentence for each, and one more if files have no checksums.

    A damaged ``study.json`` is replaced by the newest intact plan. The frozen analysis plan is not moved, because only
    a copy can replace it.

    Parameters
    ----------
    networks : whether trained networks are read as well; see `ablations.store.inspection.inspect`.
    obstructions : whether folders, pipes and dangling links in place of files are set aside as well; otherwise they are
        an error, because the file may be on a disk that is currently not mounted.

    Raises
    ------
    StoreError: a newer version of this package wrote the study, the storage does not answer, or another process
        has been repairing or compacting the study for a minute.
    """
    folder = folder_at(place(where), terms or Terms())
    refuse_newer(folder)
    # Without the lock, because the sessions of many drivers may begin at the same time.
    found = inspect(folder, networks=networks)
    lines = [found.without_checksums] if found.without_checksums else []
    if not found.damages:
        return lines
    if not obstructions:
        _refuse_obstructions(folder, found)
    with _locked(folder) as lock:
        lines += [_set_aside(folder, damage, lock) for damage in inspect(folder, networks=networks).damages]
    if read_ledger(folder).chains:
        SessionLedger(folder, uuid.uuid4().hex[:12]).end()  # records which rows and pages are lost
    return lines


def _locked(folder: Folder) -> RunLock:
    """Return the compaction lock, because a compaction must not read a file that is being set aside."""
    if isinstance(folder.root, Path):
        for name in (DAMAGED, LOCKS):  # a copy of a study may lack locks
            with explained(folder.root / name, "created"):
                make_folder(folder.root / name)
    end = time.monotonic() + _LOCK_TIMEOUT_S
    while (lock := folder.lock("compaction")) is None:
        if time.monotonic() > end:
            raise StoreError(
                f"{folder.root}: has damaged files, but another process is repairing or compacting the study; run again"
            )
        time.sleep(0.2)
    return lock


def _set_aside(folder: Folder, damage: Damage, lock: RunLock) -> str:
    if damage.kind in (ANALYSIS_PLAN, ROUNDS):  # only a copy can replace these files
        return str(damage)
    kept = _keep_intact_rows(folder, damage, lock) if damage.kind == SEGMENTS and not damage.is_obstructed else 0
    aside = _moved(folder, damage, lock)
    if aside is None:
        return str(damage)
    text = f"{damage}; set aside as {aside}"
    if damage.kind == SEGMENTS and not damage.is_obstructed:
        text += f"; {kept:,} of its rows are kept"
    if damage.kind == STUDY_FILE:
        text += _restore_plan(folder)
    return text


def _moved(folder: Folder, damage: Damage, lock: RunLock) -> str | None:
    """Move a damaged file, or what is in its place, to a free name; return that name, or None if it has vanished."""
    flat = damage.name.replace("/", "-")
    names = (f"{DAMAGED}/{flat}" if not number else f"{DAMAGED}/{flat}.{number}" for number in count())
    if damage.is_obstructed:
        lock.confirm()
        free = next(name for name in names if not folder.exists(name))
        path = Path(str(folder.root / damage.name))  # something else can be in a file's place only in a directory
        with explained(path, "moved"):
            path.rename(Path(str(folder.root / free)))
        return free
    content = folder.read(damage.name)
    if content is None:
        return None
    lock.confirm()
    aside = folder.create_first(names, lambda path: path.write_bytes(content))
    folder.remove(damage.name)
    return aside


def _refuse_obstructions(folder: Folder, found: Inspection) -> None:
    for damage in found.damages:
        if damage.is_obstructed:
            raise StoreError(
                f"{folder.root / damage.name}: cannot be read: {damage.problem}; move what is in its place elsewhere, "
                f"and restore the file from a copy, or let `ablate verify --repair` set it aside"
            )


def _keep_intact_rows(folder: Folder, damage: Damage, lock: RunLock) -> int:
    """Write the intact rows of a damaged segment to a new segment; return the number of rows."""
    groups = list(intact_groups(folder.root / damage.name))
    if not groups:
        return 0
    ids = [run_id for group in groups for run_id in group.column("run_id").to_pylist()]
    digest = hashlib.sha256("\n".join([damage.name, *ids]).encode()).hexdigest()[:20]

    def write(path: Path) -> None:
        write_groups(groups, _schema(groups), path)
        parquet_files.verify(path)
        lock.confirm()

    folder.create_first([f"{SEGMENTS}/{digest}.parquet"], write)
    return len(ids)


def _schema(groups: list[pa.Table]) -> pa.Schema:
    schema: pa.Schema = groups[0].schema
    return schema


def _restore_plan(folder: Folder) -> str:
    """Make the newest intact plan the current plan; return a description of what was done."""
    found = plans.newest_intact(folder)
    if found is None:
        return "; no intact plan is left, so `ablate run` writes the plan from the study file"
    name, content = found
    folder.replace(STUDY_FILE, lambda path: path.write_bytes(content))
    return f"; replaced by {name}"
