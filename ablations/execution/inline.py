"""Computing runs in this process, one after another, for debugging or without Ray."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from ablations.execution.attempts import Ending
from ablations.execution.events import (
    TICK,
    AttemptEnded,
    EpochEnded,
    ExecutorEvent,
    Notice,
    RunStarted,
    StorageWait,
    Subscriber,
)
from ablations.execution.run_output import not_captured
from ablations.execution.scheduler import Scheduler
from ablations.execution.signals import Stop
from ablations.execution.task import Task
from ablations.spec.study import Resources
from aimlib.errors import UsageError

_POLL_INTERVAL_S = 0.2
"""Time to wait while no run is ready."""


class InlineExecutor:
    """Executor that computes runs in this process, one after another.

    Parameters
    ----------
    resources : resources of each arm's runs. The number of CPUs is the number of threads. Memory, accelerator types and
        custom resources only select a node in a cluster, and have no effect here.
    """

    parallel = 1
    takes: Mapping[str, float] = {"CPU": 1.0}
    totals: Mapping[str, float] = {"CPU": 1.0}

    def __init__(self, resources: Iterable[Resources]) -> None:
        self.resources = tuple(resources)

    def expect(self, resources: Iterable[Resources]) -> None:
        """Set the resources of each arm's runs."""
        self.resources = tuple(resources)

    def begin(self) -> None:
        """Do nothing, because there is nothing to start."""

    def check(self) -> None:
        """Raise an error for a study that this process cannot compute.

        Raises
        ------
        UsageError: runs need a GPU, and torch sees none here.
        """
        import torch  # noqa: PLC0415 -- processes that compute have torch

        if any(wanted.trained_on == "cuda" for wanted in self.resources) and not torch.cuda.is_available():
            raise UsageError(
                "resources.gpus: runs need a GPU, and this process sees none; use --set resources.gpus=0, or run on "
                "a machine with a GPU"
            )

    def execute(self, scheduler: Scheduler, coordinator: Subscriber[ExecutorEvent], stop: Stop) -> None:
        """Compute the scheduler's runs until none is left."""
        while not scheduler.exhausted:
            coordinator.handle(TICK)
            task = scheduler.next()
            if task is None:
                time.sleep(_POLL_INTERVAL_S)
                continue
            ending = self._compute(task, coordinator, stop)
            coordinator.handle(AttemptEnded(task.run_id, ending))
            if ending.process_spent:
                stop.request(f"this process can no longer use its GPU: {ending.reason}")
            elif scheduler.devices.left_out:  # this process cannot use any other device
                devices = scheduler.devices
                stop.request(f"computed wrong results twice: {devices.described()}; {devices.advice()}")

    def _compute(self, task: Task, coordinator: Subscriber[ExecutorEvent], stop: Stop) -> Ending:
        def handle(event: ExecutorEvent) -> None:
            with not_captured():  # the session's own output is not part of the run's log
                coordinator.handle(event)

        def pause() -> bool:
            handle(TICK)
            return stop.requested

        def deadline() -> float | None:
            return stop.since + self.resources[0].grace_seconds if stop.requested and stop.urgent else None

        from ablations.execution import run_task  # noqa: PLC0415 -- imports torch

        coordinator.handle(RunStarted(task.run_id, "this process"))
        return run_task.execute(
            task,
            lambda row: handle(EpochEnded(task.run_id, dict(row))),
            pause,
            deadline,
            lambda text: handle(Notice(text, task.run_id)),
            lambda reason: handle(StorageWait(task.run_id, reason)),
        )
