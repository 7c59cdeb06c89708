"""One picture of a study from all there is: the snapshots of its sessions, and what the store says is settled."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ablations.progress.formatting import clean, duration
from ablations.progress.history import History, Store
from ablations.progress.looking import MOST_FAILURES, picture
from ablations.progress.outline import Outline
from ablations.progress.picture import (
    ArmPicture,
    FailurePicture,
    MessagePicture,
    Picture,
    RunPicture,
    UsePicture,
)
from ablations.progress.snapshot import read
from ablations.progress.state import Progress
from aimlib.errors import counted
from aimlib.records import SETTLED

LOST = 180.0
"""Seconds without a new snapshot after which a driver may be gone."""
_ALIVE = 30.0
"""Seconds without a new snapshot that are nothing to speak of."""
_MESSAGES = 30


@dataclass
class _Session:
    """A session as it was seen: its picture, and the local clock when its beat last changed."""

    picture: Picture
    changed: float

    def age(self, now: float) -> float:
        return max(0.0, now - self.changed)


class Gathering:
    """Looks at a study from outside.

    Parameters
    ----------
    directory : of the study.
    store : the same, as a store.
    document : the study's plan, as the store has it.
    clock, wall : seconds that never go back, and seconds since the epoch.

    Attributes
    ----------
    history : rows of settled and failed runs.
    alive : number of sessions with a recent sign of life at the last look.
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
        self._mirrored: dict[str, None] = {}
        self._unread = 0
        self.alive = 0
        self.ended = False

    def look(self, seconds: float = float("inf")) -> Picture:
        """Return the picture of this moment.

        Parameters
        ----------
        seconds : for which rows of settled runs are read; the rest comes with the next looks.

        Raises
        ------
        StoreError: a file of the store is broken.
        """
        now = self._clock()
        self._see(now)
        living = {name: s for name, s in self._sessions.items() if s.picture.state == "running" and s.age(now) < LOST}
        self.ended = self.ended or any(name not in living for name in getattr(self, "_lived", ()))
        self._lived = set(living)
        self.alive = len(living)
        for row in self.history.look(seconds):
            self._progress.recall(row.run_id, row.status, row.curve, row.seconds, row.epochs_run)
        for run_id in self.history.unread & self._progress.runs.keys():
            self._progress.put(run_id, "finished")
        self._mirror(living, now)
        self._fail(living)
        return self._picture(living, now)

    def _see(self, now: float) -> None:
        """Take the snapshots in. A beat that changes is a sign of life, whatever the clock of its machine says."""
        found, self._unread = {}, 0
        for document in self._store.live():
            shown = read(document)
            if shown is None:
                self._unread += 1
                continue
            before = self._sessions.get(shown.session)
            if before is None:
                changed = now - max(0.0, self._wall() - _seconds(shown.at))
            else:
                changed = before.changed if before.picture.beat == shown.beat else now
            found[shown.session] = _Session(shown, changed)
        self._sessions = found

    def _mirror(self, living: Mapping[str, _Session], now: float) -> None:
        progress = self._progress
        seen: dict[str, tuple[RunPicture, float]] = {}
        for session in sorted(living.values(), key=lambda s: -s.age(now)):  # the freshest has the last word
            seen |= {run.run_id: (run, session.age(now)) for run in session.picture.running}
        for run_id in self._mirrored.keys() - seen.keys():
            if progress.runs[run_id].state not in SETTLED:
                progress.put(run_id, "waiting")
        self._mirrored = dict.fromkeys(
            each for each in seen if each in progress.runs and progress.runs[each].state not in SETTLED
        )
        for run_id in self._mirrored:
            run, age = seen[run_id]
            progress.mirror(
                run_id,
                run.state if run.state in ("running", "retrying") else "running",
                epochs_done=min(run.epochs_done, progress.runs[run_id].epochs),
                curve=run.curve,
                accuracy=run.accuracy,
                attempts=run.attempts,
                where=run.where,
                reason=run.reason,
                began=now - age - run.began,
                heard=now - age - run.heard,
            )
        told = _by_name([session.picture for session in living.values()])
        for name, arm in progress.arms.items():
            paces = [other.pace for other in told.get(name, ()) if other.pace]
            arm.pace.epoch.value = sum(paces) / len(paces) if paces else None
        progress.parallel = max(1, sum(session.picture.parallel for session in living.values()))

    def _fail(self, living: Mapping[str, _Session]) -> None:
        """Put those as failed that failed in a living session, or, where there is none, in any.

        A session tries again what had failed before it.
        """
        progress = self._progress
        since = min((_seconds(session.picture.began_at) for session in living.values()), default=0.0)
        told = {f.run_id: f for session in living.values() for f in session.picture.failures}
        failed = {
            run_id: (row.reason, row.at)
            for run_id, row in sorted(self.history.failed.items(), key=lambda item: item[1].at)
            if row.at >= since
        } | {run_id: (f.reason or self._why(run_id), f.at) for run_id, f in told.items()}
        for run_id in [run_id for run_id in progress.failures if run_id not in failed]:
            progress.put(run_id, "waiting")
        for run_id, (reason, at) in failed.items():
            if run_id in progress.runs and run_id not in self._mirrored and progress.runs[run_id].state not in SETTLED:
                progress.put(run_id, "failed", reason, at)

    def _why(self, run_id: str) -> str:
        row = self.history.failed.get(run_id)
        return row.reason if row else ""

    def _picture(self, living: Mapping[str, _Session], now: float) -> Picture:
        base = picture(self._progress, arm_curves=True, run_curves=True)
        pictures = [session.picture for session in living.values()]
        told = _by_name(pictures)
        left = None
        if len(pictures) == 1 and pictures[0].left is not None:
            left = max(0.0, pictures[0].left - next(iter(living.values())).age(now))
        elif pictures:
            left = base.left
        state = "complete" if base.complete else "running" if living else "idle"
        return base.model_copy(
            update={
                "state": state,
                "left": left,
                "at": datetime.fromtimestamp(self._wall()).astimezone().isoformat(timespec="seconds"),
                "elapsed": max((p.elapsed + s.age(now) for s in living.values() for p in [s.picture]), default=0.0),
                "quiet": base.quiet if living else None,
                "resources": _uses(pictures),
                "repeated": sum(p.repeated for p in pictures),
                "arms": tuple(_with_parked(arm, told.get(arm.name, ())) for arm in base.arms),
                "failures": self._with_tracebacks(base.failures),
                "messages": self._messages(),
                "alerts": tuple(self._alerts(base, living, now)),
            }
        )

    def _with_tracebacks(self, failures: tuple[FailurePicture, ...]) -> tuple[FailurePicture, ...]:
        rows = self.history.failed
        newest = sorted(failures, key=lambda failure: -failure.at)[:MOST_FAILURES]
        return tuple(
            failure.model_copy(update={"traceback": rows[failure.run_id].traceback})
            if failure.run_id in rows
            else failure
            for failure in newest
        )

    def _messages(self) -> tuple[MessagePicture, ...]:
        several = len(self._sessions) > 1
        found = [
            MessagePicture(at=m.at, text=f"{s.picture.host}: {m.text}" if several else m.text)
            for s in self._sessions.values()
            for m in s.picture.messages
        ]
        return tuple(sorted(found, key=lambda message: message.at)[-_MESSAGES:])

    def _alerts(self, base: Picture, living: Mapping[str, _Session], now: float) -> list[str]:
        found = []
        if unread := len(self.history.unread):
            found.append(f"{counted(unread, 'settled run')} still to be read: their accuracies are not in yet")
        if self._unread:
            found.append(
                f"{counted(self._unread, 'session')} left a snapshot that this version cannot read: watch with the "
                f"version that runs the study"
            )
        for session in self._sessions.values():
            age, shown = session.age(now), session.picture
            who = f"the driver on {clean(shown.host)} (process {shown.process})"
            if shown.state != "running" or base.complete or age < _ALIVE:
                continue
            if age < LOST:
                found.append(f"no sign of life for {duration(age)} of {who}")
            elif not self._superseded(session, living):
                found.append(
                    f"no sign of life for {duration(age)}: {who} may be gone; `ablate run` again goes on from here"
                )
        if not living and not base.complete and not any("may be gone" in alert for alert in found):
            failed = base.count("failed")
            again = f": {counted(failed, 'failed run')} would be tried again" if failed else ""
            found.append(f"no driver is running; `ablate run` goes on from here{again}")
        return found

    def _superseded(self, lost: _Session, living: Mapping[str, _Session]) -> bool:
        """Tell whether a session that lives began after the lost one had last been heard of."""
        return any(_seconds(s.picture.began_at) > _seconds(lost.picture.at) for s in living.values())


def _uses(pictures: list[Picture]) -> dict[str, UsePicture]:
    """Return what all sessions use; they share what there is."""
    names = dict.fromkeys(name for p in pictures for name in p.resources)
    return {
        name: UsePicture(
            used=sum(p.resources[name].used for p in pictures if name in p.resources),
            total=max(p.resources[name].total for p in pictures if name in p.resources),
        )
        for name in names
    }


def _by_name(pictures: list[Picture]) -> dict[str, list[ArmPicture]]:
    """Return what each session tells of an arm, by the arm's name."""
    found: dict[str, list[ArmPicture]] = {}
    for shown in pictures:
        for arm in shown.arms:
            found.setdefault(arm.name, []).append(arm)
    return found


def _with_parked(arm: ArmPicture, told: Sequence[ArmPicture]) -> ArmPicture:
    """Return an arm with the runs that sessions have paused or stopped, which for the store only wait."""
    paused = min(arm.waiting, sum(other.paused for other in told))
    stopped = min(arm.waiting - paused, sum(other.stopped for other in told))
    if not paused and not stopped:
        return arm
    return arm.model_copy(update={"paused": paused, "stopped": stopped, "waiting": arm.waiting - paused - stopped})


def _seconds(time_utc: str) -> float:
    try:
        return datetime.fromisoformat(time_utc).timestamp()
    except ValueError:
        return 0.0
