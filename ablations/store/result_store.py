"""`ResultStore`: one folder per study, which any number of processes may write and read at any time.

The folder is a local or NFS directory, or is in object storage; `ablations.store.folder` hides the differences.
`aimlib.records` defines the layout and the columns. The folder also contains ``plans/<nnn>.json``, every plan that the
study has ever had; ``logs``, the output of runs; ``locks`` or ``leases``; ``checkpoints/<run_id>``, the state of an
unfinished run; ``live``, messages between sessions; and ``shares.json``, the new GPU shares of arms whose earlier
shares were too small.
"""

from __future__ import annotations

import copy
import functools
import json
import re
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from ablations.store import measurements, networks, parquet_files, plans, references, session_signals
from ablations.store.bounded_calls import BoundedCalls
from ablations.store.folder import folder_at
from ablations.store.leases import Terms
from ablations.store.ledger import SessionLedger
from ablations.store.outages import Outages
from ablations.store.references import StoredReference
from ablations.store.run_locks import RunLock
from ablations.store.save_slots import Deadline, SaveSlots
from ablations.store.segments import SettledRuns
from aimlib.errors import StoreError
from aimlib.paths import Place, place, read_file
from aimlib.records import (
    ANALYSIS_PLAN,
    CHECKPOINTS,
    CLAIM_FILE,
    CODE,
    FAILURES,
    FILE_NAMES,
    IMAGES,
    LOGS,
    MODELS,
    MODELS_FILE,
    SETTLED,
    TEST_IMAGES,
    RunRecord,
    to_table,
    write_table,
)
from aimlib.records.checksums import intact_document, with_checksum
from aimlib.records.row_digests import row_digests

if TYPE_CHECKING:
    import pyarrow as pa

P = ParamSpec("P")
T = TypeVar("T")

MARK_FILE = "mark"
SHARES_FILE = "shares.json"
_IDENTITY = re.compile(r"[0-9a-f]{20}")
_FAILURE_FILE = FILE_NAMES[FAILURES]


def _storage(
    *, writes: bool
) -> Callable[[Callable[Concatenate[ResultStore, P], T]], Callable[Concatenate[ResultStore, P], T]]:
    """Make a method wait for the storage: after an outage, it is called again if the store's `outages` allow this."""

    def wrap(method: Callable[Concatenate[ResultStore, P], T]) -> Callable[Concatenate[ResultStore, P], T]:
        @functools.wraps(method)
        def call(self: ResultStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
            return self._asked(lambda: method(self, *args, **kwargs), writes=writes)

        return call

    return wrap


_reads, _writes = _storage(writes=False), _storage(writes=True)


class ResultStore:
    """The results of one study.

    Parameters
    ----------
    where : the study directory, created if missing; or an ``s3://``, ``gs://`` or ``az://`` URL of an existing bucket.
    terms : times for this process's leases on a study in object storage.
    outages : how long every method waits for unavailable storage; None means not at all.
    read_only : if true, create and write no files, for readers who may lack write permission; methods that write then
        raise an error.

    Raises
    ------
    StoreError: `where` is a file or cannot be written, the file system has no hard links or locks, the server has no
        conditional writes, or a newer version wrote the study. With `read_only`, only a newer version raises this
        error.
    """

    def __init__(
        self,
        where: str | Place,
        terms: Terms | None = None,
        outages: Outages | None = None,
        *,
        read_only: bool = False,
    ) -> None:
        self.outages = outages or Outages()
        self._waits, self._bounded, self._reads_only = True, None, read_only
        self._folder = folder_at(place(where), terms or Terms())
        self._settled = SettledRuns(self._folder)
        self._asked(self._open, writes=not read_only)

    _bounded: BoundedCalls | None

    def _open(self) -> None:
        plans.read(self._folder)  # this comes first, because a newer version's study must not be changed
        if self._reads_only:
            self._folder.attach()
        else:
            self._folder.prepare()
        self._settled.check()

    def _asked(self, act: Callable[[], T], *, writes: bool) -> T:
        """Return the result of an operation, waiting for the storage if this store is set to wait."""
        if writes and self._reads_only:
            raise StoreError(f"{self.location}: was opened for reading only; reopen it for writing")

        def checked() -> T:
            result = act()
            self._folder.refuse_absence()
            return result

        def attempt() -> T:
            return checked() if self._bounded is None else self._bounded(checked)

        return (self.outages.wait_out if self._waits else self.outages.observe)(attempt, writes=writes)

    def at_once(self, seconds: float | None = None) -> ResultStore:
        """Return a store for the same study that does not wait: its methods raise StoreError during an outage.

        Parameters
        ----------
        seconds : seconds without an answer after which the storage counts as unavailable; None means no limit. With a
            limit, only one thread may use the store.
        """
        found = copy.copy(self)
        found._waits, found._bounded = False, BoundedCalls(seconds, self.location) if seconds is not None else None
        return found

    @property
    def place(self) -> Place:
        """Where the study is stored; ``place / name`` is one of its files."""
        return self._folder.root

    @property
    def location(self) -> str:
        """The location as text, for messages and workers: an absolute path, or a URL."""
        return str(self._folder.root)

    @property
    def directory(self) -> Path:
        """The study directory. StoreError: the study is in object storage and has no directory."""
        if not isinstance(self._folder.root, Path):
            raise StoreError(f"{self.location}: is not a directory on this machine; this operation needs a directory")
        return self._folder.root

    @_reads
    def room(self) -> int | None:
        """Return the number of free bytes in the study's storage; None if the storage has no limit."""
        return self._folder.room()

    @_writes
    def mark(self) -> str:
        """Return the random text that identifies this folder, created on first use.

        Workers compare this text, because on a machine that does not share the directory, the same path is a different
        folder.
        """
        if not self._folder.exists(MARK_FILE):
            mark = uuid.uuid4().hex
            self._folder.create_first([MARK_FILE], lambda path: path.write_text(mark, encoding="ascii"))
        return read_mark(self.place)

    def commit(self, record: RunRecord, lock: RunLock | None = None) -> bool:
        """Write the row of a settled run; return True if this row counts. See `settle`."""
        return bool(self.settle(record, lock))

    def settle(self, record: RunRecord, lock: RunLock | None = None) -> str:
        """Write a settled run's row; return its digest for the ledger, or an empty string if another row counts.

        The first writer wins: if the run already has a row, that row stays. On return, the row is on disk.

        Parameters
        ----------
        lock : the lock under which the run was computed.

        Raises
        ------
        Fenced: the lock was lost; the run is left to its current holder.
        ValueError: the record is incomplete, or its run failed (see `record_failure`).
        StoreError: the file system reports an error, for example because it is full; no row becomes visible.
        """
        run_id, status = _checked(record.run["run_id"]), record.run["status"]
        if status not in SETTLED:
            raise ValueError(f"run {run_id}: status {status!r} is not settled; must be one of {', '.join(SETTLED)}")
        table = to_table(record)
        return row_digests(table)[0] if self._settle(run_id, table, lock) else ""

    def _settle(self, run_id: str, row: pa.Table, lock: RunLock | None = None) -> bool:
        """Settle a run. After an outage, a row written by an earlier attempt counts as this attempt's row."""
        attempts = count()

        def attempt() -> bool:
            if lock is not None:
                _confirmed(lock, run_id)
            again = next(attempts) > 0
            return self._settled.add(run_id, row, lambda path: write_table(row, path), again=again)

        return self._asked(attempt, writes=True)

    def copy_row(self, row: pa.Table) -> bool:
        """Write the row of a settled run that another study computed; return True if this row counts.

        As with `commit`, the first writer wins.

        Parameters
        ----------
        row : one row with the columns of `aimlib.records.run_schema`; `reused_from` contains the row's origin.

        Raises
        ------
        ValueError: the run is not settled, or the row does not contain its origin.
        StoreError: the file system reports an error.
        """
        (run_id,), (status,), (origin,) = (row.column(name).to_pylist() for name in ("run_id", "status", "reused_from"))
        if status not in SETTLED or not origin:
            raise ValueError(
                f"run {run_id}: status {status!r}, copied from {origin!r}; "
                "only settled runs with an origin can be copied"
            )
        return self._settle(_checked(run_id), row)

    def record_failure(self, record: RunRecord) -> Place:
        """Write a failed attempt under the next free number, starting from 000; return the file.

        Raises
        ------
        ValueError: the record is incomplete, or its run did not fail.
        StoreError: the file system reports an error.
        """
        run_id, status = _checked(record.run["run_id"]), record.run["status"]
        if status != "failed":
            raise ValueError(f"run {run_id}: status {status!r} is not a failure; commit it")
        table, attempts = to_table(record), count()

        def attempt() -> Place:
            names = [match[0] for match in self._failure_names() if match[1] == run_id]
            if next(attempts):  # an earlier attempt may have written the file
                for name in names:
                    if parquet_files.holds(self.place / FAILURES / name, table):
                        return self.place / FAILURES / name
            taken = [int(name.split(".")[1]) for name in names]
            created = self._folder.create_first(
                _numbered(run_id, max(taken, default=-1) + 1), lambda path: write_table(table, path)
            )
            assert created is not None, "there is always a free number"
            return self.place / created

        return self._asked(attempt, writes=True)

    @_writes
    def write_log(self, run_id: str, content: str, name: str | None = None) -> str:
        """Write the log of an attempt under the next free number, or rewrite it under `name`; return the name.

        Parameters
        ----------
        content : JSON lines, see `ablations.execution.run_output`.

        Raises
        ------
        StoreError: the file system reports an error.
        """
        if name is not None:
            self._folder.replace(f"{LOGS}/{name}", lambda path: path.write_text(content, encoding="utf-8"))
            return name
        names = (f"{LOGS}/{_checked(run_id)}.{number:03}.jsonl" for number in count())
        first = self._folder.create_first(names, lambda path: path.write_text(content, encoding="utf-8"))
        assert first is not None, "there is always a free number"
        return first.rpartition("/")[2]

    @_reads
    def settled(self) -> set[str]:
        """Return the ids of the runs that are never repeated: finished, diverged and pruned runs."""
        return self._settled.ids()

    @_reads
    def is_settled(self, run_id: str) -> bool:
        """Return whether a run is settled.

        Ask again after locking the run, because another process may settle it first.
        """
        return _checked(run_id) in self._settled

    @_reads
    def failures(self) -> dict[str, int]:
        """Return the number of failed attempts for every run that has failed attempts."""
        return dict(Counter(match[1] for match in self._failure_names()))

    @_writes
    def lock_run(self, run_id: str) -> RunLock | None:
        """Lock a run for this process; return None while this or another process holds the lock.

        The lock ends with `RunLock.release`, at the end of a `with` block, or with the death of this process. If the
        process dies, a lock in a directory ends immediately; a lock in object storage ends when the lease has not been
        renewed for a term. This call waits for one term before it takes over a lease that seems abandoned.
        """
        return self._folder.lock(_checked(run_id))

    @_reads
    def holder(self, run_id: str) -> str | None:
        """Return the host, process and start time of the holder of a run's lock, as text; None if the lock is free."""
        return self._folder.holder(_checked(run_id))

    @_reads
    def checkpoint_directory(self, run_id: str, *, create: bool = True) -> Path:
        """Return the local directory for a run's checkpoint, for use by the lock's holder.

        The directory contains the stored checkpoint. For object storage, the directory is in the user's part of the
        temporary folder and exists as long as this store.

        Parameters
        ----------
        create : whether to create the directory if it is missing; saving a checkpoint also creates it.
        """
        return self._folder.checkpoint_directory(_checked(run_id), create=create)

    @_writes
    def keep_checkpoint(self, run_id: str, lock: RunLock | None = None) -> None:
        """Store a run's checkpoint file so that it survives the loss of this machine; call this after each save.

        In a directory, the file is already in place; in object storage, it is uploaded with one request. This does
        nothing if there is no file yet.

        Parameters
        ----------
        lock : the lock under which the run is computed.

        Raises
        ------
        Fenced: the lock was lost; the checkpoint of the run's current holder is kept.
        """
        if lock is not None:
            _confirmed(lock, run_id)
        self._folder.keep_checkpoint(_checked(run_id), lock)

    def saving(self, progress: tuple[int, int], seconds: float, deadline: Deadline) -> AbstractContextManager[bool]:
        """Wait until a run that must pause may save, and hold this permission within the block; yield whether to save.

        See `SaveSlots.taken`.
        """
        return SaveSlots(self._folder.save_slots()).taken(progress, seconds, deadline)

    @_writes
    def discard_checkpoint(self, run_id: str) -> None:
        """Remove a run's checkpoint, if it exists."""
        self._folder.discard_checkpoint(_checked(run_id))

    @_writes
    def keep_network(self, run_id: str, digest: str, content: bytes) -> None:
        """Store a run's trained network, before the row that contains the network's SHA-256, `digest`."""
        networks.keep(self._folder, _checked(run_id), digest, content)

    @_reads
    def network(self, run_id: str, digest: str) -> bytes:
        """Return the content of a run's network file. StoreError: the file is missing or damaged."""
        return networks.read(self._folder, _checked(run_id), digest)

    @_reads
    def measurements(self) -> dict[str, Any]:
        """Return the arms' measurements; a broken file counts as empty, because measurements can be repeated."""
        return measurements.read(self._folder)

    @_writes
    def keep_measurements(self, content: dict[str, Any]) -> None:
        """Replace the stored measurements, given as plain JSON values."""
        measurements.write(self._folder, content)

    @_reads
    def references(self) -> list[StoredReference]:
        """Return the stored results of the reference step."""
        return references.listed(self._folder)

    @_writes
    def keep_reference(self, reference: StoredReference, content: dict[str, Any]) -> None:
        """Store a device's result of the reference step, with a description as plain JSON values."""
        references.keep(self._folder, reference, content)

    @_reads
    def reference_device(self, reference: StoredReference) -> str:
        """Return the name of a device, for messages."""
        return references.described(self._folder, reference)

    @_writes
    def write_plan(self, plan: dict[str, Any]) -> None:
        """Write ``study.json``, and keep every different plan as ``plans/<nnn>.json``.

        Parameters
        ----------
        plan : plain JSON values; the store adds the key `schema_version` to the file.

        Raises
        ------
        ValueError: the plan contains NaN, or its own `schema_version`.
        """
        plans.write(self._folder, plan)

    @_reads
    def read_plan(self) -> dict[str, Any] | None:
        """Return the plan that was passed to `write_plan`; None if there is no plan.

        Raises
        ------
        StoreError: the file is broken, or has a version that this package does not know.
        """
        return plans.read(self._folder)

    @_writes
    def keep_code(self, code: str, document: dict[str, Any]) -> None:
        """Store the record of the study's own code under its hash, unless it is already stored."""
        text = json.dumps(with_checksum(document), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        self._folder.create_first([f"{CODE}/{code}.json"], lambda path: path.write_text(text, encoding="utf-8"))

    @_writes
    def write_claim(self, document: dict[str, Any]) -> None:
        """Write ``claim.json``: the claim under test, if it comes from the user's own file."""
        text = json.dumps(with_checksum(document), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        self._folder.replace(CLAIM_FILE, lambda path: path.write_text(text, encoding="utf-8"))

    @_reads
    def has_analysis_plan(self) -> bool:
        """Return whether this study's analysis plan is frozen."""
        return self._folder.exists(ANALYSIS_PLAN)

    @_writes
    def freeze_analysis_plan(self, content: dict[str, Any]) -> str:
        """Write ``analysis_plan.json`` unless it exists; return the SHA-256 of the stored plan.

        The number of runs that are already settled is written with the plan, because a plan made after the first
        results was not made in advance.
        """
        return plans.freeze(self._folder, content, len(self.settled()))

    def ledger(self, session: str) -> SessionLedger:
        """Return a session's chain in the ledger; the session adds the rows that it settles to this chain."""
        return SessionLedger(self._folder, session, lambda act: self._asked(act, writes=True))

    @_writes
    def write_models(self, rows: list[dict[str, Any]]) -> None:
        """Write or replace ``models.parquet``: one row per arm, with the columns `MODELS`."""
        self._folder.replace(MODELS_FILE, lambda path: parquet_files.write_rows(rows, MODELS, path))

    @_writes
    def write_images(self, fingerprint: str, rows: list[dict[str, Any]]) -> None:
        """Write ``images/<fingerprint>.parquet``, with the columns `TEST_IMAGES`, unless it exists.

        Parameters
        ----------
        fingerprint : the data fingerprint, 20 hexadecimal digits.
        rows : one row per test image.
        """
        name = f"{IMAGES}/{_checked(fingerprint, 'data fingerprint')}.parquet"
        if not self._folder.exists(name):
            self._folder.create_first([name], lambda path: parquet_files.write_rows(rows, TEST_IMAGES, path))

    @_writes
    def write_shares(self, shares: dict[str, Any]) -> None:
        """Write or replace ``shares.json``. See `ablations.sessions.remembered_shares`."""
        text = json.dumps(with_checksum(shares), indent=1, sort_keys=True)
        self._folder.replace(SHARES_FILE, lambda path: path.write_text(text, encoding="utf-8"))

    @_reads
    def read_shares(self) -> dict[str, Any]:
        """Return the content of ``shares.json``, or an empty mapping if the file is missing or damaged."""
        return intact_document(self._folder.read(SHARES_FILE)) or {}

    @_writes
    def request_stop(self, session: str, within: float | None = None) -> None:
        """Ask a session to stop, from any machine.

        Parameters
        ----------
        session : name of the session, 12 hexadecimal digits, as in all methods about sessions.
        within : seconds after which the session's runs are ended, saved or not; None means no limit.
        """
        session_signals.request_stop(self._folder, session, within)

    @_reads
    def time_to_stop(self, session: str) -> float | None:
        """Return how many seconds a session's runs were given when it was asked to stop; None means no limit."""
        return session_signals.time_to_stop(self._folder, session)

    @_reads
    def stop_requested(self, session: str) -> bool:
        """Return whether the session was asked to stop; the call is cheap enough to repeat every few seconds."""
        return session_signals.stop_requested(self._folder, session)

    @_writes
    def forget_stop(self, session: str) -> None:
        """Remove the request to stop, if it exists."""
        session_signals.forget_stop(self._folder, session)

    @_writes
    def write_live(self, session: str, document: dict[str, Any]) -> None:
        """Replace the stored state of the session, which counts as dead after a day without a new state.

        Parameters
        ----------
        document : plain JSON values; the store adds the key `session`.

        Raises
        ------
        ValueError: the document contains NaN.
        """
        session_signals.write_live(self._folder, session, document)

    @_writes
    def write_node_time(self, session: str, seconds: float) -> None:
        """Replace the stored total uptime of all nodes in a session, in seconds."""
        session_signals.write_node_time(self._folder, session, seconds)

    @_reads
    def node_time(self) -> dict[str, float]:
        """Return the total uptime of all nodes in each session, in seconds."""
        return session_signals.node_time(self.place)

    @_reads
    def live(self) -> list[dict[str, Any]]:
        """Return the last state of every session, each with its name as `session`, sorted by name."""
        return session_signals.live(self._folder)

    @_writes
    def forget_live(self, session: str) -> None:
        """Remove the state of the session, if it exists."""
        session_signals.forget_live(self._folder, session)

    @_writes
    def compact(self, at_least: int = 256) -> int:
        """Move run files to a segment if there are at least `at_least` of them; return the number of removed files.

        This is safe at any time, even with concurrent readers, writers and compactions, and if the process is killed. A
        row may be in both places for a while; during that time, the row in the segment counts.

        Raises
        ------
        StoreError: a run file is broken; the message contains the file name and the remedy.
        """
        return self._settled.compact(at_least)

    @_writes
    def clean(self) -> list[Place]:
        """Remove files left by killed writers: temporary files, which are returned, and checkpoints of settled runs.

        Files of running writers are kept. Files of sessions that have been silent for a day are also removed.
        """
        session_signals.clean(self._folder)
        settled = self.settled()
        leftover = self._folder.clean(settled)
        for run_id in settled.intersection(self._folder.names(CHECKPOINTS, _IDENTITY)):
            self.discard_checkpoint(run_id)
        for name in networks.unclaimed(self._folder, settled, self._networks_of):
            self._folder.remove(name)
        return leftover

    def _networks_of(self, run_ids: Collection[str]) -> list[str]:
        """Return the network hashes in the rows of settled runs."""
        from analysis.reading.files import read_settled_of  # noqa: PLC0415 -- rarely needed

        table = read_settled_of(self.place, ["run_id", "network"], run_ids)
        return [digest for digest in table["network"].to_pylist() if digest is not None]

    def _failure_names(self) -> list[re.Match[str]]:
        listed = self._folder.names(FAILURES, _FAILURE_FILE)
        return [match for name in listed if (match := _FAILURE_FILE.fullmatch(name))]


def read_mark(where: str | Place) -> str:
    """Return the mark of a study's folder, without creating it; empty if the folder has no mark or does not exist."""
    path = place(where) / MARK_FILE
    try:
        return read_file(path).decode("ascii", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}; remove it; the next run replaces it") from None


def _numbered(run_id: str, number: int) -> Iterator[str]:
    """Yield file names for a run's failures, starting from a number."""
    return (f"{FAILURES}/{run_id}.{following:03d}.parquet" for following in count(number))


def _confirmed(lock: RunLock, run_id: str) -> None:
    """Raise Fenced if the lock was lost."""
    if lock.run_id != run_id:
        raise ValueError(f"run {run_id}: the lock is on run {lock.run_id}")
    lock.confirm()


def _checked(identity: object, what: str = "run id") -> str:
    """Check that an id may become part of a file name, and return it. StoreError: the id is invalid."""
    if not isinstance(identity, str) or not _IDENTITY.fullmatch(identity):
        raise StoreError(f"{what} {identity!r}: must be 20 hexadecimal digits in lower case")
    return identity
