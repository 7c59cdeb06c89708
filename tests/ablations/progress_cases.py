"""Studies that consist of plain values, a manually controlled clock, and simulated schedules."""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ablations.execution.events import EpochEnded, RunEnded, RunStarted
from ablations.progress import Outline, Progress
from ablations.store import ResultStore
from aimlib.records import EPOCHS, RUN_COLUMNS, SCHEMA_VERSION, RunRecord


class Clock:
    """A clock that is advanced manually."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def run_id(number: int) -> str:
    return f"{number:020x}"


def outline(arms: Iterable[str], seeds: int = 2, epochs: int | Mapping[str, int] = 4, name: str = "tiny") -> Outline:
    """Return an outline of seeds x arms; run ids are numbered from 0, arm by arm within a seed."""
    arms = list(arms)
    planned = {arm: epochs if isinstance(epochs, int) else epochs[arm] for arm in arms}
    runs = tuple((run_id(seed * len(arms) + i), arm, seed) for seed in range(seeds) for i, arm in enumerate(arms))
    return Outline(name, planned, runs)


def row(epoch: int, seconds: float = 1.0, accuracy: float | None = 0.5) -> dict[str, Any]:
    """Return an epoch's row with a test accuracy that must never be shown."""
    return {"epoch": epoch, "seconds": seconds, "validation_accuracy": accuracy, "test_accuracy": 0.987654}


def large(runs: int = 4000, arms: int = 80, running: int = 64, epochs: int = 50) -> tuple[Progress, Clock]:
    """Return a half-finished study: some runs are settled, a few have failed, and `running` runs are active."""
    draw = random.Random(0)
    names = [f"aim, model.placement=every_layer, model.update=gated, variant {i:03d}" for i in range(arms)]
    clock = Clock()
    shown = Progress(
        outline(names, runs // arms, epochs),
        [],
        parallel=running,
        resources={"CPU": 4.0, "GPU": 0.5},
        totals={"CPU": 4.0 * running, "GPU": running / 2},
        clock=clock,
    )
    ids = list(shown.runs)
    half = len(ids) * 2 // 5
    for number, each in enumerate(ids[: half + running]):
        shown.handle(RunStarted(each, f"gpu-node-{number % 16:02d}, GPU 0.5"))
        last = epochs if number < half else draw.randint(1, epochs - 1)
        for epoch in range(1, last + 1):
            clock.now += 0.2
            shown.handle(EpochEnded(each, row(epoch, 12.0, 0.5 - 0.45 / (1 + epoch / 9))))
        if number < half:
            shown.handle(RunEnded(each, "finished" if draw.random() < 0.97 else "diverged"))
        if number < half and draw.random() < 0.02:
            shown.handle(RunEnded(each, "failed", "RuntimeError: CUDA out of memory.\nTried to allocate 2.00 GiB"))
    return shown, clock


@dataclass
class Schedule:
    """A simulated schedule: runs in plan order, or the longest first, over a number of slots."""

    outline: Outline
    seconds: Mapping[str, float]
    slots: int
    overhead: float = 0.0
    noise: float = 0.0
    longest_first: bool = False
    lengths: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0

    def events(self) -> Iterator[tuple[float, str, str, int, float]]:
        """Yield the time, the event, the run id, the epoch and the seconds measured by the worker, in chronological
        order."""
        draw = random.Random(self.seed)
        waiting = list(self.outline.runs)
        if self.longest_first:
            waiting.sort(key=lambda run: -self.seconds[run[1]] * self.outline.epochs[run[1]])
        waiting.reverse()
        queue: list[tuple[float, int, str, str, int, float]] = []
        count = 0

        def start(now: float) -> None:
            nonlocal count
            if waiting:
                each, _, _ = waiting.pop()
                count += 1
                heapq.heappush(queue, (now, count, "began", each, 0, 0.0))

        arms = {each: arm for each, arm, _ in self.outline.runs}
        for _ in range(self.slots):
            start(0.0)
        while queue:
            now, _, event, each, epoch, seconds = heapq.heappop(queue)
            yield now, event, each, epoch, seconds
            arm = arms[each]
            if event == "ended":
                start(now)
                continue
            count += 1
            if epoch == self.lengths.get(each, self.outline.epochs[arm]):
                heapq.heappush(queue, (now, count, "ended", each, epoch, 0.0))
            else:
                took = self.seconds[arm] * draw.lognormvariate(0, self.noise)
                extra = self.overhead if event == "began" else 0.0
                heapq.heappush(queue, (now + extra + took, count, "epoch", each, epoch + 1, took))


def errors(
    schedule: Schedule,
    at: Iterable[float],
    expected: Mapping[str, float] | None = None,
    *,
    longest_first: bool = False,
) -> dict[float, tuple[float, float]]:
    """Return the relative errors of the estimate and of a simple division at several fractions of the total time."""
    told = list(schedule.events())
    whole = told[-1][0]
    clock = Clock(0.0)
    shown = Progress(
        schedule.outline, [], parallel=schedule.slots, expected=expected, longest_first=longest_first, clock=clock
    )
    marks = sorted(at)
    found: dict[float, tuple[float, float]] = {}
    for now, event, each, epoch, seconds in told:
        while marks and now >= marks[0] * whole:
            clock.now = marks[0] * whole
            left = shown.seconds_left()
            truth = whole - clock.now
            estimate = float("inf") if left is None else left
            found[marks.pop(0)] = ((estimate - truth) / whole, (_division(shown) - truth) / whole)
        clock.now = now
        if event == "began":
            shown.handle(RunStarted(each))
        elif event == "epoch":
            shown.handle(EpochEnded(each, row(epoch, seconds)))
        else:
            shown.handle(RunEnded(each, "finished"))
    return found


def _division(shown: Progress) -> float:
    """Return the time for the remaining epochs, at each arm's speed or the mean speed, divided by the number of
    slots."""
    paces = {name: arm.pace.epoch.value for name, arm in shown.arms.items()}
    known = [value for value in paces.values() if value is not None]
    if not known:
        return float("inf")
    mean = sum(known) / len(known)
    return sum((arm.epochs - arm.epochs_done) * (paces[name] or mean) for name, arm in shown.arms.items()) / (
        shown.parallel
    )


class WatchedStore(ResultStore):
    """A study directory with a plan, and with sessions' states next to it.

    The states are stored as by `ResultStore.write_live`, which works with any of this package's stores.
    """

    def write_live(self, session: str, document: dict[str, Any]) -> None:
        folder = self.directory / "live"
        folder.mkdir(exist_ok=True)
        temporary = folder / f".{session}.tmp"
        temporary.write_text(json.dumps(document, allow_nan=False), encoding="utf-8")
        temporary.replace(folder / f"{session}.json")

    def live(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(self.directory.glob("live/*.json"))]


def document(planned: Outline) -> dict[str, Any]:
    """Return the part of `study.json` that progress reads."""
    return {
        "name": planned.name,
        "arms": [{"name": arm, "config": {"training": {"epochs": n}}} for arm, n in planned.epochs.items()],
        "runs": [{"run_id": each, "arm": arm, "seed": seed} for each, arm, seed in planned.runs],
    }


def record(each: str, status: str = "finished", curve: Iterable[float] = (0.1, 0.2), at: float = 1e9) -> RunRecord:
    """Return a row with test accuracies that must never be shown."""
    curve = list(curve)
    empty: dict[str, Any] = {column.name: None for column in RUN_COLUMNS}
    failed = status == "failed"
    trial = empty | {
        "run_id": each,
        "status": status,
        "selected_epoch": 1,
        "epochs_run": len(curve),
        "seconds": 2.0 * len(curve),
        "test_accuracy": 0.987654,
        "finished_at": datetime.fromtimestamp(at, UTC),
        "schema_version": SCHEMA_VERSION,
        "reason": "RuntimeError: <b>boom</b>" if failed else None,
        "traceback": 'Traceback:\n    in "<script>alert(1)</script>"\x1b[31m' if failed else None,
    }
    numbers = {column.name: 0.987654 for column in EPOCHS}
    epochs = [numbers | {"epoch": i, "validation_accuracy": value} for i, value in enumerate(curve, 1)]
    return RunRecord(trial, [] if failed else epochs, np.zeros((0, 0), dtype=np.uint8))
