"""How far a study is: a plain state that is told of events, each at a constant cost, however many runs there are.

Accuracies that are shown while a study runs are those on validation images: nobody should watch test accuracies of a
study whose verdict is open.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ablations.execution.events import EpochEnded, Event, Notice, RunEnded, RunRetried, RunStarted
from ablations.progress.forecast import makespan
from ablations.progress.formatting import clean, duration
from ablations.progress.outline import Outline
from ablations.progress.pace import seconds_per_epoch
from ablations.progress.parts import ArmState, RunProgress
from aimlib.records import ENDED, SETTLED, RunState

_MESSAGES = 50
_FRESH = 2.0
"""Seconds for which an estimate of the time left stands."""


class Progress:
    """State of a session: what was settled before, what is running, how long it will take.

    Parameters
    ----------
    outline : of the study's plan.
    settled : ids of the runs that were settled before.
    parallel : how many runs go at once.
    resources : what one run takes, e.g. ``{"CPU": 4, "GPU": 0.5}``.
    totals : what there is of it in all.
    expected : seconds of one run of each arm, where `ablate check` has estimated them.
    longest_first : whether the longest runs are started first; else those first that the plan has first.
    clock : seconds that never go back.

    Attributes
    ----------
    runs, arms : by run id, and by name in the order of the plan.
    active : ids of the runs that a worker has or that are tried again in a while, in the order of their start.
    failures : ids of the runs that failed, the newest last.
    messages : time (seconds since the epoch) and text, the newest last; bounded.
    repeated : attempts that were repeated.
    """

    def __init__(
        self,
        outline: Outline,
        settled: Iterable[str],
        *,
        parallel: int = 1,
        resources: Mapping[str, float] | None = None,
        totals: Mapping[str, float] | None = None,
        expected: Mapping[str, float] | None = None,
        longest_first: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.outline, self.longest_first = outline.name, outline, longest_first
        self.parallel, self.resources, self.totals = parallel, dict(resources or {}), dict(totals or {})
        self.clock, self.began = clock, clock()
        self.arms: dict[str, ArmState] = {}
        for name, planned in outline.epochs.items():
            seconds = (expected or {}).get(name)
            self.arms[name] = ArmState(
                name, None if seconds is None else seconds / planned, outline.weights.get(name, 0.0)
            )
        self.runs: dict[str, RunProgress] = {}
        self.counts: Counter[str] = Counter()
        self.active: dict[str, None] = {}
        self._waiting: dict[str, None] = {}
        self.failures: dict[str, float] = {}
        self.messages: deque[tuple[float, str]] = deque(maxlen=_MESSAGES)
        self.repeated = 0
        self.heard: float | None = None
        self._left: tuple[float, float | None] | None = None
        self._epochs_left: dict[str, list[float]] = {}
        for run_id, arm, seed in outline.runs:
            self._plan(run_id, arm, seed, outline.epochs[arm])
        self.before = 0
        for run_id in settled:
            if run_id in self.runs:
                self.before += 1
                self._move(run_id, "finished")

    def _plan(self, run_id: str, arm: str, seed: int, epochs: int) -> None:
        state = self.arms[arm]
        self.runs[run_id] = RunProgress(arm, seed, epochs)
        self.counts["waiting"] += 1
        state.counts["waiting"] += 1
        state.runs += 1
        state.epochs += epochs
        self._waiting[run_id] = None

    def recall(
        self, run_id: str, status: RunState, curve: Sequence[float | None], seconds: float | None, epochs_run: int
    ) -> None:
        """Take note of a run that was settled before, from its row in the store; optional.

        Parameters
        ----------
        status : finished, diverged or pruned.
        curve : validation accuracy after each of its epochs.
        seconds : of all its epochs.
        """
        if run_id not in self.runs:
            return
        run = self.runs[run_id]
        arm = self.arms[run.arm]
        self._move(run_id, status)
        for epoch in range(run.seen + 1, len(curve) + 1):
            arm.saw(epoch, curve[epoch - 1])
        run.seen = max(run.seen, len(curve))
        arm.pace.lengths.add(epochs_run)
        if seconds is not None and epochs_run:
            arm.pace.recalled.add(seconds / epochs_run)

    def mirror(
        self,
        run_id: str,
        state: RunState,
        *,
        epochs_done: int,
        curve: Sequence[float | None],
        accuracy: float | None,
        attempts: int,
        where: str,
        reason: str,
        began: float,
        heard: float,
    ) -> None:
        """Put an active run as another session has told of it; `began` and `heard` by this clock."""
        run = self.runs[run_id]
        arm = self.arms[run.arm]
        self._move(run_id, state)
        arm.epochs_done += epochs_done - run.epochs_done
        run.epochs_done, run.accuracy, run.attempts = epochs_done, accuracy, attempts
        run.where, run.reason, run.began, run.heard = clean(where), clean(reason), began, heard
        run.measured = epochs_done > 0
        for epoch in range(run.seen + 1, len(curve) + 1):
            arm.saw(epoch, curve[epoch - 1])
        run.curve, run.seen = list(curve), max(run.seen, len(curve))
        self.heard = heard if self.heard is None else max(self.heard, heard)

    def put(self, run_id: str, state: RunState, reason: str = "", at: float = 0.0) -> None:
        """Put a run into a state, as another session or the store has told; `at`: when it failed."""
        if self.runs[run_id].state != state or state == "failed":
            self._move(run_id, state)
        if state == "failed":
            self.runs[run_id].reason = clean(reason)
            self.failures[run_id] = at

    def handle(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case RunStarted(run_id, where):
                self._started(run_id, where)
            case EpochEnded(run_id, row):
                self._epoch_ended(run_id, row)
            case RunRetried(run_id, reason, seconds):
                self._retried(run_id, reason, seconds)
            case RunEnded(run_id, state, reason):
                self._ended(run_id, state, reason)
            case Notice(text):
                self.note(text)

    def _started(self, run_id: str, where: str) -> None:
        run = self.runs[run_id]
        run.attempts += 1
        run.where, run.reason, run.measured = clean(where), "", False
        run.began = run.heard = self.heard = self.clock()
        self._move(run_id, "running")

    def _epoch_ended(self, run_id: str, row: Mapping[str, Any]) -> None:
        run = self.runs[run_id]
        arm = self.arms[run.arm]
        now = self.clock()
        if run.state in ENDED:  # told late: how it ended counts
            return
        if run.state != "running":
            self._move(run_id, "running")
        number, accuracy, seconds = int(row["epoch"]), row.get("validation_accuracy"), float(row.get("seconds") or 0.0)
        arm.epochs_done += number - run.epochs_done
        if run.measured:  # by the clock: a worker's own seconds leave out what lies between epochs
            arm.pace.epoch.add(now - run.heard if now > run.heard else seconds)
        else:
            arm.pace.epoch.add(seconds)
            if run.attempts:
                arm.pace.overhead.add(max(0.0, now - run.heard - seconds))
        run.measured = True
        if number > len(run.curve):
            run.curve += [None] * (number - 1 - len(run.curve)) + [accuracy]
        if number > run.seen:
            run.seen = number
            arm.saw(number, accuracy)
        run.epochs_done, run.accuracy, run.heard = number, accuracy, now
        self.heard = now

    def _ended(self, run_id: str, state: RunState, reason: str) -> None:
        self.heard = self.clock()
        if state == "failed":
            self._fail(run_id, reason)
            return
        run = self.runs[run_id]
        if state in SETTLED and run.attempts:
            self.arms[run.arm].pace.lengths.add(run.epochs_done)
        self._move(run_id, state)

    def _retried(self, run_id: str, reason: str, seconds: float) -> None:
        self.repeated += 1
        self.heard = self.clock()
        self._move(run_id, "retrying")
        self.runs[run_id].reason = clean(reason)
        wait = f" in {duration(seconds)}" if seconds >= 1 else ""
        self.note(f"{self.label(run_id)}: tried again{wait}: {reason}")

    def note(self, text: str) -> None:
        """Keep a message for people."""
        self.messages.append((time.time(), clean(text)))

    def label(self, run_id: str) -> str:
        """Return a name for people of a run: arm and seed."""
        run = self.runs[run_id]
        return f"{clean(run.arm)}, seed {run.seed}"

    @property
    def equal_epoch(self) -> int:
        """The last epoch that every arm with any accuracy has reached: where arms can be looked at side by side."""
        return min((arm.deepest for arm in self.arms.values() if arm.deepest), default=0)

    @property
    def in_use(self) -> dict[str, float]:
        """What the running runs take of every resource."""
        return {name: amount * self.counts["running"] for name, amount in self.resources.items()}

    @property
    def settled(self) -> int:
        """Number of settled runs."""
        return sum(self.counts[state] for state in SETTLED)

    def seconds_left(self) -> float | None:
        """Return the expected seconds to the end of this session; None before anything is known of the pace."""
        now = self.clock()
        if self._left is None or self._left[1] is None or now - self._left[0] >= _FRESH:
            self._left = (now, self._seconds_left(now))
        return self._left[1]

    def _seconds_left(self, now: float) -> float | None:
        if not self.active and not self._waiting:
            return 0.0
        speeds = seconds_per_epoch({name: arm.pace for name, arm in self.arms.items()})
        if speeds is None:
            return None
        self._epochs_left = self._expected_epochs()
        overheads = [arm.pace.overhead.value for arm in self.arms.values() if arm.pace.overhead.value is not None]
        usual = sum(overheads) / len(overheads) if overheads else 0.0
        running = [self._run_left(self.runs[run_id], speeds, now) for run_id in self.active]
        whole = {}
        for name, arm in self.arms.items():
            start = usual if arm.pace.overhead.value is None else arm.pace.overhead.value
            whole[name] = [epochs * speeds[name] + start for epochs in self._epochs_left[name]]
        waiting = [whole[run.arm][run.epochs_done] for run in map(self.runs.__getitem__, self._waiting)]
        if self.longest_first:
            waiting.sort(reverse=True)
        return makespan(running, waiting, self.parallel)

    def _expected_epochs(self) -> dict[str, list[float]]:
        """Return for every arm how many epochs a run still has after its first 0, 1, 2, ..."""
        done: dict[str, list[int]] = {name: [] for name in self.arms}
        for run_id in self.active:
            done[self.runs[run_id].arm].append(self.runs[run_id].epochs_done)
        return {name: arm.pace.lengths.left(self.outline.epochs[name], done[name]) for name, arm in self.arms.items()}

    def run_seconds_left(self, run_id: str, speeds: Mapping[str, float]) -> float:
        """Return the expected seconds that a running run still has."""
        self.seconds_left()
        return self._run_left(self.runs[run_id], speeds, self.clock())

    def _run_left(self, run: RunProgress, speeds: Mapping[str, float], now: float) -> float:
        speed = speeds[run.arm]
        left = self._epochs_left[run.arm][min(run.epochs_done, run.epochs)] * speed
        if run.measured:
            return max(0.0, left - min(now - run.heard, speed))
        return left + (self.arms[run.arm].pace.overhead.value or 0.0)

    def _fail(self, run_id: str, reason: str) -> None:
        self._move(run_id, "failed")
        self.runs[run_id].reason = clean(reason)
        self.failures[run_id] = time.time()

    def _move(self, run_id: str, state: RunState) -> None:
        """Put a run into another state, and every count with it."""
        run = self.runs[run_id]
        arm = self.arms[run.arm]
        self.failures.pop(run_id, None)
        for counts in (self.counts, arm.counts):
            counts[run.state] -= 1
            counts[state] += 1
        if state in SETTLED:
            arm.epochs_done += run.epochs - run.epochs_done
            run.epochs_done = run.epochs
        elif run.state in SETTLED:  # told of anew, as by a repetition
            arm.epochs_done -= run.epochs_done
            run.epochs_done = 0
        if state == "waiting":
            self._waiting[run_id] = None
        else:
            self._waiting.pop(run_id, None)
        if state in ("running", "retrying"):
            self.active[run_id] = None
        else:
            self.active.pop(run_id, None)
            run.curve = []
        run.state = state
