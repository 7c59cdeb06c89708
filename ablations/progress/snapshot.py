"""`Snapshot`: the state of a study at one point in time as plain values, with everything that a view shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ablations.progress.eta import seconds_per_epoch
from ablations.progress.session_state import MOST_ACTIVE, MOST_CURVES, MOST_FAILURES, Message, Use, rounded
from ablations.progress.state import ArmProgress, Progress
from aimlib.records import RunState


@dataclass(frozen=True, slots=True)
class ArmSnapshot:
    """One arm: the number of runs in each state, epochs, accuracy and pace.

    `settled` counts finished, diverged and pruned runs. `accuracy` is the mean accuracy of `accuracy_runs` runs after
    `equal_epoch`, `curve` is the mean accuracy after every epoch, and `pace` is in seconds per epoch.
    """

    name: str
    runs: int
    settled: int = 0
    diverged: int = 0
    pruned: int = 0
    running: int = 0
    waiting: int = 0
    held: int = 0
    failed: int = 0
    paused: int = 0
    stopped: int = 0
    epochs: int = 0
    epochs_done: int = 0
    accuracy: float | None = None
    accuracy_runs: int = 0
    pace: float | None = None
    curve: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """One active run.

    `began` and `heard` are the seconds since the start of the current attempt and since its last event.
    """

    run_id: str
    arm: str
    seed: int
    epochs: int
    epochs_done: int
    state: RunState = "running"
    accuracy: float | None = None
    attempts: int = 1
    where: str = ""
    began: float = 0.0
    heard: float = 0.0
    left: float | None = None
    reason: str = ""
    curve: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class FailureSnapshot:
    """One failed run, with `at` in seconds since the epoch. The traceback is empty unless the store was read."""

    run_id: str
    arm: str
    seed: int
    reason: str = ""
    at: float = 0.0
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """State of a study at one point in time.

    Attributes
    ----------
    state : running, idle (no driver is active) or complete.
    elapsed, quiet, left : seconds since the session started, seconds since the last event from any run, and expected
        seconds until the end.
    repeated : number of repeated attempts.
    nodes : current number of nodes in the cluster; 0 if unknown.
    node_seconds : total uptime of all nodes in all sessions.
    equal_epoch : epoch after which arms are compared; 0 if there is no accuracy yet.
    running : runs that are active or being retried, at most `MOST_ACTIVE`.
    failures : the newest failures.
    messages : messages, the newest last.
    alerts : problems with the study's sessions.
    """

    study: str
    state: str = "running"
    elapsed: float = 0.0
    quiet: float | None = None
    left: float | None = None
    resources: Mapping[str, Use] = field(default_factory=dict)
    repeated: int = 0
    nodes: int = 0
    node_seconds: float = 0.0
    equal_epoch: int = 0
    arms: tuple[ArmSnapshot, ...] = ()
    running: tuple[RunSnapshot, ...] = ()
    failures: tuple[FailureSnapshot, ...] = ()
    messages: tuple[Message, ...] = ()
    alerts: tuple[str, ...] = ()

    def count(self, state: str) -> int:
        """Return the sum of a field (runs, settled, running, waiting, failed, ...) over all arms."""
        return sum(getattr(arm, state) for arm in self.arms)

    @property
    def share(self) -> float:
        """Fraction of all planned epochs that are done; every epoch of a settled run counts as done."""
        epochs = self.count("epochs")
        return self.count("epochs_done") / epochs if epochs else 1.0

    @property
    def complete(self) -> bool:
        """Whether every run is settled."""
        return self.count("settled") == self.count("runs")


def snapshot_of(progress: Progress, *, arm_curves: bool = False, run_curves: bool = False) -> Snapshot:
    """Return a snapshot of a session.

    Its cost grows with the number of arms and active runs, not with the total number of runs.

    Parameters
    ----------
    arm_curves, run_curves : whether to include validation accuracies by epoch, for every arm and for the first
        `MOST_CURVES` active runs.
    """
    now = progress.clock()
    equal = progress.equal_epoch
    speeds = seconds_per_epoch({name: arm.pace for name, arm in progress.arms.items()})
    return Snapshot(
        study=progress.name,
        elapsed=now - progress.began,
        quiet=None if progress.heard is None else now - progress.heard,
        left=progress.seconds_left(),
        resources=progress.use,
        repeated=progress.repeated,
        nodes=progress.nodes,
        node_seconds=progress.node_seconds,
        equal_epoch=equal,
        arms=tuple(_arm(arm, equal, speeds, arm_curves) for arm in progress.arms.values()),
        running=tuple(
            _run(progress, run_id, speeds, now, curve=run_curves and number < MOST_CURVES)
            for number, run_id in zip(range(MOST_ACTIVE), progress.active, strict=False)
        ),
        failures=_failures(progress),
        messages=tuple(progress.messages),
    )


def _arm(arm: ArmProgress, equal: int, speeds: Mapping[str, float] | None, curves: bool) -> ArmSnapshot:
    accuracy, number = arm.accuracy(equal)
    counts = arm.counts
    return ArmSnapshot(
        name=arm.name,
        runs=arm.runs,
        settled=counts["finished"] + counts["diverged"] + counts["pruned"],
        diverged=counts["diverged"],
        pruned=counts["pruned"],
        running=counts["running"],
        waiting=counts["waiting"] + counts["retrying"],
        held=counts["held"],
        failed=counts["failed"],
        paused=counts["paused"],
        stopped=counts["stopped"],
        epochs=arm.epochs,
        epochs_done=arm.epochs_done,
        accuracy=accuracy,
        accuracy_runs=number,
        pace=None if speeds is None or arm.pace.epoch.value is None else speeds[arm.name],
        curve=tuple(rounded(value) for value in arm.curve()) if curves else (),
    )


def _run(
    progress: Progress, run_id: str, speeds: Mapping[str, float] | None, now: float, *, curve: bool
) -> RunSnapshot:
    run = progress.runs[run_id]
    return RunSnapshot(
        run_id=run_id,
        arm=run.arm,
        seed=run.seed,
        state=run.state,
        epochs=run.epochs,
        epochs_done=run.epochs_done,
        accuracy=rounded(run.accuracy),
        attempts=run.attempts,
        where=run.where,
        began=round(now - run.began, 1),
        heard=round(now - run.heard, 1),
        left=None if speeds is None else round(progress.time_left.run(run_id, speeds), 1),
        reason=run.reason,
        curve=tuple(rounded(value) for value in run.curve) if curve else (),
    )


def _failures(progress: Progress) -> tuple[FailureSnapshot, ...]:
    newest = list(zip(range(MOST_FAILURES), reversed(progress.failures), strict=False))
    return tuple(
        FailureSnapshot(
            run_id=run_id,
            arm=progress.runs[run_id].arm,
            seed=progress.runs[run_id].seed,
            reason=progress.runs[run_id].reason,
            at=round(progress.failures[run_id], 1),
        )
        for _, run_id in newest
    )
