"""The state of a study from all there is: the stored states of its sessions, and what the store says is settled."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ablations.progress.formatting import clean, duration
from ablations.progress.history import History, Outline, Store
from ablations.progress.session_state import MOST_FAILURES, Message, RunProgress, SessionState, Use, read
from ablations.progress.snapshot import FailureSnapshot, Snapshot, snapshot_of
from ablations.progress.state import Progress
from aimlib.errors import counted

LOST_S = 180.0
"""A driver may be gone that has stored no new state for so long."""
_ALIVE_S = 30.0
"""So long without a new state is nothing to speak of."""
_MESSAGES = 30


@dataclass
class _Session:
    """A session as it was seen: its state, and the local clock when its beat last changed."""

    stored: SessionState
    changed: float

    def age(self, now: float) -> float:
        return max(0.0, now - self.changed)

    def lives(self, now: float) -> bool:
        return self.stored.state == "running" and self.age(now) < LOST_S


class StudyState:
    """The state of a study as it is seen from outside.

    Parameters
    ----------
    directory : of the study.
    store : the same, as a store.
    document : the study's plan, as the store has it.
    clock, wall : seconds that never go back, and seconds since the epoch.

    Attributes
    ----------
    history : rows of settled and failed runs.
    alive : number of sessions with a recent sign of life at the last poll.
    ended : whether a session that was seen alive has ended in order since.
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
        self._living: set[str] = set()
        self._unread = 0
        self.ended = False

    @property
    def alive(self) -> int:
        """Number of sessions with a recent sign of life at the last poll."""
        return len(self._living)

    def poll(self, seconds: float = float("inf")) -> Snapshot:
        """Read what is new, and return what there is to show.

        Parameters
        ----------
        seconds : for which rows of settled runs are read; the rest comes with the next polls.

        Raises
        ------
        StoreError: a file of the store is broken.
        """
        now = self._clock()
        self._read_sessions(now)
        living = {name: session for name, session in self._sessions.items() if session.lives(now)}
        self.ended = self.ended or not self._living <= living.keys()
        self._living = set(living)
        for row in self.history.poll(seconds):
            self._progress.recall(row.run_id, row.status, row.curve, row.seconds, row.epochs_run)
        self._progress.settle(self.history.unread)
        self._progress.restore(self._runs(living, now))
        self._take_pace(living)
        return self._snapshot(living, now)

    def _read_sessions(self, now: float) -> None:
        """Read the states of sessions. A beat that changes is a sign of life, whatever the clock there says."""
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

    def _runs(self, living: Mapping[str, _Session], now: float) -> dict[str, RunProgress]:
        """Return what is known of runs that neither wait nor are settled; the freshest session has the last word."""
        sessions = sorted(living.values(), key=lambda session: -session.age(now))
        told = {
            run_id: replace(run, began=now - session.age(now) - run.began, heard=now - session.age(now) - run.heard)
            for session in sessions
            for run_id, run in session.stored.runs.items()
        }
        active = {run_id: run for run_id, run in told.items() if run.state in ("running", "retrying")}
        failed = self._failed(living) | {
            run_id: replace(run, reason=run.reason or self._reason(run_id))
            for run_id, run in told.items()
            if run.state == "failed"
        }
        by_time = dict(sorted(failed.items(), key=lambda item: item[1].failed_at))
        return self._parked(living) | by_time | active

    def _parked(self, living: Mapping[str, _Session]) -> dict[str, RunProgress]:
        """Return the runs that sessions have paused or stopped, which for the store only wait."""
        runs = self._progress.runs
        stored = [session.stored for session in living.values()]
        stopped = {
            run_id: replace(runs[run_id], state="stopped") for s in stored for run_id in s.stopped if run_id in runs
        }
        paused = {
            run_id: replace(runs[run_id], state="paused") for s in stored for run_id in s.paused if run_id in runs
        }
        return stopped | paused

    def _failed(self, living: Mapping[str, _Session]) -> dict[str, RunProgress]:
        """Return the runs that failed since the first living session began; it retries earlier ones."""
        since = min((session.stored.began_at.timestamp() for session in living.values()), default=0.0)
        return {
            run_id: replace(self._progress.runs[run_id], state="failed", reason=row.reason, failed_at=row.at)
            for run_id, row in self.history.failed.items()
            if row.at >= since and run_id in self._progress.runs
        }

    def _reason(self, run_id: str) -> str:
        row = self.history.failed.get(run_id)
        return row.reason if row else ""

    def _take_pace(self, living: Mapping[str, _Session]) -> None:
        """Let arms be as fast as living sessions measured on average, and as many runs go at once as in all of them."""
        stored = [session.stored for session in living.values()]
        for name, arm in self._progress.arms.items():
            paces = [s.seconds_per_epoch[name] for s in stored if name in s.seconds_per_epoch]
            arm.pace.epoch.value = sum(paces) / len(paces) if paces else None
        self._progress.parallel = max(1, sum(s.parallel for s in stored))

    def _snapshot(self, living: Mapping[str, _Session], now: float) -> Snapshot:
        base = snapshot_of(self._progress, arm_curves=True, run_curves=True)
        stored = [session.stored for session in living.values()]
        return replace(
            base,
            state="complete" if base.complete else "running" if living else "idle",
            left=self._left(living, now, base.left),
            elapsed=max((session.stored.elapsed + session.age(now) for session in living.values()), default=0.0),
            quiet=base.quiet if living else None,
            resources=_shared_use(stored),
            repeated=sum(s.repeated for s in stored),
            failures=self._with_tracebacks(base.failures),
            messages=self._messages(),
            alerts=tuple(self._alerts(base, living, now)),
        )

    @staticmethod
    def _left(living: Mapping[str, _Session], now: float, estimated: float | None) -> float | None:
        """Return the seconds left, as told by a session that is alone: it knows more of its runs than is stored."""
        sessions = list(living.values())
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

    def _alerts(self, base: Snapshot, living: Mapping[str, _Session], now: float) -> list[str]:
        found = []
        if unread := len(self.history.unread):
            found.append(f"{counted(unread, 'settled run')} still to be read: their accuracies are not in yet")
        if self._unread:
            found.append(
                f"{counted(self._unread, 'session')} stored a state that this version cannot read: watch with the "
                f"version that runs the study"
            )
        if base.complete:
            return found
        lost = [text for session in self._sessions.values() if (text := self._silence(session, living, now))]
        found += lost
        if not living and not any("may be gone" in text for text in lost):
            failed = base.count("failed")
            again = f": {counted(failed, 'failed run')} would be tried again" if failed else ""
            found.append(f"no driver is running; `ablate run` goes on from here{again}")
        return found

    @staticmethod
    def _silence(session: _Session, living: Mapping[str, _Session], now: float) -> str:
        """Return what is to be said of a session that has given no sign of life for a while; nothing where it ended."""
        age, stored = session.age(now), session.stored
        who = f"the driver on {clean(stored.host)} (process {stored.process})"
        if stored.state != "running" or age < _ALIVE_S:
            return ""
        if age < LOST_S:
            return f"no sign of life for {duration(age)} of {who}"
        if any(other.stored.began_at > stored.at for other in living.values()):  # that has taken over
            return ""
        return f"no sign of life for {duration(age)}: {who} may be gone; `ablate run` again goes on from here"


def _shared_use(states: list[SessionState]) -> dict[str, Use]:
    """Return what all sessions use; they share what there is."""
    names = dict.fromkeys(name for state in states for name in state.resources)
    return {
        name: Use(
            sum(state.resources[name].used for state in states if name in state.resources),
            max(state.resources[name].total for state in states if name in state.resources),
        )
        for name in names
    }
