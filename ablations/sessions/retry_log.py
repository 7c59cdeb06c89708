"""Lines that the driver adds to a run's log for every attempt that ended without a row or a report."""

from __future__ import annotations

import contextlib

from ablations.execution.events import Event, RunRetried, RunStarted
from ablations.execution.run_output import as_lines, entry
from ablations.store import ResultStore
from aimlib.errors import StoreError


class RetryLog:
    """Subscriber that writes a line to a run's log whenever the run is retried."""

    def __init__(self, store: ResultStore) -> None:
        self._store = store
        self._where: dict[str, str] = {}

    def handle(self, event: Event) -> None:
        """Record where a run is computed and why it is retried."""
        if isinstance(event, RunStarted):
            self._where[event.run_id] = event.where
        elif isinstance(event, RunRetried):
            where = self._where.pop(event.run_id, "")
            text = (
                f"the attempt{f' on {where}' if where else ''} ended: {event.reason}; the run continues from its last "
                f"checkpoint after {event.seconds:.0f} s"
            )
            with contextlib.suppress(StoreError):  # the run's row counts its attempts anyway
                self._store.write_log(event.run_id, as_lines([entry("note", text)]))
