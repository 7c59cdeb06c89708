"""The same trials that do nothing, launched by `ablations`; see `bench.launch`.

Arguments: ``ray``, ``inline`` or ``scheduling``, the number of trials, and the file to which each trial appends the
time.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from ablations.execution.ray.executor import RayExecutor
from bench.rivals.launch import note

FILE = "BENCH_LAUNCH_FILE"
CURVE = {
    "epoch": 1,
    **dict.fromkeys(("train_loss", "validation_loss", "test_loss"), 1.0),
    **dict.fromkeys(("train_accuracy", "validation_accuracy", "test_accuracy", "test_top5_accuracy"), 0.5),
    "learning_rate": 0.1,
    "seconds": 0.0,
}


def nothing(_: Any, data: Any, **options: Any) -> Any:
    """Stand in for `aimlib.training.loop.train`: return the outcome of one epoch without computing anything.

    There is no checkpoint, because `CheckpointManager.keep` does not write one after the last epoch of a run that
    lasted less than a second.
    """
    import torch  # noqa: F401 -- every run imports torch

    from aimlib.training.outcomes import Outcome

    note(os.environ[FILE])
    now = datetime.now(UTC).isoformat()
    predictions = np.zeros((1, len(data.test.labels)), dtype=np.uint8)
    options["on_epoch"](CURVE)
    options["pause"]()
    selected = {name: CURVE[name] for name in CURVE if name.startswith(("validation", "test"))}
    return Outcome("finished", None, [CURVE], predictions, 1, selected, (160, 40, 1), 0.0, 1, now)


class WithLedger(RayExecutor):
    """Do everything that a run does except the training: lock, checkpoint, row and provenance."""

    def worker(self) -> type:
        """Return a worker that trains nothing."""
        from ablations.execution.ray.trainable import Worker

        class Nothing(Worker):
            def _run(self) -> None:
                from ablations.execution import (
                    run_task,  # imported here, as in the worker, so that torch does not delay its start
                )

                run_task.train = nothing
                super()._run()

        return Nothing


class Scheduling(RayExecutor):
    """Only communicate with workers, whose runs end immediately."""

    def worker(self) -> type:
        """Return a worker whose runs end immediately."""
        from ablations.execution.attempts import Ending
        from ablations.execution.ray.trainable import Worker

        class Nothing(Worker):
            def _run(self) -> None:
                note(os.environ[FILE])
                self._events.put({"ended": Ending("finished").as_json()})

        return Nothing


class Coordinator:
    """Coordinator that only informs the scheduler about attempts that have ended."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler

    def handle(self, event: Any) -> None:
        """Pass on the end of an attempt."""
        from ablations.execution.events import AttemptEnded

        if isinstance(event, AttemptEnded):
            if event.ending.end == "died":
                raise RuntimeError(event.ending.reason)
            self.scheduler.ended(event.run_id, event.ending)


def schedule(count: int) -> None:
    """Launch with the executor alone, on Ray."""
    from ablations.execution.scheduler import Scheduler
    from ablations.execution.signals import Stop
    from ablations.execution.task import Task
    from ablations.spec.resources import Resources

    config = {"seed": 0, "training": {"epochs": 1}}
    tasks = [Task("", "", "", "arm", f"{number:020x}", "", config, {}, "cpu", 1) for number in range(count)]
    scheduler = Scheduler(tasks, retries=0)
    with Scheduling([Resources()]) as executor:
        executor.check()
        executor.execute(scheduler, Coordinator(scheduler), Stop())


def run(count: int, folder: Path, executor: Any) -> None:
    """Call the function behind `ablate run` on the demo's four arms, with everything that it stores."""
    from ablations.sessions import launch, session

    if executor == "inline":
        from ablations.execution import run_task

        run_task.train = nothing
    with mock.patch.object(session, "RayExecutor", WithLedger):
        told = launch.run("demo", folder / "study", [f"seeds={count // 4}"], executor=executor)
    if told.computed != count:
        raise RuntimeError(f"{told.computed} of {count} runs settled: {told}")


if __name__ == "__main__":
    kind, trials, file = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    os.environ[FILE] = file
    if kind == "scheduling":
        schedule(trials)
    else:
        run(trials, Path(file).parent, kind)
