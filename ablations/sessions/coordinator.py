"""The coordinator of a session.

The coordinator decides what the end of an attempt means for the store and the remaining runs, and informs the
subscribers.
"""

from __future__ import annotations

import contextlib
import queue
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from ablations.execution.attempts import Ending
from ablations.execution.events import (
    AttemptEnded,
    EpochEnded,
    Event,
    ExecutorEvent,
    NodesChanged,
    Notice,
    RunEnded,
    RunRetried,
    RunStarted,
    StorageWait,
    Subscriber,
)
from ablations.execution.retry_policy import Decision, Retry
from ablations.execution.scheduler import Scheduler
from ablations.execution.signals import Stop
from ablations.execution.task import Task
from ablations.sessions.remembered_shares import remember
from ablations.store import ResultStore
from ablations.store.ledger import SessionLedger
from aimlib.errors import StoreError, counted
from aimlib.records import SETTLED
from aimlib.records.escaping import printable

_POLL_INTERVAL_S = 2.0
"""Seconds between two checks of runs that other processes are computing."""
_ROOM_INTERVAL_S = 5.0
"""Seconds between two checks of the free storage space."""
_LOW_BYTES, _LOW_SHARE = 2**30, 0.05
"""No runs start while the free space is below the smaller of these two limits: bytes, and share of the capacity."""
ANSWER_S = 5.0
"""Seconds without an answer after which the storage counts as unavailable; the coordinator's thread cannot wait longer,
because it also keeps Ray running."""
_PASSING_ON_S = 10.0
"""Seconds after which workers are ended if a stop request cannot be passed on through the storage."""
_SHOWN_LINES = 6
"""Number of lines shown from the end of a traceback."""
_UNSHARED = (
    "the worker cannot find the study's directory {directory}: put it on storage that all nodes share, and set "
    "--out to that path"
)


class Coordinator:
    """Handles the executor's events: settles runs, retries them or gives them up, and publishes these decisions.

    The coordinator never waits for the storage. During an outage, runs continue, and results that cannot be stored are
    stored later.

    Parameters
    ----------
    store : a store that does not wait; see `ResultStore.at_once`.
    tasks : the session's tasks, by run id.
    session : id of the session, which is used to ask its workers to stop.
    subscribers : receive every event about a run, and every notice.
    ledger : receives the digests of the rows that workers wrote; if None, a later session enters the digests.

    Attributes
    ----------
    failed : ids of the runs that failed in this session, each with its reason.
    withheld : ids of runs that are not started because their arm fails with the same error every time.
    paused : ids of runs that are waiting at the requested epoch, each with its last validation accuracy.
    """

    def __init__(
        self,
        store: ResultStore,
        tasks: Mapping[str, Task],
        scheduler: Scheduler,
        stop: Stop,
        session: str,
        subscribers: Sequence[Subscriber[Event]],
        console: Console,
        ledger: SessionLedger | None = None,
    ) -> None:
        self.failed: dict[str, str] = {}
        self.withheld: dict[str, str] = {}
        self.paused: dict[str, float | None] = {}
        self._tasks, self._scheduler, self._stop = tasks, scheduler, stop
        self._outages, self._store = store.outages, store
        self._notices: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._waiting: dict[str, str] = {}
        self._waiting_is_told = False
        self._session, self._subscribers, self._console = session, subscribers, console
        self._ledger = ledger
        self._held: set[str] = set()
        self._told: set[tuple[str, str]] = set()
        self._checked = float("-inf")
        self._is_low = self._stop_passed_on = False
        self._unrecorded: dict[str, str] = {}
        self._trouble = ""

    def handle(self, event: ExecutorEvent) -> None:
        """Act on an event from the executor."""
        match event:
            case AttemptEnded(run_id, ending):
                self._attempt_ended(run_id, ending)
            case EpochEnded(run_id):
                self._scheduler.progressed(run_id)
                self._publish(event)
            case RunStarted() | NodesChanged():
                self._publish(event)
            case StorageWait(run_id, reason):
                self._waits_for_storage(run_id, reason)
            case Notice(text, run_id):
                self._notice(text, run_id)
            case _:
                self._tick()

    def _publish(self, event: Event) -> None:
        for subscriber in self._subscribers:
            subscriber.handle(event)

    def _notice(self, text: str, run_id: str = "") -> None:
        """Publish a message; a message from a run is published only once for all of its arm's runs."""
        if not run_id:
            self._publish(Notice(text))
            return
        arm = self._tasks[run_id].arm
        if (arm, text) not in self._told:
            self._told.add((arm, text))
            self._publish(Notice(f"arm {arm}: {text}", run_id))

    def notify(self, text: str) -> None:
        """Publish a message about the storage at the next event; any thread may call this."""
        self._notices.put(text)

    def _waits_for_storage(self, run_id: str, reason: str) -> None:
        """Record that a run is waiting for the storage.

        If only the run's node is cut off, this process can still use the storage.
        """
        if reason:
            self._waiting[run_id] = reason
        else:
            self._waiting.pop(run_id, None)

    def report_outages(self) -> None:
        """Publish the messages about the storage that have not been published yet."""
        while not self._notices.empty():
            self._publish(Notice(self._notices.get()))
        if self._outages.current is not None:
            return
        if self._waiting and not self._waiting_is_told:
            self._waiting_is_told = True
            number = counted(len(self._waiting), "run waits", "runs wait")
            reason = next(reversed(self._waiting.values()))
            self._publish(Notice(f"{number} for the storage, which this machine can access: {reason}"))
        elif not self._waiting and self._waiting_is_told:
            self._waiting_is_told = False
            self._publish(Notice("no run is waiting for the storage any more"))

    def _attempt_ended(self, run_id: str, ending: Ending) -> None:
        self._waiting.pop(run_id, None)
        if ending.end == "unshared" or (ending.end in SETTLED and not self._sees(run_id)):
            ending = Ending("failed", _UNSHARED.format(directory=self._store.location), fault="unshared")
            self._record(run_id, ending.reason)
        if ending.row_digest and self._ledger is not None:
            self._ledger.row(run_id, ending.row_digest)
        if ending.end == "held":
            self._held.add(run_id)
        if ending.end == "paused":
            self.paused[run_id] = ending.accuracy
            if self._tasks[run_id].until is None:  # the request did not come from this session
                self._stop.request("another process requested a stop")
        shares = dict(self._scheduler.shares)
        shown = "" if ending.is_explained else ending.traceback
        self._follow(run_id, self._scheduler.ended(run_id, ending), shown)
        if ending.end == "out_of_memory":
            self._remember_share(self._tasks[run_id], shares)

    def _remember_share(self, task: Task, before: Mapping[str, float]) -> None:
        """Store the GPU share with which the arm continues, if it has grown, for use in the next session."""
        enough, too_little = self._scheduler.shares.get(task.arm, 0.0), before.get(task.arm, 0.0)
        if enough > too_little:
            with contextlib.suppress(StoreError):  # the stored share is only a hint
                remember(self._store, task, max(task.gpus, too_little), enough)

    def _follow(self, run_id: str, decision: Decision, traceback: str = "") -> None:
        """Publish the decision about a run."""
        for text in decision.notes:
            self._publish(Notice(text))
        if isinstance(decision, Retry):
            if not self._stop.requested:
                self._publish(RunRetried(run_id, decision.reason, decision.seconds))
            return
        if decision.state == "failed":
            self._give_up(run_id, decision.reason, traceback, record=decision.record)
        else:
            self._publish(RunEnded(run_id, decision.state))
        self._withhold(decision.withheld, decision.reason)

    def _give_up(self, run_id: str, reason: str, traceback: str, *, record: bool) -> None:
        self.failed[run_id] = reason
        if record:
            self._record(run_id, reason)
        self._publish(RunEnded(run_id, "failed", reason))
        for line in traceback.splitlines()[-_SHOWN_LINES:]:
            self._say(f"    {line}")

    def _withhold(self, run_ids: Sequence[str], reason: str) -> None:
        """Record that runs are no longer started, because their arm fails with the same error every time."""
        for run_id in run_ids:
            self.withheld[run_id] = reason
            self._publish(RunEnded(run_id, "stopped"))
        if run_ids:
            rest = counted(len(run_ids), "other run is", "other runs are")
            self._say(f"arm {self._tasks[run_ids[0]].arm}: the same error twice; its {rest} not started")

    def _say(self, text: str) -> None:
        self._console.print(printable(text), style="red", markup=False, emoji=False, highlight=False, soft_wrap=True)

    def _sees(self, run_id: str) -> bool:
        """Return whether the row written by a worker is visible; if the storage is unavailable, assume that it is."""
        try:
            return self._store.is_settled(run_id)
        except StoreError:
            return True

    def _record(self, run_id: str, reason: str) -> None:
        """Write the row for a failed run, now or as soon as the storage accepts the row."""
        from ablations.execution.run_record import failed_record  # noqa: PLC0415 -- imports torch

        try:
            self._store.record_failure(failed_record(self._tasks[run_id], reason))
            self._unrecorded.pop(run_id, None)
        except StoreError as error:
            if run_id not in self._unrecorded:
                self._publish(Notice(f"the failure of {run_id} is not recorded yet: {error}"))
            self._unrecorded[run_id] = reason

    def _tick(self) -> None:
        """If the session was asked to end, pass the request on to the workers; also check the storage."""
        self.report_outages()
        if self._outages.is_too_long and not self._stop.requested:
            self._stop.request(
                f"the storage has been unavailable for longer than resources.outage_hours allows "
                f"({self._outages.current.reason if self._outages.current else ''}); the same command resumes the study"
            )
        if self._stop.requested:
            self._scheduler.halt()
            if not self._stop_passed_on:
                self._pass_on_stop()
        if self._ledger is not None:
            self._ledger.flush_if_due()
        if time.monotonic() - self._checked >= _ROOM_INTERVAL_S:
            self._checked = time.monotonic()
            self._check_room()
            for run_id, reason in list(self._unrecorded.items()):
                self._record(run_id, reason)

    def _pass_on_stop(self) -> None:
        """Ask the workers through the storage to stop; if that fails, try again at the next tick.

        If the request keeps failing, signal the workers' processes instead; they then save whatever the storage
        accepts.
        """
        try:
            self._store.request_stop(self._session, self._time_left())
        except StoreError:
            if not self._stop.urgent and time.monotonic() - self._stop.since >= _PASSING_ON_S:
                self._stop.hasten()
                text = f"{self._stop.reason}: the storage is unavailable, so runs continue from their last stored state"
                self._publish(Notice(text))
            return
        self._stop_passed_on = True
        advice = "" if self._stop.code == 1 else "; send the same signal again to end it immediately"
        self._publish(Notice(f"{self._stop.reason}: ending the session once every run has saved its state{advice}"))

    def _time_left(self) -> float | None:
        """Return how many seconds the runs still have to save their state; None means no limit."""
        if not self._stop.urgent:
            return None
        grace = min((task.grace_seconds for task in self._tasks.values()), default=0.0)
        return max(0.0, self._stop.since + grace - time.monotonic())

    def _check_room(self) -> None:
        try:
            free = self._store.room()
        except StoreError as error:
            # `Outages` reports an outage itself while waiting for its end.
            if str(error) != self._trouble and not (self._outages.limit_s and self._outages.passes(error)):
                self._trouble = str(error)
                self._publish(Notice(self._trouble))
            return
        self._trouble = ""
        if free is not None:
            self._hold_back_below(free)

    def _hold_back_below(self, free: int) -> None:
        """Do not start any runs while the storage is nearly full."""
        where = self._store.location
        try:
            enough = min(_LOW_BYTES, _LOW_SHARE * shutil.disk_usage(Path(where)).total)
        except OSError:  # querying the free space failed; it is queried again later
            return
        if free < enough and not self._is_low:
            self._scheduler.hold_back()
            text = (
                f"{where}: only {free / 2**20:.0f} MiB are free, fewer than {enough / 2**20:.0f}: no runs start until "
                "there is more; free some space, and the session continues automatically"
            )
            self._publish(Notice(text))
        elif free >= enough and self._is_low:
            self._scheduler.go_on()
            self._publish(Notice(f"{where}: {free / 2**20:.0f} MiB are free again: continuing"))
        self._is_low = free < enough

    def released(self) -> list[Task]:
        """Wait for runs that other processes are computing.

        Return the tasks of runs that were released without a result.

        The result is empty once all runs are settled or the session must end.
        """
        waiting, self._held = self._held, set()
        is_told = False
        while waiting and not self._stop.requested:
            try:
                if not is_told:
                    self._report_holders(waiting)
                    is_told = True
                if free := self._freed(waiting):
                    self._held = waiting - set(free)
                    return [self._tasks[run_id] for run_id in free]
            except StoreError as error:
                if not self._outages.limit_s or not self._outages.passes(error):
                    raise
            self._tick()
            time.sleep(_POLL_INTERVAL_S if waiting else 0)
        return []

    def _report_holders(self, waiting: set[str]) -> None:
        holders = sorted({self._store.holder(run_id) or "another process" for run_id in waiting})
        computed = counted(len(waiting), "run is", "runs are")
        text = f"{computed} being computed by {'; '.join(holders)}; waiting (Ctrl-C ends only this session)"
        self._publish(Notice(text))

    def _freed(self, waiting: set[str]) -> list[str]:
        """Stop waiting for settled runs; return the runs that are no longer held by any process."""
        for run_id in sorted(waiting):
            if self._store.is_settled(run_id):
                waiting.discard(run_id)
                self._publish(RunEnded(run_id, "finished"))
        return [run_id for run_id in sorted(waiting) if self._store.holder(run_id) is None]
