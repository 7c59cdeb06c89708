"""The books of a session: what an ending means for the store, for the runs that are left, and for whoever watches."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from ablations.execution.attempts import Blame, Ending
from ablations.execution.run_task import failure
from ablations.execution.scheduler import Again, Decision, Queue
from ablations.execution.signals import Stop
from ablations.execution.task import Task
from ablations.sessions.remembered_shares import remember
from ablations.store import ResultStore
from aimlib.errors import StoreError
from aimlib.records import SETTLED

_POLL = 2.0
"""Seconds between looks at runs that another process computes."""
_ROOM = 5.0
"""Seconds between looks at how full the storage is."""
_LOW_BYTES, _LOW_SHARE = 2**30, 0.05
"""No run is begun while less than the smaller of both is free."""
_SHOWN_LINES = 6
"""So many lines of a traceback's end are shown."""
_UNSHARED = (
    "the worker does not see the study's directory {directory}: put it on storage that all nodes share and give that "
    "with --out"
)


class Watcher(Protocol):
    """Shows people, or a tracker, what happens to runs."""

    def began(self, run_id: str, where: str) -> None:
        """A worker has a run."""

    def epoch(self, run_id: str, row: Mapping[str, Any]) -> None:
        """An epoch is complete."""

    def ended(self, run_id: str, end: str) -> None:
        """Nothing more happens to a run in this session, or another process has it."""

    def again(self, run_id: str, reason: str, seconds: float) -> None:
        """A run goes on from its checkpoint after some seconds."""

    def died(self, run_id: str, reason: str) -> None:
        """A run is given up."""

    def note(self, text: str) -> None:
        """Something that concerns the whole session."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End."""


class Desk:
    """Keeps the books of a session: the executor's listener.

    Parameters
    ----------
    tasks : those of the session, by run id.
    session : its name, under which workers are asked to stop.
    """

    def __init__(
        self,
        store: ResultStore,
        tasks: Mapping[str, Task],
        queue: Queue,
        stop: Stop,
        session: str,
        watchers: Sequence[Watcher],
        console: Console,
    ) -> None:
        self.store, self.tasks, self.queue, self.stop, self.watchers = store, tasks, queue, stop, watchers
        self.console, self.session = console, session
        self.failed: dict[str, str] = {}
        self.withheld: dict[str, str] = {}
        self.paused: dict[str, float | None] = {}
        self.held: set[str] = set()
        self._noticed: set[str] = set()
        self._looked = float("-inf")
        self._low = self._passed_on = False
        self._unrecorded: dict[str, str] = {}
        self._trouble = ""

    def began(self, run_id: str, where: str) -> None:
        """A worker has a run."""
        for watcher in self.watchers:
            watcher.began(run_id, where)

    def epoch(self, run_id: str, row: Mapping[str, Any]) -> None:
        """An epoch is complete."""
        self.queue.progressed(run_id)
        for watcher in self.watchers:
            watcher.epoch(run_id, row)

    def ended(self, run_id: str, ending: Ending) -> None:
        """An attempt ended: settle it, take it up again, or give it up."""
        if ending.end == "unshared" or (ending.end in SETTLED and not self._sees(run_id)):
            ending = Ending("failed", _UNSHARED.format(directory=self.store.location), fault="unshared")
            self._record(run_id, ending.reason)
        if ending.end == "held":
            self.held.add(run_id)
        if ending.end == "out_of_memory":
            self._out_of_memory(run_id, ending)
            return
        if ending.end == "paused":
            self.paused[run_id] = ending.accuracy
            if self.tasks[run_id].until is None:  # not of this session's own accord
                self.stop.request("asked to stop from elsewhere")
        self._follow(run_id, self.queue.ended(run_id, ending), ending.traceback)

    def _out_of_memory(self, run_id: str, ending: Ending) -> None:
        """Follow, and keep for the next session with how much of a GPU the arm goes on."""
        task, before = self.tasks[run_id], dict(self.queue.shares)
        self._follow(run_id, self.queue.ended(run_id, ending), ending.traceback)
        enough = self.queue.shares.get(task.arm, 0.0)
        if enough > before.get(task.arm, 0.0):
            with contextlib.suppress(StoreError):  # it is a hint
                remember(self.store, task, max(task.gpus, before.get(task.arm, 0.0)), enough)

    def died(self, run_id: str, cause: str, blame: Blame) -> None:
        """The process of an attempt is gone without a word."""
        self._follow(run_id, self.queue.died(run_id, blame, cause))

    def notice(self, run_id: str, text: str) -> None:
        """Say what a run tells, once for all runs of its arm."""
        said = f"arm {self.tasks[run_id].arm}: {text}"
        if said not in self._noticed:
            self._noticed.add(said)
            self.note(said)

    def note(self, text: str) -> None:
        """Say something that concerns the whole session."""
        for watcher in self.watchers:
            watcher.note(text)

    def tick(self) -> None:
        """Pass on that the session is to end, and look after the storage."""
        if self.stop.requested:
            self.queue.halt()
        if self.stop.requested and not self._passed_on:
            self._pass_on_stop()
        if time.monotonic() - self._looked >= _ROOM:
            self._looked = time.monotonic()
            self._look_for_room()
            for run_id, reason in list(self._unrecorded.items()):
                self._record(run_id, reason)

    def _follow(self, run_id: str, decision: Decision, traceback: str = "") -> None:
        for text in decision.notes:
            self.note(text)
        if isinstance(decision, Again):
            if not self.stop.requested:
                for watcher in self.watchers:
                    watcher.again(run_id, decision.reason, decision.seconds)
            return
        if decision.state == "failed":
            self._give_up(run_id, decision.reason, traceback, record=decision.record)
        else:
            for watcher in self.watchers:
                watcher.ended(run_id, decision.state)
        self._withhold(decision.withheld, decision.reason)

    def _give_up(self, run_id: str, reason: str, traceback: str, *, record: bool) -> None:
        self.failed[run_id] = reason
        if record:
            self._record(run_id, reason)
        for watcher in self.watchers:
            watcher.died(run_id, reason)
        for line in traceback.splitlines()[-_SHOWN_LINES:]:
            self._say(f"    {line}")

    def _withhold(self, run_ids: Sequence[str], reason: str) -> None:
        """Take note of runs that are not begun any more, because their arm fails with the same error every time."""
        for run_id in run_ids:
            self.withheld[run_id] = reason
            for watcher in self.watchers:
                watcher.ended(run_id, "stopped")
        if run_ids:
            arm = self.tasks[run_ids[0]].arm
            self._say(f"arm {arm}: the same error twice; its other {len(run_ids)} runs are not begun")

    def _say(self, text: str) -> None:
        self.console.print(text, style="red", markup=False, emoji=False, highlight=False, soft_wrap=True)

    def _sees(self, run_id: str) -> bool:
        """Tell whether the row that a worker wrote is here; storage that does not answer is no reason to doubt it."""
        try:
            return self.store.is_settled(run_id)
        except StoreError:
            return True

    def _record(self, run_id: str, reason: str) -> None:
        """Write the row of a failure, now or when the storage takes it again."""
        try:
            self.store.record_failure(failure(self.tasks[run_id], reason))
            self._unrecorded.pop(run_id, None)
        except StoreError as error:
            if run_id not in self._unrecorded:
                self.note(f"the failure of {run_id} is not on record yet: {error}")
            self._unrecorded[run_id] = reason

    def _pass_on_stop(self) -> None:
        """Ask the workers to stop, through the storage; where that fails, again at the next tick."""
        with contextlib.suppress(StoreError):
            self.store.request_stop(self.session, self._time_left())
            self._passed_on = True
            patience = "" if self.stop.code == 1 else "; once more to end it at once"
            self.note(f"{self.stop.reason}: ending the session once every run has saved its state{patience}")

    def _time_left(self) -> float | None:
        """Return the seconds that runs have to save their state; None where nobody ends them."""
        if not self.stop.urgent:
            return None
        grace = min((task.grace_seconds for task in self.tasks.values()), default=0.0)
        return max(0.0, self.stop.since + grace - time.monotonic())

    def _look_for_room(self) -> None:
        try:
            free = self.store.room()
        except StoreError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self.note(self._trouble)
            return
        self._trouble = ""
        if free is None:
            return
        enough = min(_LOW_BYTES, _LOW_SHARE * shutil.disk_usage(Path(self.store.location)).total)
        if free < enough and not self._low:
            self.queue.hold_back()
            self.note(
                f"{self.store.location}: only {free / 2**20:.0f} MiB are free, fewer than {enough / 2**20:.0f}: no run "
                f"is begun until there is room; make some, and the session goes on by itself"
            )
        elif free >= enough and self._low:
            self.queue.go_on()
            self.note(f"{self.store.location}: {free / 2**20:.0f} MiB are free again: going on")
        self._low = free < enough

    def released(self) -> list[Task]:
        """Return the tasks that another process had claimed and has not settled, once it lets go of one."""
        waiting = set(self.held)
        self.held.clear()
        if waiting:
            holders = sorted({self.store.holder(run_id) or "another process" for run_id in waiting})
            self.note(
                f"{len(waiting)} runs are being computed by {'; '.join(holders)}; waiting (Ctrl-C leaves them to it)"
            )
        while waiting and not self.stop.requested:
            for run_id in sorted(waiting):
                if self.store.is_settled(run_id):
                    waiting.discard(run_id)
                    for watcher in self.watchers:
                        watcher.ended(run_id, "finished")
            free = [run_id for run_id in sorted(waiting) if self.store.holder(run_id) is None]
            if free:
                self.held = waiting - set(free)
                return [self.tasks[run_id] for run_id in free]
            self.tick()
            time.sleep(_POLL if waiting else 0)
        return []
