"""The processes in a history: workers compute runs, drivers compact and clean the study, readers load the study.

A worker calls the store in the same order as `ablations.execution.run_task`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ablations.store import ResultStore, RunLock, Terms, files
from ablations.store.repair import repair
from aimlib.errors import StoreError
from aimlib.records import RunRecord

from .events import Operation, Recorder
from .records import Record, rows

STEPS = 4
"""Number of steps in a run; a checkpoint may be saved after each step."""


class Lost(Exception):
    """A process cannot continue its run."""


class Actor:
    """A process that uses a store, in a simulated world or a real one.

    Parameters
    ----------
    name : name of the process, unique within the history.
    record : makes a run's row from the run's id and digest.
    sleep : waits for a number of seconds.
    """

    def __init__(
        self,
        name: str,
        where: str,
        runs: Sequence[str],
        recorder: Recorder,
        chance: random.Random,
        record: Record,
        sleep: Callable[[float], object],
        terms: Terms | None = None,
    ) -> None:
        self.name, self.where, self.runs, self.terms = name, where, list(runs), terms
        self._recorder, self._chance, self._record, self._sleep = recorder, chance, record, sleep
        self._store: ResultStore | None = None
        self._rows = 0
        self.seen: set[str] = set()
        """Runs that the process has found to be settled."""

    def work(self, going: Callable[[], bool], pause: float = 1.0) -> None:
        """Compute open runs until none are left. All workers choose among the same few runs, so that they compete."""
        while going():
            self.ids()
            nearly = [run for run in self.runs if run not in self.seen][:2]
            if not nearly:
                return
            run = self._chance.choice([*nearly, *nearly, self._chance.choice(self.runs)])
            if self._chance.random() < 0.1:
                self.settle_unlocked(run, pause)
            else:
                self.attempt(run, pause)
            self._sleep(self._chance.uniform(0.0, 2.0) * pause)

    def drive(self, going: Callable[[], bool], pause: float = 1.0) -> None:
        """Compact and clean the study, and list its runs, until the study is complete, as a session's driver does."""
        self._call("repair", lambda: repair(self.where, self.terms))
        while going():
            self._sleep(self._chance.expovariate(1.0) * 8 * pause)
            act = self._chance.choice([self.compact, self.compact, self.ids, self.clean])
            act()

    def watch(self, going: Callable[[], bool], pause: float = 1.0) -> None:
        """Read the study until it is complete."""
        while going():
            self._sleep(self._chance.expovariate(1.0) * 6 * pause)
            self._chance.choice([self.read, self.read, self.ids])()

    def finish(self, pause: float = 1.0) -> None:
        """Compute the open runs, read everything, compact the study, and read everything again."""
        for _ in range(100):
            self.ids()
            if self.seen.issuperset(self.runs):
                break
            for run in self.runs:
                if run not in self.seen:
                    self.attempt(run, pause)
            self._sleep(10.0 * pause)
        self.read()
        self.compact(1)
        self.read()
        self.ids()

    def attempt(self, run: str, pause: float = 1.0) -> None:
        """Compute a run from its checkpoint and settle it, unless another process holds or has settled the run."""
        if (store := self._opened()) is None:
            return
        locks: list[RunLock] = []

        def take() -> str | None:
            lock = store.lock_run(run)
            locks.extend([lock] if lock is not None else [])
            return lock.token if lock is not None else None

        if self._call("take", take, run=run).outcome != "ok" or not locks:
            return
        try:
            with locks[0] as lock:
                if not self.is_settled(run):
                    self._compute(store, run, lock, pause)
        except (Lost, StoreError):
            return

    def settle_unlocked(self, run: str, pause: float) -> None:
        """Settle a run without its lock, as a session does if the storage has lost the lock."""
        if (store := self._opened()) is None:
            return
        self._sleep(self._chance.expovariate(1.0) * 4 * pause)
        digest, record = self._row_of(run)
        self._call("settle", lambda: store.commit(record), run=run, digest=digest)

    def _row_of(self, run: str) -> tuple[str, RunRecord]:
        self._rows += 1
        digest = f"{self.name} row {self._rows}"
        return digest, self._record(run, digest)

    def _compute(self, store: ResultStore, run: str, lock: RunLock, pause: float) -> None:
        content = self._done(self._call("restore", lambda: self._restore(store, run), run=run, grant=lock.token))
        for step in range(int(content.rpartition(" ")[2]) if content else 0, STEPS):
            self._sleep(self._chance.expovariate(1.0) * 8 * pause)
            if self._chance.random() < 0.3 and not self._done(
                self._call("holds", lambda: not lock.lost, run=run, grant=lock.token)
            ):
                raise Lost
            if self._chance.random() < 0.5:
                self._save(store, run, lock, step + 1)
        self._sleep(self._chance.expovariate(1.0) * 8 * pause)  # the last evaluation
        digest, record = self._row_of(run)
        self._done(self._call("settle", lambda: store.commit(record, lock), run=run, digest=digest, grant=lock.token))
        self._done(self._call("discard", lambda: store.discard_checkpoint(run), run=run))

    def _save(self, store: ResultStore, run: str, lock: RunLock, step: int) -> None:
        self._rows += 1
        content = f"{self.name} save {self._rows} step {step}"

        def save() -> None:
            path = store.checkpoint_directory(run) / "checkpoint.pt"
            files.replace(path, lambda temporary: temporary.write_text(content))
            store.keep_checkpoint(run, lock)

        self._done(self._call("save", save, run=run, content=content, grant=lock.token))

    @staticmethod
    def _restore(store: ResultStore, run: str) -> str | None:
        path: Path = store.checkpoint_directory(run) / "checkpoint.pt"
        return path.read_text() if path.exists() else None

    @staticmethod
    def _done(operation: Operation) -> Any:
        """Return the result of an operation; the attempt ends with the first operation that fails."""
        if operation.outcome != "ok":
            raise Lost
        return operation.result

    def is_settled(self, run: str) -> bool:
        """Query whether a run is settled."""
        store = self._opened()
        if store is None:
            raise Lost
        return bool(self._done(self._call("is_settled", lambda: store.is_settled(run), run=run)))

    def ids(self) -> Operation:
        """Query which runs are settled."""
        found = self._with_store("ids", lambda store: store.settled())
        self.seen |= found.result if found.outcome == "ok" else set()
        return found

    def compact(self, at_least: int = 0) -> Operation:
        """Compact the run files."""
        return self._with_store("compact", lambda store: store.compact(at_least or self._chance.randint(1, 3)))

    def clean(self) -> Operation:
        """Remove files left behind by killed writers."""
        return self._with_store("clean", lambda store: len(store.clean()))

    def read(self) -> Operation:
        """Read the rows of all settled runs, as the analysis does."""
        return self._call("read", lambda: rows(self.where))

    def _with_store(self, name: str, ask: Callable[[ResultStore], Any]) -> Operation:
        store = self._opened()
        return self._call(name, lambda: ask(store)) if store is not None else Operation(self.name, name, {}, 0)

    def _opened(self) -> ResultStore | None:
        if self._store is None:
            self._call("open", self._open)
        return self._store

    def _open(self) -> None:
        self._store = ResultStore(self.where, self.terms)

    def _call(self, name: str, ask: Callable[[], Any], **values: Any) -> Operation:
        return self._recorder.call(self.name, name, ask, **values)
