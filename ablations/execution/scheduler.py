"""The order of the runs. This module depends on neither Ray nor storage.

`retry_policy` decides what follows an attempt.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ablations.execution.attempts import Ending
from ablations.execution.retry_policy import Decision, Retry, RetryPolicy
from ablations.execution.task import Task

Fit = Literal["now", "later", "never"]
"""Whether a run fits: immediately, only after other runs have ended, or not while GPUs are excluded."""


@dataclass
class _Entry:
    task: Task
    place: int
    ready: float = 0.0
    """Earliest time at which the run may start, on the scheduler's clock."""


class Scheduler:
    """The runs of a session, from first to last.

    Parameters
    ----------
    tasks : tasks in the order in which they start.
    retries : how often in a row the infrastructure may end a run that makes no progress.
    clock : returns monotonic seconds.
    shares : share of a GPU, by arm, for arms whose runs ran out of memory with a smaller share.

    Attributes
    ----------
    devices : the GPUs that failed.
    shares : the updated shares.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        retries: int,
        clock: Callable[[], float] = time.monotonic,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        self._entries = {task.run_id: _Entry(task, place) for place, task in enumerate(tasks)}
        self._policy = RetryPolicy((entry.task for entry in self._entries.values()), retries, clock, shares or {})
        self.devices, self.shares = self._policy.devices, self._policy.shares
        self._waiting = dict.fromkeys(self._entries)
        self._running: set[str] = set()
        self._clock = clock
        self._is_held_back = self._is_halted = False

    @property
    def running(self) -> frozenset[str]:
        """Runs that workers are computing."""
        return frozenset(self._running)

    @property
    def exhausted(self) -> bool:
        """Whether nothing is running and no more tasks will start."""
        return not self._running and (self._is_halted or not self._waiting)

    def next(self, fit: Callable[[Task], Fit] | None = None) -> Task | None:
        """Return the next task that is ready; None if no task is ready at the moment.

        Parameters
        ----------
        fit : returns whether a task fits; None means that every task fits. If a task does not fit, no later task of the
            same kind may start before it; otherwise, a run that needs a whole GPU could wait forever while halves of
            GPUs become free one at a time.
        """
        if self._is_held_back or self._is_halted:
            return None
        now = self._clock()
        blocked: set[tuple[bool, str, frozenset[str]]] = set()
        for run_id in self._waiting:
            entry = self._entries[run_id]
            kind = (entry.task.gpus > 0, entry.task.accelerator, frozenset(entry.task.custom))
            if entry.ready > now or kind in blocked:
                continue
            task = self._policy.prepared(entry.task)
            there = fit(task) if fit is not None else "now"
            if there == "now":
                return self._give(task)
            if there == "later":
                blocked.add(kind)
                if fit is not None and fit(replace(task, gpus=0.0, custom={})) != "now":
                    return None  # the task lacks CPUs or host memory, which tasks of every kind would take
        return None

    def _give(self, task: Task) -> Task:
        del self._waiting[task.run_id]
        self._running.add(task.run_id)
        self._policy.started(task)
        return task

    def stranded(self, fit: Callable[[Task], Fit]) -> list[Task]:
        """Return the waiting tasks if nothing is running and none of the tasks fits without the excluded GPUs."""
        if self._running or self._is_halted or not self.devices.left_out:
            return []
        tasks = [self._policy.prepared(self._entries[run_id].task) for run_id in self._waiting]
        return tasks if all(fit(task) == "never" for task in tasks) else []

    def arm_of(self, run_id: str) -> str:
        """Return the arm of a run."""
        return self._entries[run_id].task.arm

    def progressed(self, run_id: str) -> None:
        """Record that a run has made progress, and reset its count of deaths to zero."""
        self._policy.progressed(run_id)

    def ended(self, run_id: str, ending: Ending) -> Decision:
        """Record how an attempt ended, and return what follows."""
        decision = self._policy.decide(run_id, ending, self._waiting)
        self._running.discard(run_id)
        if isinstance(decision, Retry):
            self._requeue(self._entries[run_id], decision.seconds)
            return decision
        for each in (run_id, *decision.withheld):
            self._waiting.pop(each, None)
        return decision

    def _requeue(self, entry: _Entry, delay: float) -> None:
        """Put a run back in its old place, because runs that have been started are finished first."""
        entry.ready = self._clock() + delay
        later = [run_id for run_id in self._waiting if self._entries[run_id].place > entry.place]
        for run_id in later:
            del self._waiting[run_id]
        self._waiting |= dict.fromkeys([entry.task.run_id, *later])

    def hold_back(self) -> None:
        """Do not start any tasks until `go_on` is called."""
        self._is_held_back = True

    def go_on(self) -> None:
        """Start tasks again."""
        self._is_held_back = False

    def halt(self) -> None:
        """Start no more tasks; the session ends when the running tasks end."""
        self._is_halted = True

    def add(self, tasks: Iterable[Task]) -> None:
        """Queue tasks, including tasks that ended because another process held them and has since released them.

        Their earlier deaths still count.
        """
        for task in tasks:
            self._entries.setdefault(task.run_id, _Entry(task, len(self._entries)))
            self._policy.add([task])
            self._waiting[task.run_id] = None


def in_order(tasks: Iterable[Task]) -> list[Task]:
    """Return tasks seed by seed in the given order; within a seed, the longest tasks come first.

    An unfinished study therefore has complete pairs, and at the end, workers are idle for at most the duration of a
    short run.
    """
    tasks = list(tasks)
    places = {seed: place for place, seed in enumerate(dict.fromkeys(task.config["seed"] for task in tasks))}

    def work(task: Task) -> float:
        epochs: int = task.config["training"]["epochs"]
        return float(task.costs.get("multiply_adds", 0) * epochs)

    return sorted(tasks, key=lambda task: (places[task.config["seed"]], -work(task)))  # equal tasks keep their order
