"""A picture of a study at one moment: all that a view shows, as plain values. `snapshot` is its JSON document.

Keys of the document, `SCHEMA_VERSION` 1 (times in seconds; accuracies as fractions, of validation images, never of test
images):

* ``schema_version``, ``study``, ``session`` (its id), ``host``, ``process``, ``began_at`` and ``at`` (UTC, ISO 8601)
* ``beat``: raised with every snapshot: who sees it change knows that the session lives, whatever its clock says;
  ``every``: seconds between snapshots; ``state``: running, or ended
* ``elapsed``; ``quiet``: since the last event of any run, or null; ``left``: expected to the end, or null
* ``parallel``: runs at once; ``resources``: by name, what is used and what there is; ``repeated``: attempts
* ``equal_epoch``: the epoch after which arms are compared; 0 where there is no accuracy yet
* ``arms``: a list, see `ArmPicture`; settled runs are only counted
* ``running``: a list, see `RunPicture`, of at most `MOST_RUNNING`; those of state ``again`` are tried again in a while
* ``failures``: a list of the newest, see `FailurePicture`; ``messages``: a list of ``at`` (seconds since the epoch) and
  ``text``, the newest last; ``alerts``: texts, of who watches several sessions
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ablations.sight import pace
from ablations.sight.state import ArmState, Progress

SCHEMA_VERSION = 1
MOST_RUNNING = 500
MOST_CURVES = 64
MOST_FAILURES = 50


class _Shown(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ArmPicture(_Shown):
    """One arm: numbers of runs by state, epochs, and what is known of accuracy and pace.

    `settled` are finished, diverged and pruned together. `accuracy` is the mean after `equal_epoch` over
    `accuracy_runs` runs, `curve` the mean after every epoch, `pace` seconds per epoch.
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


class RunPicture(_Shown):
    """One running run. `began` and `heard`: seconds since its attempt's start and since its last sign of life."""

    run_id: str
    arm: str
    seed: int
    state: str = "running"
    epochs: int
    epochs_done: int
    accuracy: float | None = None
    attempts: int = 1
    where: str = ""
    began: float = 0.0
    heard: float = 0.0
    left: float | None = None
    reason: str = ""
    curve: tuple[float | None, ...] = ()


class FailurePicture(_Shown):
    """One failed run: `at` in seconds since the epoch; the traceback where the store was asked."""

    run_id: str
    arm: str
    seed: int
    reason: str = ""
    at: float = 0.0
    traceback: str = ""


class MessagePicture(_Shown):
    """A message for people, and when it came, in seconds since the epoch."""

    at: float
    text: str


class UsePicture(_Shown):
    """How much of a resource is used, of how much there is; 0 where that is not known."""

    used: float
    total: float = 0.0


class Picture(_Shown):
    """A study at one moment; the module's docstring explains every field."""

    schema_version: int = SCHEMA_VERSION
    study: str
    session: str = ""
    host: str = ""
    process: int = 0
    began_at: str = ""
    at: str = ""
    beat: int = 0
    every: float = 5.0
    state: str = "running"
    elapsed: float = 0.0
    quiet: float | None = None
    left: float | None = None
    parallel: int = 1
    resources: Mapping[str, UsePicture] = {}
    repeated: int = 0
    equal_epoch: int = 0
    arms: tuple[ArmPicture, ...] = ()
    running: tuple[RunPicture, ...] = ()
    failures: tuple[FailurePicture, ...] = ()
    messages: tuple[MessagePicture, ...] = ()
    alerts: tuple[str, ...] = ()

    def count(self, state: str) -> int:
        """Return the number of runs in a state: runs, settled, running, waiting, failed, ... over all arms."""
        return sum(getattr(arm, state) for arm in self.arms)

    @property
    def share(self) -> float:
        """Share of all planned epochs that are done, those of settled runs being done."""
        epochs = self.count("epochs")
        return self.count("epochs_done") / epochs if epochs else 1.0

    @property
    def complete(self) -> bool:
        """Whether every run is settled."""
        return self.count("settled") == self.count("runs")


def picture(progress: Progress, *, curves: bool = False) -> Picture:
    """Return what there is to see of a session; its cost grows with arms and running runs, not with all runs.

    Parameters
    ----------
    curves : with validation accuracies by epoch, of arms and of the first `MOST_CURVES` running runs.
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
        arms=tuple(_arm(arm, equal, speeds, curves) for arm in progress.arms.values()),
        running=tuple(
            _run(progress, run_id, speeds, now, curve=curves and number < MOST_CURVES)
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
        waiting=counts["waiting"] + counts["again"],
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


def snapshot(
    progress: Progress, *, session: str = "", beat: int = 0, every: float = 5.0, state: str = "running"
) -> dict[str, Any]:
    """Return the picture of a session as a plain JSON document, small whatever the number of runs.

    Parameters
    ----------
    session : id of the session.
    beat : raised with every snapshot.
    every : seconds between snapshots.
    state : running, or ended.
    """
    now = time.time()
    stamped = picture(progress, curves=True).model_copy(
        update={
            "session": session,
            "host": socket.gethostname(),
            "process": os.getpid(),
            "began_at": _utc(now - (progress.clock() - progress.began)),
            "at": _utc(now),
            "beat": beat,
            "every": every,
            "state": state,
        }
    )
    return stamped.model_dump(mode="json")


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def read(document: Mapping[str, Any]) -> Picture | None:
    """Return the picture of a snapshot; None where it is of a newer version or broken: a view goes on without it."""
    try:
        shown = Picture.model_validate(document)
    except ValidationError:
        return None
    return shown if shown.schema_version == SCHEMA_VERSION else None
