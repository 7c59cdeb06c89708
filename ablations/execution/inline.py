"""Computing runs in this process, one after the other: for debugging, and where there is no Ray."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Mapping
from typing import Any

from ablations.execution.attempts import Listener
from ablations.execution.run_task import execute
from ablations.execution.scheduler import Queue
from ablations.execution.signals import Stop
from ablations.spec.study import Resources
from aimlib.errors import UsageError

_POLL = 0.2
"""Seconds between two looks at a queue of which nothing is ready."""


class InlineExecutor:
    """Computes one run after the other in this process.

    Parameters
    ----------
    resources : what the runs of each arm are given; the CPUs are threads.
    """

    parallel = 1
    takes: Mapping[str, float] = {"CPU": 1.0}
    totals: Mapping[str, float] = {"CPU": 1.0}

    def __init__(self, resources: Iterable[Resources]) -> None:
        self.resources = tuple(resources)

    def begin(self) -> None:
        """Nothing takes time to start."""

    def check(self) -> None:
        """Refuse a study that this process cannot compute.

        Raises
        ------
        UsageError: runs ask for a GPU, and torch sees none here.
        """
        import torch  # noqa: PLC0415 -- whoever computes has it

        if any(wanted.trained_on == "cuda" for wanted in self.resources) and not torch.cuda.is_available():
            raise UsageError(
                "resources.gpus: runs ask for a GPU, and this process sees none; give --set resources.gpus=0, or run "
                "where one is"
            )

    def execute(self, queue: Queue, listener: Listener, stop: Stop) -> None:
        """Compute what the queue gives out until it is exhausted."""

        def pause() -> bool:
            listener.tick()
            return stop.requested

        def deadline() -> float | None:
            return stop.since + self.resources[0].grace_seconds if stop.requested and stop.urgent else None

        while not queue.exhausted:
            listener.tick()
            task = queue.next()
            if task is None:
                time.sleep(_POLL)
                continue
            run_id = task.run_id
            listener.began(run_id, "this process")
            on_epoch = functools.partial(_tell, listener, run_id)
            ending = execute(task, on_epoch, pause, deadline, functools.partial(listener.notice, run_id))
            listener.ended(run_id, ending)
            if ending.process_spent:
                stop.request(f"this process cannot use its GPU any more: {ending.reason}")


def _tell(listener: Listener, run_id: str, row: Mapping[str, Any]) -> None:
    listener.epoch(run_id, dict(row))
