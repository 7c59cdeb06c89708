"""`Progress`: the state of a session, updated by each event at a cost that does not depend on the number of runs.

While a study is running, only validation accuracies are shown, because test accuracies must not be watched before the
verdict.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ablations.execution.events import EpochEnded, Event, NodesChanged, Notice, RunEnded, RunRetried, RunStarted
from ablations.progress.eta import Pace, TimeLeft
from ablations.progress.history import Outline
from ablations.progress.session_state import Message, RunProgress, Use
from ablations.spec.durations import duration
from ablations.spec.short_names import clean
from aimlib.records import ENDED, SETTLED, RunState

_MESSAGES = 50


class ArmProgress:
    """Progress of one arm: counts, and the sum of validation accuracies after every epoch."""

    def __init__(self, name: str, expected: float | None = None, weight: float = 0.0) -> None:
        self.name = name
        self.counts: Counter[str] = Counter()
        self.runs = self.epochs = 0
        self.epochs_done = 0
        self.pace = Pace(expected, weight)
        self._sums: list[float] = []
        self._numbers: list[int] = []

    def saw(self, epoch: int, accuracy: float | None) -> None:
        """Add the validation accuracy of one run after one epoch; epochs are counted from 1."""
        if accuracy is None or accuracy != accuracy:  # noqa: PLR0124 -- NaN
            return
        while len(self._sums) < epoch:
            self._sums.append(0.0)
            self._numbers.append(0)
        self._sums[epoch - 1] += accuracy
        self._numbers[epoch - 1] += 1

    @property
    def deepest(self) -> int:
        """The last epoch with an accuracy, or 0 if there is none."""
        return len(self._sums)

    def accuracy(self, epoch: int) -> tuple[float | None, int]:
        """Return the mean validation accuracy after an epoch and the number of runs in the mean, or ``(None, 0)``."""
        if not 1 <= epoch <= len(self._sums) or not self._numbers[epoch - 1]:
            return None, 0
        return self._sums[epoch - 1] / self._numbers[epoch - 1], self._numbers[epoch - 1]

    def curve(self) -> list[float | None]:
        """Return the mean validation accuracy after every epoch."""
        return [self.accuracy(epoch)[0] for epoch in range(1, self.deepest + 1)]


class Progress:
    """State of a session: settled, running, waiting and failed runs.

    Parameters
    ----------
    outline : outline of the study's plan.
    settled : ids of the runs settled in earlier sessions.
    parallel : number of concurrent runs.
    resources : resources of one run, e.g. ``{"CPU": 4, "GPU": 0.5}``.
    totals : total amounts of these resources.
    expected : duration of one run of each arm in seconds, if estimated by `ablate check`.
    longest_first : whether the longest runs are started first, instead of in plan order.
    clock : monotonic clock, in seconds.

    Attributes
    ----------
    runs, arms : progress by run id, and by arm name in plan order.
    active : ids of the runs assigned to a worker or waiting to be retried, in the order in which they started.
    waiting : ids of the runs that have not started, in plan order.
    failures : ids of the failed runs, the newest last.
    messages : a bounded number of messages, the newest last.
    repeated : number of repeated attempts.
    nodes : number of nodes in the cluster; 0 if no executor has reported it.
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
        self.name, self.outline = outline.name, outline
        self.parallel, self.resources, self.totals = parallel, dict(resources or {}), dict(totals or {})
        self.clock, self.began = clock, clock()
        self.arms: dict[str, ArmProgress] = {}
        for name, planned in outline.epochs.items():
            seconds = (expected or {}).get(name)
            self.arms[name] = ArmProgress(
                name, None if seconds is None else seconds / planned, outline.weights.get(name, 0.0)
            )
        self.runs: dict[str, RunProgress] = {}
        self.counts: Counter[str] = Counter()
        self.active: dict[str, None] = {}
        self.waiting: dict[str, None] = {}
        self.failures: dict[str, float] = {}
        self.messages: deque[Message] = deque(maxlen=_MESSAGES)
        self.repeated = self.nodes = 0
        self._node_seconds, self._nodes_since = 0.0, self.began
        self.heard: float | None = None
        self._restored: set[str] = set()
        for run_id, arm, seed in outline.runs:
            self._plan(run_id, arm, seed, outline.epochs[arm])
        paces = {name: arm.pace for name, arm in self.arms.items()}
        self.time_left = TimeLeft(
            outline.epochs, paces, self.runs, self.active, self.waiting, clock, longest_first=longest_first
        )
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
        self.waiting[run_id] = None

    def recall(
        self, run_id: str, status: RunState, curve: Sequence[float | None], seconds: float | None, epochs_run: int
    ) -> None:
        """Record the details of a run settled in an earlier session, from its row in the store; this is optional.

        Parameters
        ----------
        status : finished, diverged or pruned.
        curve : validation accuracy after each of the run's epochs.
        seconds : total duration of its epochs, or None if this study did not compute the run.
        epochs_run : number of its epochs.
        """
        if run_id not in self.runs:
            return
        run = self.runs[run_id]
        arm = self.arms[run.arm]
        self._move(run_id, status)
        self._see(run, curve)
        arm.pace.lengths.add(epochs_run)
        if seconds is not None and epochs_run:
            arm.pace.recalled.add(seconds / epochs_run)

    def settle(self, run_ids: Iterable[str]) -> None:
        """Mark runs as settled although their rows have not been read yet."""
        for run_id in run_ids:
            if run_id in self.runs and self.runs[run_id].state not in SETTLED:
                self._move(run_id, "finished")

    def restore(self, runs: Mapping[str, RunProgress]) -> None:
        """Adopt the stored states of runs, and convert their times to this clock.

        Runs that were restored earlier but are missing now return to waiting. Settled runs stay settled.
        """
        for run_id in self._restored - runs.keys():
            if self.runs[run_id].state not in SETTLED:
                self._move(run_id, "waiting")
        self._restored = {each for each in runs if each in self.runs and self.runs[each].state not in SETTLED}
        for run_id in runs:
            if run_id in self._restored:
                self._restore(run_id, runs[run_id])

    def _restore(self, run_id: str, stored: RunProgress) -> None:
        run = self.runs[run_id]
        arm = self.arms[run.arm]
        epochs_done = min(stored.epochs_done, run.epochs)
        self._move(run_id, stored.state)
        arm.epochs_done += epochs_done - run.epochs_done
        self._see(run, stored.curve)
        self.runs[run_id] = replace(
            stored,
            arm=run.arm,
            seed=run.seed,
            epochs=run.epochs,
            epochs_done=epochs_done,
            measured=epochs_done > 0,
            where=clean(stored.where),
            reason=clean(stored.reason),
            curve=list(stored.curve) if stored.state in ("running", "retrying") else [],
            seen=run.seen,
        )
        if stored.state == "failed":
            self.failures[run_id] = stored.failed_at
        if stored.state in ("running", "retrying"):
            self.heard = stored.heard if self.heard is None else max(self.heard, stored.heard)

    def _see(self, run: RunProgress, curve: Sequence[float | None]) -> None:
        """Add a run's new accuracies to its arm."""
        for epoch in range(run.seen + 1, len(curve) + 1):
            self.arms[run.arm].saw(epoch, curve[epoch - 1])
        run.seen = max(run.seen, len(curve))

    def handle(self, event: Event) -> None:
        """Update the state from an event."""
        match event:
            case RunStarted(run_id, where):
                self._started(run_id, where)
            case EpochEnded(run_id, row):
                self._epoch_ended(run_id, row)
            case RunRetried(run_id, reason, seconds):
                self._retried(run_id, reason, seconds)
            case RunEnded(run_id, state, reason):
                self._ended(run_id, state, reason)
            case NodesChanged():
                self._nodes_changed(event)
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
        if run.state in ENDED:  # a late event must not reopen a run that has ended
            return
        if run.state != "running":
            self._move(run_id, "running")
        number, accuracy, seconds = int(row["epoch"]), row.get("validation_accuracy"), float(row.get("seconds") or 0.0)
        arm.epochs_done += number - run.epochs_done
        if run.measured:  # with the clock, because the seconds reported by a worker exclude the time between epochs
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
        self.note(f"{self.label(run_id)}: retrying{wait}: {reason}")

    def note(self, text: str) -> None:
        """Add a human-readable message."""
        self.messages.append(Message(time.time(), clean(text)))

    def label(self, run_id: str) -> str:
        """Return a readable name for a run, with its arm and seed."""
        run = self.runs[run_id]
        return f"{clean(run.arm)}, seed {run.seed}"

    def _nodes_changed(self, event: NodesChanged) -> None:
        self._node_seconds = self.node_seconds
        self.nodes, self._nodes_since = event.nodes, self.clock()
        self.totals |= event.totals
        self.parallel = max(1, min(event.parallel, len(self.runs)))

    @property
    def node_seconds(self) -> float:
        """Total uptime of all nodes so far, in seconds."""
        return self._node_seconds + self.nodes * (self.clock() - self._nodes_since)

    @property
    def equal_epoch(self) -> int:
        """The last epoch reached by every arm that has an accuracy; arms can be compared after this epoch."""
        return min((arm.deepest for arm in self.arms.values() if arm.deepest), default=0)

    @property
    def use(self) -> dict[str, Use]:
        """Amount of each resource used by the running runs, and the total amount of the resource."""
        running = self.counts["running"]
        names = dict.fromkeys((*self.resources, *self.totals))
        return {name: Use(self.resources.get(name, 0.0) * running, self.totals.get(name, 0.0)) for name in names}

    @property
    def settled(self) -> int:
        """Number of settled runs."""
        return sum(self.counts[state] for state in SETTLED)

    def in_state(self, state: RunState) -> tuple[str, ...]:
        """Return the ids of the runs in a state; do not search if there are none."""
        return tuple(run_id for run_id, run in self.runs.items() if run.state == state) if self.counts[state] else ()

    def seconds_left(self) -> float | None:
        """Return the expected seconds until this session ends, or None while no pace is known."""
        return self.time_left.session(self.parallel)

    def _fail(self, run_id: str, reason: str) -> None:
        self._move(run_id, "failed")
        run = self.runs[run_id]
        run.reason, run.failed_at = clean(reason), time.time()
        self.failures[run_id] = run.failed_at

    def _move(self, run_id: str, state: RunState) -> None:
        """Change a run's state and update all counts."""
        run = self.runs[run_id]
        arm = self.arms[run.arm]
        self.failures.pop(run_id, None)
        for counts in (self.counts, arm.counts):
            counts[run.state] -= 1
            counts[state] += 1
        if state in SETTLED:
            arm.epochs_done += run.epochs - run.epochs_done
            run.epochs_done = run.epochs
        elif run.state in SETTLED:  # the epoch was reported again, for example by a repeated run
            arm.epochs_done -= run.epochs_done
            run.epochs_done = 0
        if state == "waiting":
            self.waiting[run_id] = None
        else:
            self.waiting.pop(run_id, None)
        if state in ("running", "retrying"):
            self.active[run_id] = None
        else:
            self.active.pop(run_id, None)
            run.curve = []
        run.state = state
