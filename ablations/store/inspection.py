"""Inspection of a study's files: every file is read completely, and each damaged file is reported with what is lost."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ablations.store import plans
from ablations.store.folder import Folder
from ablations.store.networks import NAME as NETWORK_FILE
from ablations.store.plans import REMEDY
from aimlib.errors import StoreError, counted
from aimlib.paths import Place, advice_on, for_arrow, obstruction
from aimlib.records import (
    ANALYSIS_PLAN,
    CLAIM_FILE,
    CODE,
    FAILURES,
    FILE_NAMES,
    IMAGES,
    LIVE,
    MEASUREMENTS_FILE,
    MODELS_FILE,
    NETWORKS,
    OLDEST_VERSION,
    PLANS,
    RUNS,
    SCHEMA_VERSION,
    SEGMENTS,
    STUDY_FILE,
    WITH_CHECKSUMS,
    run_schema,
)
from aimlib.records.checksums import (
    Damaged,
    check_identities,
    document_is_intact,
    has_checksums,
    plan_damage,
    verified,
    verified_group,
)
from aimlib.records.ledger import LEDGER, PAGE, parsed

_THREADS = 4
_REQUESTS = 16  # number of concurrent requests to object storage, which mostly wait for the server
_JSON = re.compile(r"[^._].*\.json")
ROUNDS, SHARES = "rounds", "shares.json"
"""Files with records of a search, and with GPU shares that were too small."""
_FOLDERS: tuple[tuple[str, re.Pattern[str]], ...] = (
    *((kind, FILE_NAMES[kind]) for kind in (SEGMENTS, RUNS, FAILURES, IMAGES, PLANS)),
    (CODE, _JSON),
    (LIVE, _JSON),
    (LEDGER, PAGE),
    (ROUNDS, _JSON),
    (NETWORKS, NETWORK_FILE),
)
_SINGLE = (STUDY_FILE, ANALYSIS_PLAN, CLAIM_FILE, MODELS_FILE, MEASUREMENTS_FILE, SHARES)
_TABLES = (SEGMENTS, RUNS, FAILURES)
_LOST = {
    SEGMENTS: "rows of settled runs",
    RUNS: "the row of a settled run",
    FAILURES: "the record of a failed attempt",
    IMAGES: "the names of test images",
    PLANS: "an earlier plan",
    CODE: "the record of the study's own code",
    LIVE: "the state of a session",
    LEDGER: "entries of the ledger",
    ROUNDS: "outcomes reported to a search",
    NETWORKS: "the trained network of a run",
    MEASUREMENTS_FILE: "measurements of the arms",
    SHARES: "GPU shares that were too small",
    MODELS_FILE: "the table of models",
    STUDY_FILE: "the current plan",
    ANALYSIS_PLAN: "the frozen analysis plan",
    CLAIM_FILE: "the claim under test",
}
_DONE = {
    SEGMENTS: "its intact rows are kept, and `ablate run` computes the other runs again",
    RUNS: "`ablate run` computes the run again",
    FAILURES: "no run is computed again",
    IMAGES: "`ablate run` writes it again",
    PLANS: "the other plans are kept",
    CODE: "`ablate run` writes it again if the study still uses that code",
    LIVE: "the session writes it again",
    LEDGER: "`ablate run` enters the rows again, but heads that cover these entries cannot be confirmed",
    NETWORKS: "no result depends on it; restore it from a copy, or compute the run in a new study with keep",
    ROUNDS: "restore it from a copy, or remove it and all later files of the same arm: completed runs are not repeated",
    MEASUREMENTS_FILE: "`ablate run` measures again",
    SHARES: "runs determine the shares again",
    MODELS_FILE: "`ablate run` writes it again",
    STUDY_FILE: REMEDY,
    CLAIM_FILE: "`ablate run` writes it again",
    ANALYSIS_PLAN: "restore it from a copy, because only a copy contains the plan that was made in advance",
}


@dataclass(frozen=True)
class Damage:
    """A damaged file.

    Attributes
    ----------
    name : path of the file in the study.
    problem : what is wrong with the file's content, or what is in the file's place.
    is_obstructed : whether something else is in the file's place: a folder, a pipe, or a dangling link.
    """

    name: str
    problem: str
    is_obstructed: bool = False

    @property
    def kind(self) -> str:
        """The kind of file: the name of its folder, or its own name if it is not in a folder."""
        return self.name.partition("/")[0]

    def __str__(self) -> str:
        """What is damaged, what is lost, and what happens next."""
        return f"{self.name} is damaged ({self.problem}): it contains {_LOST[self.kind]}; {_DONE[self.kind]}"


@dataclass
class Inspection:
    """Result of an inspection.

    Attributes
    ----------
    read : number of files read, by kind.
    unsealed : number of files without checksums, written by an earlier version, by kind.
    damages : the damaged files.
    settled : ids of the runs whose rows are intact.
    strays : files in the study's folders whose names are not those of study files; they are never read.
    """

    read: Counter[str] = field(default_factory=Counter)
    unsealed: Counter[str] = field(default_factory=Counter)
    damages: list[Damage] = field(default_factory=list)
    settled: set[str] = field(default_factory=set)
    strays: list[str] = field(default_factory=list)

    @property
    def without_checksums(self) -> str:
        """A sentence about the files without checksums; empty if there are none."""
        if not (number := self.unsealed.total()):
            return ""
        return (
            f"{counted(number, 'file')} from earlier versions {'has' if number == 1 else 'have'} no checksums: damage "
            f"that leaves such files readable cannot be detected"
        )


@dataclass(frozen=True)
class _Intact:
    """An undamaged file: whether it has checksums, and the settled runs in it."""

    sealed: bool
    settled: tuple[str, ...] = ()


Visitor = Callable[[str, pa.Table], object]
"""Function that receives the name of a run file or segment, and a table of its verified rows."""


def inspect(folder: Folder, visit: Visitor | None = None, *, networks: bool = True) -> Inspection:
    """Read every row, table, plan and state file in a study, and compare each with its checksums.

    Files that vanish in the meantime because they are compacted are not counted. This function does not change any
    files.

    Parameters
    ----------
    visit : called with all settled rows, a few at a time, from several threads.
    networks : whether to read trained networks as well; they take the most space, and no result depends on them.

    Raises
    ------
    StoreError: a newer version of this package wrote the study, or the storage does not answer.
    """
    from analysis.reading.files import strays  # noqa: PLC0415 -- pandas

    found = Inspection(strays=[f"{each.parent.name}/{each.name}" for each in strays(folder.root, similar=False)])
    names = [name for name in _SINGLE if folder.exists(name)]
    folders = [each for each in _FOLDERS if networks or each[0] != NETWORKS]
    names += [f"{kind}/{name}" for kind, pattern in folders for name in sorted(folder.names(kind, pattern))]
    threads = _THREADS if isinstance(folder.root, Path) else _REQUESTS
    with ThreadPoolExecutor(threads) as pool:
        for name, result in zip(names, pool.map(lambda name: _examined(folder, name, visit), names), strict=True):
            if result is None:
                continue
            kind = name.partition("/")[0]
            found.read[kind] += 1
            if isinstance(result, Damage):
                found.damages.append(result)
                continue
            found.settled.update(result.settled)
            if not result.sealed:
                found.unsealed[kind] += 1
    return found


def _examined(folder: Folder, name: str, visit: Visitor | None) -> Damage | _Intact | None:
    """Return what is wrong with a file or its content; None if the file has vanished."""
    if in_its_place := obstruction(folder.root / name):
        return Damage(name, in_its_place, is_obstructed=True)
    return _read(folder, name, visit)


def _read(folder: Folder, name: str, visit: Visitor | None) -> Damage | _Intact | None:
    try:
        if name.endswith(".json"):
            return _document(folder, name)
        if name.startswith(NETWORKS):
            return _network(folder, name)
        return _page(folder, name) if name.startswith(LEDGER) else _table(folder, name, visit)
    except FileNotFoundError:
        return None
    except StoreError:  # an outage of the storage is not damage
        raise
    except OSError as error:
        if error.errno is not None:  # a disk error; unreadable Parquet has no error number
            why = f"{error.strerror or error}; {advice_on(error)}"
            raise StoreError(f"{folder.root / name}: cannot be read: {why}") from error
        return Damage(name, short(error)) if folder.exists(name) else None
    except _ERRORS as error:
        return Damage(name, short(error)) if folder.exists(name) else None


_ERRORS = (Damaged, pa.ArrowException, OSError, ValueError, RecursionError, KeyError, TypeError, OverflowError)
"""Exceptions raised when damaged content is read."""


def _document(folder: Folder, name: str) -> _Intact:
    content = folder.read(name)
    if content is None:
        raise FileNotFoundError(name)
    document = json.loads(content.decode("utf-8"))
    if not isinstance(document, dict):
        raise Damaged("it is not a JSON object")
    if name == ANALYSIS_PLAN:
        _check_frozen(document)
        return _Intact(sealed=True)
    if name == STUDY_FILE and (why := plans.damage(folder, document)):
        raise Damaged(why)
    if name.startswith(PLANS) and (why := plan_damage(document)):
        raise Damaged(why)
    intact = document_is_intact(document)
    if intact is False:
        raise Damaged("its checksum does not match its content")
    if intact is None and name == CLAIM_FILE:  # every version writes this file with a checksum
        raise Damaged("its checksum is missing")
    if name.startswith(CODE) and document.get("code", stem := Path(name).stem) != stem:
        raise Damaged("it records different code than its name says")
    return _Intact(bool(intact) or name.startswith(LIVE))


def _page(folder: Folder, name: str) -> _Intact:
    content = folder.read(name)
    if content is None:
        raise FileNotFoundError(name)
    parsed(name.rpartition("/")[2], content)
    return _Intact(sealed=True)


def _network(folder: Folder, name: str) -> _Intact:
    """Compare a network with its file name, which contains the first digits of the hash in the run's row."""
    content = folder.read(name)
    if content is None:
        raise FileNotFoundError(name)
    if not hashlib.sha256(content).hexdigest().startswith(name.split(".")[1]):
        raise Damaged("its content does not match the hash in its name")
    return _Intact(sealed=True)


def _check_frozen(document: dict[str, Any]) -> None:
    from analysis.analysis_plan import digest  # noqa: PLC0415 -- pandas

    if digest(document["frozen_at"], document["runs_before"], document["content"]) != document["sha256"]:
        raise Damaged("its content does not match its SHA-256")


def _table(folder: Folder, name: str, visit: Visitor | None) -> _Intact:
    kind, _, stem = name.removesuffix(".parquet").rpartition("/")
    with opened(folder.root / name) as file:
        if kind in _TABLES:
            check_columns(file)
        ids = []
        for part in verified(file, file.schema_arrow.names):
            if kind in _TABLES:
                ids += part.column("run_id").to_pylist()
                check_identities(part)
            if visit is not None and kind in (RUNS, SEGMENTS):
                visit(name, part)
        if kind == RUNS and ids != [stem]:
            raise Damaged("it contains a different run from the one in its name")
        if kind == FAILURES and ids != [stem.rpartition(".")[0]]:
            raise Damaged("it contains a different run from the one in its name")
        return _Intact(has_checksums(file), tuple(ids) if kind in (RUNS, SEGMENTS) else ())


def opened(path: Place) -> pq.ParquetFile:
    """Open a Parquet file so that its pages are verified when they are read."""
    return pq.ParquetFile(for_arrow(path), page_checksum_verification=True)


def check_columns(file: pq.ParquetFile) -> None:
    """Raise Damaged if a table of runs has no readable version or lacks columns.

    The version of the study itself has already been checked, so a different version in a single file is damage.
    """
    version = (file.schema_arrow.metadata or {}).get(b"schema_version", b"")
    if not version.isdigit() or not OLDEST_VERSION <= int(version) <= SCHEMA_VERSION:
        raise Damaged(f"its schema version is {version.decode(errors='replace')!r}")
    if int(version) >= WITH_CHECKSUMS and not has_checksums(file):
        raise Damaged("its checksums are missing")
    if "run_id" not in file.schema_arrow.names:
        raise Damaged("it has no column run_id")


def intact_groups(path: Place) -> Iterator[pa.Table]:
    """Yield the row groups of a damaged segment that match their checksums; without checksums, none are yielded."""
    try:
        file = opened(path)
    except _ERRORS:
        return
    with file:
        try:
            check_columns(file)
            if not has_checksums(file) or not set(run_schema().names) <= set(file.schema_arrow.names):
                return
        except _ERRORS:
            return
        for group in range(file.num_row_groups):
            try:
                yield verified_group(file, group, file.schema_arrow.names)
            except _ERRORS:
                continue


def short(error: BaseException) -> str:
    """Return the first line of an error, for a message."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def refuse_newer(folder: Folder) -> None:
    """Raise StoreError, before any file is changed, if a newer version of this package wrote the study."""
    if obstruction(folder.root / STUDY_FILE):
        return
    try:
        document = json.loads(folder.read(STUDY_FILE) or b"{}")
    except (ValueError, RecursionError):
        return
    if isinstance(document, dict) and not plan_damage(document):
        version = document.get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            from ablations.store.parquet_files import check_version  # noqa: PLC0415

            check_version(folder.root / STUDY_FILE, version, document.get("package_version"))
