"""How a run on a worker waits for unavailable storage, and what it does in the meantime."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator

from ablations.execution.task import Task
from ablations.store import ResultStore, read_mark
from ablations.store.outages import Outages

_REPORTED_AFTER_S = 20.0
"""Seconds after which a waiting run informs the driver, which usually notices the outage itself."""
_SAVE_INTERVAL_S = 1.0
"""Seconds between two attempts to save the state of a run that must pause."""

Report = Callable[[str], None]
"""Function called with the reason why a run is waiting, and with an empty string once the run continues."""


class StorageWaits:
    """Waits for the storage on behalf of one attempt.

    Parameters
    ----------
    pause : called while waiting, which also shows that the run is alive; returns whether the run must end.
    deadline : returns the monotonic time by which the run must have ended, or None for no limit.
    report : called when a run has waited for a while, and when it continues.
    note : called with messages for the run's log.
    """

    def __init__(
        self,
        task: Task,
        pause: Callable[[], bool] | None,
        deadline: Callable[[], float | None] | None,
        report: Report | None,
        note: Callable[[str], None],
    ) -> None:
        self._task, self._pause, self._deadline = task, pause, deadline
        self._report, self._note = report, note
        self._asked: float | None = None
        self._is_reported = False
        self.outages = _outages(task.directory, task.mark)
        self.outages.limit_s = task.outage_seconds

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Use this attempt's callbacks within the block."""
        with self.outages.reporting(self._note, self._must_end):
            try:
                yield
            finally:
                self._continues()

    def mark(self) -> str:
        """Return the mark of the study's folder, which identifies it; see `ResultStore.mark`."""

        def read() -> str:
            found = read_mark(self._task.directory)
            if not found and self._task.mark in _seen:
                raise FileNotFoundError(2, "the folder that was there before is missing", self._task.directory)
            return found

        found = self.outages.wait_out(read)
        if found == self._task.mark:
            _seen.add(found)
        return found

    def store(self) -> ResultStore:
        """Return the study's store, opened once for each process; opening verifies that files can be created."""
        return _store(self._task.directory, self._task.mark)

    def goes_on_without(self, error: Exception, *, pausing: bool) -> bool:
        """Return whether a run can continue although its state could not be saved.

        After an epoch, the run can continue, because the next save includes this state. If the run must pause, True
        means that the run tries to save again.
        """
        if not self.outages.passes(error):
            return False
        if not pausing:
            self.outages.observe_failure(error)
            return True
        if self._must_end():
            return False
        time.sleep(_SAVE_INTERVAL_S)
        return True

    def _must_end(self) -> bool:
        """Return whether waiting must end because the run must pause and its grace period is over.

        This is called while a run waits.
        """
        self._waits()
        if self._pause is None or not self._pause():
            return False
        now = time.monotonic()
        if self._asked is None:
            self._asked = now
        until = self._deadline() if self._deadline is not None else None
        return now >= (self._asked + self._task.grace_seconds if until is None else until)

    def _waits(self) -> None:
        outage = self.outages.current
        if outage is None:
            self._continues()
        elif not self._is_reported and self._report is not None and self.outages.seconds >= _REPORTED_AFTER_S:
            self._is_reported = True
            self._report(outage.reason)

    def _continues(self) -> None:
        if self._is_reported and self._report is not None:
            self._is_reported = False
            self._report("")


_seen: set[str] = set()
"""Marks of the folders that this process has used."""


@functools.lru_cache(maxsize=1)
def _outages(_directory: str, _mark: str) -> Outages:
    """Return the object with which this process waits for a study's storage.

    The study's driver has already used the storage, so the address is correct.
    """
    return Outages(worked=True)


@functools.lru_cache(maxsize=1)
def _store(directory: str, mark: str) -> ResultStore:
    return ResultStore(directory, outages=_outages(directory, mark))
