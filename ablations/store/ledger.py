"""Writing and reading the ledger of a study; see `aimlib.records.ledger`.

A session enters rows in batches: it collects the digests of its rows, and rewrites the last page of its chain with the
new entries after at most `PACE_S` seconds. A crash may lose entries, but not rows. The next session reads the rows that
are missing from the ledger and enters them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ablations.store import parquet_files, plans
from ablations.store.folder import Folder
from ablations.store.segments import SettledRuns
from aimlib.errors import StoreError
from aimlib.paths import obstruction
from aimlib.records import RUNS, SEGMENTS
from aimlib.records.ledger import LEDGER, NO_HASH, PAGE, Entry, Ledger, Page, entry, page_name

PACE_S = 10.0
"""Maximum time in seconds between a settled row and its entry."""
_PAGE_ENTRIES = 1000
"""Number of entries after which a new page begins, so that writes do not grow with the study."""
_THREADS, _REQUESTS = 4, 16
_TABLE = re.compile(r"[0-9a-f]{20}\.parquet")


Waiting = Callable[[Callable[[], "Standing"]], "Standing"]


@dataclass(frozen=True)
class Standing:
    """State of a study's ledger after a session has joined it.

    Attributes
    ----------
    head : hash that covers all entries.
    entered : number of runs whose rows the ledger contains.
    lost : ids of runs whose entered rows no longer exist.
    """

    head: str
    entered: int
    lost: tuple[str, ...] = ()


def read(folder: Folder) -> Ledger:
    """Return a study's ledger; empty if the study has none.

    Raises
    ------
    StoreError: the storage does not answer.
    """
    names = sorted(folder.names(LEDGER, PAGE))
    with ThreadPoolExecutor(_threads(folder)) as pool:
        contents = pool.map(lambda name: _content(folder, f"{LEDGER}/{name}"), names)
        return Ledger.of({name: content for name, content in zip(names, contents, strict=True) if content is not None})


def _content(folder: Folder, name: str) -> bytes | None:
    """Return the content of a page; if something else is in the page's place, the page counts as damaged."""
    return b"" if obstruction(folder.root / name) else folder.read(name)


class SessionLedger:
    """A session's chain.

    Parameters
    ----------
    folder : folder of the study.
    session : id of the session, 12 hexadecimal digits.
    waiting : function that calls a given function, and calls it again after an outage of the storage; not used by
        `flush_if_due`.
    """

    def __init__(self, folder: Folder, session: str, waiting: Waiting = lambda act: act()) -> None:
        self._folder, self._session, self._waiting = folder, session, waiting
        self._pages: list[Page] = []
        self._open: list[Entry] = []
        self._last, self._first = NO_HASH, NO_HASH
        self._entered: set[tuple[str, str]] = set()
        self._unwritten = False
        self._due = time.monotonic() + PACE_S

    def row(self, run_id: str, digest: str) -> None:
        """Enter a settled row; the next `flush` writes it."""
        if (run_id, digest) not in self._entered:
            self._entered.add((run_id, digest))
            self._add("row", run_id, digest)

    def plan(self, sha256: str) -> None:
        """Enter a frozen analysis plan; the next `flush` writes it."""
        self._add("plan", "analysis", sha256)

    def join(self) -> Standing:
        """Enter and write the settled rows that are missing from the ledger, and the chains of other sessions.

        If there are no rows to enter and only one chain to join, nothing is written.

        Raises
        ------
        StoreError: the storage reports an error.
        """
        return self._waiting(self._join)

    def _join(self) -> Standing:
        self.flush()
        ledger = read(self._folder)  # read before the rows are listed, because each row is written before its entry
        settled = SettledRuns(self._folder).ids()
        lost = self._record_losses(ledger, settled)
        self._enter_plan(ledger)
        self._enter_missing(settled - ledger.rows.keys())
        tips = {session: tip for session, tip in ledger.tips.items() if session != self._session}
        if self._last != NO_HASH or len(tips) > 1:
            for session, tip in tips.items():
                self._add("join", session, tip)
        self.flush()
        head = self._last if self._last != NO_HASH else next(iter(tips.values()), "")
        return Standing(head, len(ledger.rows.keys() | {run_id for run_id, _ in self._entered}), lost)

    def end(self) -> Standing:
        """Join the ledger again, and end the chain.

        Raises
        ------
        StoreError: the storage reports an error.
        """
        found = self.join()
        if self._last == NO_HASH:
            return found
        self._add("end", str(found.entered), _now())
        self._waiting(self._ended)
        return Standing(self._last, found.entered, found.lost)

    def _ended(self) -> Standing:
        self.flush()
        return Standing(self._last, len(self._entered))

    def flush_if_due(self) -> None:
        """Write new entries if at least `PACE_S` seconds have passed; if the storage fails, try again later."""
        if self._unwritten and time.monotonic() >= self._due:
            self._due = time.monotonic() + PACE_S
            try:
                self.flush()
            except StoreError:  # the rows exist; these entries are written with the next entries
                return

    def flush(self) -> None:
        """Write new entries.

        Raises
        ------
        StoreError: the storage reports an error; these entries are written with the next entries.
        """
        while self._unwritten:
            part = tuple(self._open[:_PAGE_ENTRIES])
            page = Page(self._session, len(self._pages), self._first, part)
            self._write(page.name, page.text())
            if len(self._open) < _PAGE_ENTRIES:
                self._unwritten = False
                break
            self._pages.append(page)
            self._open, self._first = self._open[_PAGE_ENTRIES:], part[-1].hash
            self._unwritten = bool(self._open)

    def _write(self, name: str, text: str) -> None:
        self._folder.replace(f"{LEDGER}/{name}", lambda path: path.write_text(text, encoding="ascii"))

    def _add(self, kind: str, what: str, digest: str) -> None:
        if self._last == NO_HASH:
            self._append(entry(NO_HASH, "session", self._session, _now()))
        self._append(entry(self._last, kind, what, digest))

    def _append(self, new: Entry) -> None:
        self._open.append(new)
        self._last, self._unwritten = new.hash, True

    def _record_losses(self, ledger: Ledger, settled: set[str]) -> tuple[str, ...]:
        """Record which entered rows and pages no longer exist; return the ids of the runs that have lost their rows."""
        for name in sorted(ledger.problems):
            page = name.removeprefix(f"{LEDGER}/")
            self._add("gap", page if PAGE.fullmatch(page) else page_name(page, 0), _now())
        lost = []
        for run_id in sorted(ledger.rows.keys() - settled):
            unrecorded = sorted(ledger.rows[run_id] - ledger.lost.get(run_id, set()))
            for digest in unrecorded:
                self._add("lost", run_id, digest)
            lost += [run_id] if unrecorded else []
        return tuple(lost)

    def _enter_plan(self, ledger: Ledger) -> None:
        """Enter the frozen analysis plan unless the ledger already contains a plan; a later plan cannot be frozen."""
        sha256 = None if ledger.plans else plans.frozen_hash(self._folder)
        if sha256 is not None and not any(each.kind == "plan" for each in self._entries()):
            self.plan(sha256)

    def _entries(self) -> Iterator[Entry]:
        yield from self._open
        for page in self._pages:
            yield from page.entries

    def _enter_missing(self, run_ids: Collection[str]) -> None:
        """Read rows that no session entered, and enter them."""
        if not run_ids:
            return
        for digests in _digests(self._folder, run_ids):
            for run_id, digest in sorted(digests.items()):
                self.row(run_id, digest)


def _digests(folder: Folder, wanted: Collection[str]) -> Iterable[dict[str, str]]:
    """Yield the digests of the wanted runs' rows, file by file, skipping damaged files."""
    files = [f"{SEGMENTS}/{name}" for name in sorted(folder.names(SEGMENTS, _TABLE))]
    files += [f"{RUNS}/{name}" for name in sorted(folder.names(RUNS, _TABLE)) if name.partition(".")[0] in wanted]

    def of(name: str) -> dict[str, str]:
        try:
            return parquet_files.digests(folder.root / name, wanted)
        except (
            StoreError,
            FileNotFoundError,
        ):  # damaged, or compacted in the meantime; the next session enters the rows
            return {}

    with ThreadPoolExecutor(_threads(folder)) as pool:
        yield from pool.map(of, files)


def _threads(folder: Folder) -> int:
    return _THREADS if isinstance(folder.root, Path) else _REQUESTS


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
