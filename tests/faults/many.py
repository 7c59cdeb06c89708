"""Measures a session's cost per run, with thousands of runs that compute nothing. Prints a line of JSON.

Argument: the number of runs.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time

from ablations.execution.attempts import Ending
from ablations.execution.events import AttemptEnded, EpochEnded, ExecutorEvent, Notice, RunEnded, RunStarted
from ablations.execution.ray.executor import RayExecutor
from ablations.execution.retry_policy import Over
from ablations.execution.scheduler import Scheduler
from ablations.execution.signals import Stop
from ablations.execution.task import Task
from ablations.progress import Outline, Progress
from ablations.spec.resources import Resources


class Driver:
    """The session's listener, which records the displayed state and the times."""

    def __init__(self, queue: Scheduler, progress: Progress) -> None:
        self.queue, self.progress = queue, progress
        self.ends: dict[str, float] = {}
        self.doubled: list[str] = []
        self.resident: list[float] = []
        self.descriptors: list[int] = []
        self.threads: list[int] = []

    def handle(self, event: ExecutorEvent) -> None:
        match event:
            case EpochEnded():
                raise AssertionError("nothing is trained")
            case RunStarted():
                self.progress.handle(event)
            case AttemptEnded(run_id, ending):
                self.ended(run_id, ending)
            case Notice(text):
                print(text, file=sys.stderr)

    def ended(self, run_id: str, ending: Ending) -> None:
        decision = self.queue.ended(run_id, ending)
        if ending.end == "died":
            return
        if run_id in self.ends:
            self.doubled.append(run_id)
        self.ends[run_id] = time.monotonic()
        assert isinstance(decision, Over), decision
        self.progress.handle(RunEnded(run_id, decision.state))
        if len(self.ends) % 100 == 0:
            with open("/proc/self/statm") as file:  # noqa: PTH123
                self.resident.append(int(file.read().split()[1]) * resource.getpagesize() / 2**20)
            self.descriptors.append(len(os.listdir("/proc/self/fd")))  # noqa: PTH208
            self.threads.append(len(os.listdir("/proc/self/task")))  # noqa: PTH208


class Executor(RayExecutor):
    def worker(self) -> type:
        from ablations.execution.ray.trainable import Worker

        class Nothing(Worker):
            """A run that ends immediately."""

            def _run(self) -> None:
                self._events.put({"ended": Ending("finished").as_json()})

            def _begin(self) -> None:
                super()._begin()
                assert isinstance(self._thread, threading.Thread)

        return Nothing


def task(number: int) -> Task:
    config = {"seed": number, "training": {"epochs": 1}}
    return Task("", "", "", f"arm{number % 8}", f"{number:020x}", "", config, {}, "cpu", 1)


count = int(sys.argv[1])
tasks = [task(number) for number in range(count)]
queue = Scheduler(tasks, retries=0)
outline = Outline("many", {f"arm{n}": 1 for n in range(8)}, tuple((t.run_id, t.arm, t.config["seed"]) for t in tasks))
driver = Driver(queue, Progress(outline, ()))
with Executor([Resources()]) as executor:
    executor.check()
    began = time.monotonic()
    executor.execute(queue, driver, Stop())
    seconds = time.monotonic() - began
ends = sorted(driver.ends.values())
tenth = len(ends) // 10
costs = [1000 * (ends[(k + 1) * tenth - 1] - ends[k * tenth]) / (tenth - 1) for k in range(10)]
print(
    json.dumps(
        {
            "runs": count,
            "ended": len(ends),
            "doubled": len(driver.doubled),
            "seconds": round(seconds, 1),
            "ms_per_run_by_tenth": [round(cost, 1) for cost in costs],
            "resident_mb": [round(size) for size in driver.resident],
            "descriptors": driver.descriptors,
            "threads": driver.threads,
        }
    )
)
