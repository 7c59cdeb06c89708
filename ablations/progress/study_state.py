"""The state of a study, combined from its sessions' stored states and the settled runs in its store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ablations.progress.history import History, Outline, Store
from ablations.progress.session_state import LOST_S, MOST_FAILURES, Message, RunProgress, SessionState, Use, read
from ablations.progress.snapshot import FailureSnapshot, Snapshot, snapshot_of
from ablations.progress.state import Progress
from ablations.spec.durations import duration
from ablations.spec.short_names import clean
from aimlib.errors import counted

_DELAY_S = 30.0
"""Delay in seconds between two states above which the delay is reported."""
_MESSAGES = 30


@dataclass
class _Session:
    """A session's stored state, and the local clock when its beat last changed."""

    stored: SessionState
    changed: float

    def age(self, now: float) -> float:
        return max(0.0, now - self.changed)

    def is_active(self, now: float) -> bool:
        return self.stored.state == "running" and self.age(now) < LOST_S


class StudyState:
    """The state of a study as seen by another process.

    Parameters
    ----------
    directory : study directory.
    store : store of the same study.
    document : the study's stored plan.
    clock, wall : monotonic clock in seconds, and wall clock in seconds since the epoch.

    Attributes
    ----------
    history : rows of settled and failed runs.
    alive : number of active sessions at the last poll.
    ended : whether a session that was active at an earlier poll is no longer active.
    """

    def __init__(
        self,
        directory: Any,
        store: Store,
        document: Mapping[str, Any],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._clock, self._wall = store, clock, wall
        outline = Outline.read(document)
        self.history = History(directory, store, {run_id: arm for run_id, arm, _ in outline.runs})
        self._progress = Progress(outline, (), clock=clock)
        self._sessions: dict[str, _Session] = {}
        self._active: set[str] = set()
        self._unread = 0
        self.ended = False

    @property
    def alive(self) -> int:
        """Number of sessions that had a recently stored state at the last poll."""
        return len(self._active)

    def poll(self, seconds: float = float("inf")) -> Snapshot:
        """Read new states and rows, and return a snapshot.

        Parameters
        ----------
        seconds : time limit for reading rows of settled runs; the rest are read in the next polls.

        Raises
        ------
        StoreError: a file in the store is corrupt.
        """
        now = self._clock()
        self._read_sessions(now)
        active = {name: session for name, session in self._sessions.items() if session.is_active(now)}
        self.ended = self.ended or not self._active <= active.keys()
        self._active = set(active)
        for row in self.history.poll(seconds):
            self._progress.recall(row.run_id, row.status, row.curve, row.seconds, row.epochs_run)
        self._progress.settle(self.history.unread)
        self._progress.restore(self._runs(active, now))
        self._take_pace(active)
        return self._snapshot(active, now)

    def _read_sessions(self, now: float) -> None:
        """Read the states of sessions. A changed beat shows that a session is active even if its clock is wrong."""
        found, self._unread = {}, 0
        for document in self._store.live():
            stored = read(document)
            if stored is None:
                self._unread += 1
                continue
            before = self._sessions.get(stored.session)
            if before is None:
                changed = now - max(0.0, self._wall() - stored.at.timestamp())
            else:
                changed = before.changed if before.stored.beat == stored.beat else now
            found[stored.session] = _Session(stored, changed)
        self._sessions = found

    def _runs(self, active: Mapping[str, _Session], now: float) -> dict[str, RunProgress]:
        """Return the states of runs that are neither waiting nor settled; the newest state takes precedence."""
        sessions = sorted(active.values(), key=lambda session: -session.age(now))
        stored = {
            run_id: replace(run, began=now - session.age(now) - run.began, heard=now - session.age(now) - run.heard)
            for session in sessions
            for run_id, run in session.stored.runs.items()
        }
        running = {run_id: run for run_id, run in stored.items() if run.state in ("running", "retrying")}
        failed = self._failed(active) | {
            run_id: replace(run, reason=run.reason or self._reason(run_id))
            for run_id, run in stored.items()
            if run.state == "failed"
        }
        by_time = dict(sorted(failed.items(), key=lambda item: item[1].failed_at))
        return self._parked(active) | by_time | running

    def _parked(self, active: Mapping[str, _Session]) -> dict[str, RunProgress]:
        """Return the runs that sessions have paused or stopped; in the store, they look like waiting runs."""
        runs = self._progress.runs
        stored = [session.stored for session in active.values()]
        stopped = {
            run_id: replace(runs[run_id], state="stopped") for s in stored for run_id in s.stopped if run_id in runs
        }
        paused = {
            run_id: replace(runs[run_id], state="paused") for s in stored for run_id in s.paused if run_id in runs
        }
        return stopped | paused

    def _failed(self, active: Mapping[str, _Session]) -> dict[str, RunProgress]:
        """Return the runs that failed after the first active session began; that session retries earlier failures."""
        since = min((session.stored.began_at.timestamp() for session in active.values()), default=0.0)
        return {
            run_id: replace(self._progress.runs[run_id], state="failed", reason=row.reason, failed_at=row.at)
            for run_id, row in self.history.failed.items()
            if row.at >= since and run_id in self._progress.runs
        }

    def _reason(self, run_id: str) -> str:
        row = self.history.failed.get(run_id)
        return row.reason if row else ""

    def _take_pace(self, active: Mapping[str, _Session]) -> None:
        """Set each arm's pace to the mean over the active sessions, and add up the sessions' concurrent runs."""
        stored = [session.stored for session in active.values()]
        for name, arm in self._progress.arms.items():
            paces = [s.seconds_per_epoch[name] for s in stored if name in s.seconds_per_epoch]
            arm.pace.epoch.value = sum(paces) / len(paces) if paces else None
        self._progress.parallel = max(1, sum(s.parallel for s in stored))

    def _snapshot(self, active: Mapping[str, _Session], now: float) -> Snapshot:
        base = snapshot_of(self._progress, arm_curves=True, run_curves=True)
        stored = [session.stored for session in active.values()]
        return replace(
            base,
            state="complete" if base.complete else "running" if active else "idle",
            left=self._left(active, now, base.left),
            elapsed=max((session.stored.elapsed + session.age(now) for session in active.values()), default=0.0),
            quiet=base.quiet if active else None,
            resources=_shared_use(stored),
            repeated=sum(s.repeated for s in stored),
            nodes=max((s.nodes for s in stored), default=0),  # sessions on one cluster share the same nodes
            node_seconds=self._node_seconds(),
            failures=self._with_tracebacks(base.failures),
            messages=self._messages(),
            alerts=tuple(self._alerts(base, active, now)),
        )

    def _node_seconds(self) -> float:
        """Return the total uptime of all nodes in all sessions, in seconds.

        For recent sessions, the state is newer than the stored file.
        """
        found = self._store.node_time()
        for name, session in self._sessions.items():
            found[name] = max(found.get(name, 0.0), session.stored.node_seconds)
        return sum(found.values())

    @staticmethod
    def _left(active: Mapping[str, _Session], now: float, estimated: float | None) -> float | None:
        """Return the seconds left.

        If there is only one session, the session's own estimate is preferred, because it is based on more data.
        """
        sessions = list(active.values())
        if not sessions:
            return None
        if len(sessions) == 1 and sessions[0].stored.left is not None:
            return max(0.0, sessions[0].stored.left - sessions[0].age(now))
        return estimated

    def _with_tracebacks(self, failures: tuple[FailureSnapshot, ...]) -> tuple[FailureSnapshot, ...]:
        rows = self.history.failed
        newest = sorted(failures, key=lambda failure: -failure.at)[:MOST_FAILURES]
        return tuple(
            replace(failure, traceback=rows[failure.run_id].traceback) if failure.run_id in rows else failure
            for failure in newest
        )

    def _messages(self) -> tuple[Message, ...]:
        several = len(self._sessions) > 1
        found = [
            Message(message.at, f"{session.stored.host}: {message.text}" if several else message.text)
            for session in self._sessions.values()
            for message in session.stored.messages
        ]
        return tuple(sorted(found, key=lambda message: message.at)[-_MESSAGES:])

    def _alerts(self, base: Snapshot, active: Mapping[str, _Session], now: float) -> list[str]:
        found = []
        if unread := len(self.history.unread):
            found.append(f"{counted(unread, 'settled run')} not read yet; these accuracies are still missing")
        if self._unread:
            found.append(
                f"{counted(self._unread, 'session')} stored a state that this version cannot read; use the version "
                f"that runs the study"
            )
        if base.complete:
            return found
        states = [session.stored for session in active.values()]
        found += [f"{clean(state.host)}: {clean(state.outage)}" for state in states if state.outage]
        lost = [text for session in self._sessions.values() if (text := self._silence(session, active, now))]
        found += lost
        if not active and not lost:
            failed = base.count("failed")
            again = f" and retries {counted(failed, 'failed run')}" if failed else ""
            found.append(f"no driver is running; `ablate run` resumes the study{again}")
        return found

    @staticmethod
    def _silence(session: _Session, active: Mapping[str, _Session], now: float) -> str:
        """Return an alert if a session that has not ended has not stored a state for a while.

        Otherwise, return an empty value.
        """
        age, stored = session.age(now), session.stored
        who = f"the driver on {clean(stored.host)} (process {stored.process})"
        if stored.state != "running" or age < _DELAY_S:
            return ""
        if age < LOST_S:
            return f"{who} has not stored a state for {duration(age)}"
        if any(other.stored.began_at > stored.at for other in active.values()):  # a later session has taken over
            return ""
        return f"{who} has not stored a state for {duration(age)} and may have exited; `ablate run` resumes the study"


def _shared_use(states: list[SessionState]) -> dict[str, Use]:
    """Return the resources used by all sessions together; the sessions share the total."""
    names = dict.fromkeys(name for state in states for name in state.resources)
    return {
        name: Use(
            sum(state.resources[name].used for state in states if name in state.resources),
            max(state.resources[name].total for state in states if name in state.resources),
        )
        for name in names
    }
