"""From the state of a session to its picture."""

from __future__ import annotations

from collections.abc import Mapping

from ablations.progress import pace
from ablations.progress.parts import ArmState
from ablations.progress.picture import ArmPicture, FailurePicture, MessagePicture, Picture, RunPicture, UsePicture
from ablations.progress.state import Progress

MOST_RUNNING, MOST_CURVES, MOST_FAILURES = 500, 64, 50


def picture(progress: Progress, *, arm_curves: bool = False, run_curves: bool = False) -> Picture:
    """Return what there is to see of a session; its cost grows with arms and running runs, not with all runs.

    Parameters
    ----------
    arm_curves, run_curves : with validation accuracies by epoch, of every arm, and of the first `MOST_CURVES` running
        runs.
    """
    now = progress.clock()
    equal = progress.equal_epoch
    speeds = pace.seconds_per_epoch({name: arm.pace for name, arm in progress.arms.items()})
    used = progress.in_use
    return Picture.model_construct(
        study=progress.name,
        elapsed=now - progress.began,
        quiet=None if progress.heard is None else now - progress.heard,
        left=progress.seconds_left(),
        parallel=progress.parallel,
        resources={
            name: UsePicture(used=used.get(name, 0.0), total=progress.totals.get(name, 0.0))
            for name in (*progress.resources, *(other for other in progress.totals if other not in progress.resources))
        },
        repeated=progress.repeated,
        equal_epoch=equal,
        arms=tuple(_arm(arm, equal, speeds, arm_curves) for arm in progress.arms.values()),
        running=tuple(
            _run(progress, run_id, speeds, now, curve=run_curves and number < MOST_CURVES)
            for number, run_id in zip(range(MOST_RUNNING), progress.active, strict=False)
        ),
        failures=_failures(progress),
        messages=tuple(MessagePicture(at=at, text=text) for at, text in progress.messages),
    )


def _arm(arm: ArmState, equal: int, speeds: Mapping[str, float] | None, curves: bool) -> ArmPicture:
    accuracy, number = arm.accuracy(equal)
    counts = arm.counts
    return ArmPicture.model_construct(
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
        curve=tuple(_rounded(value) for value in arm.curve()) if curves else (),
    )


def _run(progress: Progress, run_id: str, speeds: Mapping[str, float] | None, now: float, *, curve: bool) -> RunPicture:
    run = progress.runs[run_id]
    return RunPicture.model_construct(
        run_id=run_id,
        arm=run.arm,
        seed=run.seed,
        state=run.state,
        epochs=run.epochs,
        epochs_done=run.epochs_done,
        accuracy=_rounded(run.accuracy),
        attempts=run.attempts,
        where=run.where,
        began=round(now - run.began, 1),
        heard=round(now - run.heard, 1),
        left=None if speeds is None else round(progress.run_seconds_left(run_id, speeds), 1),
        reason=run.reason,
        curve=tuple(_rounded(value) for value in run.curve) if curve else (),
    )


def _failures(progress: Progress) -> tuple[FailurePicture, ...]:
    newest = list(zip(range(MOST_FAILURES), reversed(progress.failures), strict=False))
    return tuple(
        FailurePicture.model_construct(
            run_id=run_id,
            arm=progress.runs[run_id].arm,
            seed=progress.runs[run_id].seed,
            reason=progress.runs[run_id].reason[:500],
            at=round(progress.failures[run_id], 1),
            traceback="",
        )
        for _, run_id in newest
    )


def _rounded(accuracy: float | None) -> float | None:
    return None if accuracy is None or accuracy != accuracy else round(accuracy, 4)  # noqa: PLR0124 -- NaN
