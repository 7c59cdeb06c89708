"""What is computed next, and what an ending means for the runs that are left. Knows neither Ray nor storage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from ablations.execution.endings import Blame, Ending
from ablations.task import Task

_FIRST_DELAY, _LONGEST_DELAY = 1.0, 60.0
"""Seconds before an attempt that infrastructure ended is repeated: doubled with every one in a row."""
_STALL_DELAY = 5.0
"""Seconds before a run that hung is taken up again: its process must be gone, or it is still claimed."""
_ROOM_DELAY = 30.0
"""Seconds before a run is taken up again that full storage ended."""
_SAME_ERROR = 2
"""So often an arm may fail with one and the same error before no more of it is begun."""


@dataclass(frozen=True)
class Again:
    """The run goes on from its checkpoint after some seconds."""

    seconds: float
    reason: str


@dataclass(frozen=True)
class Over:
    """Nothing more is done for a run in this session.

    Attributes
    ----------
    record : whether the failure is still to be put on record.
    withheld : runs of the same arm that are not begun any more, because the arm fails with the same error every time.
    """

    state: str
    reason: str = ""
    record: bool = False
    withheld: tuple[str, ...] = ()


Decision = Again | Over


@dataclass
class _Entry:
    task: Task
    place: int
    ready: float = 0.0
    deaths: int = 0
    given: float = 0.0
    """GPUs that its last attempt was given."""


class Queue:
    """The runs of a session, from first to last.

    Parameters
    ----------
    tasks : in the order in which they are given out.
    retries : how often in a row infrastructure may end a run that makes no progress.
    clock : seconds that only rise.
    """

    def __init__(self, tasks: Iterable[Task], retries: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._entries = {task.run_id: _Entry(task, place) for place, task in enumerate(tasks)}
        self._waiting = dict.fromkeys(self._entries)
        self._running: set[str] = set()
        self._retries, self._clock = retries, clock
        self._errors: dict[tuple[str, str], int] = {}
        self._share: dict[str, float] = {}
        self._frozen = self._halted = False

    @property
    def running(self) -> frozenset[str]:
        """Runs that a worker has."""
        return frozenset(self._running)

    @property
    def exhausted(self) -> bool:
        """Whether nothing is running and nothing will be given out any more."""
        return not self._running and (self._halted or not self._waiting)

    def next(self) -> Task | None:
        """Return the next task that is ready; None where none is at the moment."""
        if self._frozen or self._halted:
            return None
        now = self._clock()
        for run_id in self._waiting:
            entry = self._entries[run_id]
            if entry.ready <= now:
                del self._waiting[run_id]
                self._running.add(run_id)
                entry.given = max(entry.task.gpus, self._share.get(entry.task.arm, 0.0))
                return replace(entry.task, gpus=entry.given)
        return None

    def progressed(self, run_id: str) -> None:
        """Take note that a run has come further: deaths from now on are counted anew."""
        if run_id in self._entries:
            self._entries[run_id].deaths = 0

    def ended(self, run_id: str, ending: Ending) -> Decision:
        """Take note of how an attempt ended and say what follows."""
        if ending.end == "out_of_memory":
            return self._out_of_memory(run_id, ending.reason)
        if ending.end == "stalled":
            return self._again(run_id, ending.reason, least=_STALL_DELAY)
        if ending.end == "machine":
            return self._again(run_id, ending.reason)
        if ending.end == "full":
            return self._again(run_id, ending.reason, counts=False)
        if ending.end == "failed":
            return self._failed(run_id, ending.fault, ending.reason, record=False)
        return self._over(run_id, Over(ending.end, ending.reason))

    def died(self, run_id: str, blame: Blame, cause: str) -> Decision:
        """Take note that the process of an attempt is gone and say what follows."""
        if blame == "user":
            return self._failed(run_id, cause, cause, record=True)
        return self._again(run_id, cause)

    def hold_back(self) -> None:
        """Give out nothing until `go_on`."""
        self._frozen = True

    def go_on(self) -> None:
        """Give out tasks again."""
        self._frozen = False

    def halt(self) -> None:
        """Give out nothing any more: the session ends with what is running."""
        self._halted = True

    def add(self, tasks: Iterable[Task]) -> None:
        """Queue tasks, also such that were over: another process had them and let go. Their deaths still count."""
        for task in tasks:
            self._entries.setdefault(task.run_id, _Entry(task, len(self._entries)))
            self._waiting[task.run_id] = None

    def _again(self, run_id: str, reason: str, *, counts: bool = True, least: float = 0.0) -> Decision:
        entry = self._entries[run_id]
        entry.deaths += counts
        if entry.deaths > self._retries:
            text = f"ended {entry.deaths} times in a row without progress: {reason}"
            return self._over(run_id, Over("failed", text, record=True))
        delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2.0 ** (entry.deaths - 1)) if counts else _ROOM_DELAY
        delay = max(least, delay)
        self._requeue(entry, delay)
        return Again(delay, reason)

    def _requeue(self, entry: _Entry, delay: float) -> None:
        """Put a run back in its old place of the order: what was begun is ended first."""
        entry.ready = self._clock() + delay
        self._running.discard(entry.task.run_id)
        later = [run_id for run_id in self._waiting if self._entries[run_id].place > entry.place]
        for run_id in later:
            del self._waiting[run_id]
        self._waiting |= dict.fromkeys([entry.task.run_id, *later])

    def _out_of_memory(self, run_id: str, reason: str) -> Decision:
        entry = self._entries[run_id]
        before = entry.given
        if entry.task.device == "cpu" or before == 0:
            return self._again(run_id, reason)
        if before >= 1:
            return self._failed(
                run_id,
                "out of memory",
                f"does not fit on a whole GPU: {reason}; lower training.batch_size",
                record=True,
            )
        arm = entry.task.arm  # its other runs are as large
        share = self._share[arm] = max(self._share.get(arm, 0.0), min(1.0, 2 * before))
        self._requeue(entry, 0.0)
        return Again(0.0, f"out of memory with {before:g} of a GPU, goes on with {share:g}: {reason}")

    def _failed(self, run_id: str, fault: str, reason: str, *, record: bool) -> Decision:
        arm = self._entries[run_id].task.arm
        seen = self._errors[arm, fault] = self._errors.get((arm, fault), 0) + 1
        withheld: tuple[str, ...] = ()
        if seen >= _SAME_ERROR:
            withheld = tuple(run_id for run_id in self._waiting if self._entries[run_id].task.arm == arm)
            for other in withheld:
                del self._waiting[other]
        return self._over(run_id, Over("failed", reason, record, withheld))

    def _over(self, run_id: str, over: Over) -> Over:
        self._running.discard(run_id)
        self._waiting.pop(run_id, None)
        return over


def in_order(tasks: Iterable[Task]) -> list[Task]:
    """Return tasks seed by seed, as they come, and within a seed the longest first.

    So an unfinished study holds complete pairs, and workers are idle at the end no longer than a short run takes.
    """
    tasks = list(tasks)
    places = {seed: place for place, seed in enumerate(dict.fromkeys(task.config["seed"] for task in tasks))}

    def work(task: Task) -> float:
        epochs: int = task.config["training"]["epochs"]
        return float(task.costs.get("multiply_adds", 0) * epochs)

    return sorted(tasks, key=lambda task: (places[task.config["seed"]], -work(task)))  # stable
