"""What is computed next, and what an ending means for the runs that are left. Knows neither Ray nor storage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from ablations.execution.attempts import Blame, Ending
from ablations.execution.device_failures import DeviceFailures
from ablations.execution.shares import larger
from ablations.execution.task import Task

_FIRST_DELAY, _LONGEST_DELAY = 1.0, 60.0
"""Seconds before an attempt that infrastructure ended is repeated: doubled with every one in a row."""
_STALL_DELAY = 5.0
"""Seconds before a run that hung is taken up again: its process must be gone, or it is still claimed."""
_ROOM_DELAY = 30.0
"""Seconds before a run is taken up again that full storage ended."""
_SAME_ERROR = 2
"""So often an arm may fail with one and the same error before no more of it is begun."""
_DEVICE_DELAY = 5.0
"""Seconds before a run is taken up again that lost its GPU or was given one that is left out: its process must be gone,
and a GPU that is left out is to be occupied before."""
_DEVICES_PER_RUN = 3
"""A run is given up that met device errors on so many GPUs on which no other run did, while others got on: its own code
may cause them."""
_NEIGHBOUR_DELAY = 30.0
"""Seconds before a run is taken up again that was out of memory because others held it."""

Fit = Literal["now", "later", "never"]
"""Whether there is room for a run: now, once others have ended, or not as long as GPUs are left out."""


@dataclass(frozen=True)
class Again:
    """The run goes on from its checkpoint after some seconds.

    Attributes
    ----------
    notes : what is to be said besides, of the whole session.
    """

    seconds: float
    reason: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Over:
    """Nothing more is done for a run in this session.

    Attributes
    ----------
    record : whether the failure is still to be put on record.
    withheld : runs of the same arm that are not begun any more, because the arm fails with the same error every time.
    notes : what is to be said besides, of the whole session.
    """

    state: str
    reason: str = ""
    record: bool = False
    withheld: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


Decision = Again | Over


@dataclass
class _Entry:
    task: Task
    place: int
    ready: float = 0.0
    deaths: int = 0
    given: float = 0.0
    """GPUs that its last attempt was given."""
    waited: bool = False
    """Whether it was taken up again because others held the memory of its GPU."""
    lost: dict[str, float] = field(default_factory=dict)
    """GPUs on which it met a device error since its last progress, by name, with when that was first."""
    progressed: float = float("-inf")
    """When it came further last."""


class Queue:
    """The runs of a session, from first to last.

    Parameters
    ----------
    tasks : in the order in which they are given out.
    retries : how often in a row infrastructure may end a run that makes no progress.
    clock : seconds that only rise.
    shares : of a GPU, for arms whose runs were out of memory with less, by arm.

    Attributes
    ----------
    devices : the GPUs that failed.
    shares : the same, with what was learned since.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        retries: int,
        clock: Callable[[], float] = time.monotonic,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        self.devices = DeviceFailures()
        self.shares = dict(shares or {})
        self._entries = {task.run_id: _Entry(task, place) for place, task in enumerate(tasks)}
        self._waiting = dict.fromkeys(self._entries)
        self._running: set[str] = set()
        self._retries, self._clock = retries, clock
        self._errors: dict[tuple[str, str], int] = {}
        self._frozen = self._halted = False

    @property
    def running(self) -> frozenset[str]:
        """Runs that a worker has."""
        return frozenset(self._running)

    @property
    def exhausted(self) -> bool:
        """Whether nothing is running and nothing will be given out any more."""
        return not self._running and (self._halted or not self._waiting)

    def next(self, fit: Callable[[Task], Fit] | None = None) -> Task | None:
        """Return the next task that is ready; None where none is at the moment.

        Parameters
        ----------
        fit : tells whether there is room for a task; None: there is. The first one that waits for room is waited for:
            no later task of its kind passes it, or a run that needs a whole GPU would wait for ever for two halves.
        """
        if self._frozen or self._halted:
            return None
        now = self._clock()
        blocked: set[tuple[bool, str]] = set()
        for run_id in self._waiting:
            entry = self._entries[run_id]
            kind = (entry.task.gpus > 0, entry.task.accelerator)
            if entry.ready > now or kind in blocked:
                continue
            task = self._given(entry)
            there = fit(task) if fit is not None else "now"
            if there == "now":
                return self._give(entry, task)
            if there == "later":
                blocked.add(kind)
                if fit is not None and fit(replace(task, gpus=0.0)) != "now":
                    return None  # it lacks processors, which tasks of any kind would take
        return None

    def _given(self, entry: _Entry) -> Task:
        """Return the task with what its next attempt is given."""
        share = max(entry.task.gpus, self.shares.get(entry.task.arm, 0.0))
        return replace(entry.task, gpus=share, left_out=tuple(self.devices.left_out))

    def _give(self, entry: _Entry, task: Task) -> Task:
        del self._waiting[task.run_id]
        self._running.add(task.run_id)
        entry.given = task.gpus
        return task

    def stranded(self, fit: Callable[[Task], Fit]) -> list[Task]:
        """Return the tasks that wait where nothing runs and GPUs are left out without which none of them fits."""
        if self._running or self._halted or not self.devices.left_out:
            return []
        tasks = [self._given(self._entries[run_id]) for run_id in self._waiting]
        return tasks if all(fit(task) == "never" for task in tasks) else []

    def arm_of(self, run_id: str) -> str:
        """Return the arm of a run."""
        return self._entries[run_id].task.arm

    def progressed(self, run_id: str) -> None:
        """Take note that a run has come further: deaths from now on are counted anew."""
        if run_id in self._entries:
            entry = self._entries[run_id]
            entry.deaths, entry.progressed = 0, self._clock()
            entry.lost.clear()

    def ended(self, run_id: str, ending: Ending) -> Decision:
        """Take note of how an attempt ended and say what follows."""
        reason = ending.reason
        rules: dict[str, Callable[[], Decision]] = {
            "out_of_memory": lambda: self._out_of_memory(run_id, ending),
            "device_error": lambda: self._device_error(run_id, ending),
            "not_begun": lambda: self._not_begun(run_id, ending),
            "stalled": lambda: self._again(run_id, reason, least=_STALL_DELAY),
            "machine": lambda: self._again(run_id, reason),
            "full": lambda: self._again(run_id, reason, counts=False),
            "failed": lambda: self._failed(run_id, ending.fault, reason, record=False),
        }
        rule = rules.get(ending.end)
        return rule() if rule is not None else self._over(run_id, Over(ending.end, reason))

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

    def _out_of_memory(self, run_id: str, ending: Ending) -> Decision:
        entry, reason = self._entries[run_id], ending.reason
        before = entry.given
        if entry.task.device == "cpu" or before == 0:
            return self._again(run_id, reason)
        if before >= 1:
            if ending.held_by_others and not entry.waited:
                entry.waited = True
                self._requeue(entry, _NEIGHBOUR_DELAY)
                return Again(_NEIGHBOUR_DELAY, f"out of memory while others held much of the GPU's: {reason}")
            return self._failed(
                run_id,
                "out of memory",
                f"does not fit on a whole GPU: {reason}; lower training.batch_size",
                record=True,
            )
        arm = entry.task.arm  # its other runs are as large
        share = self.shares[arm] = max(self.shares.get(arm, 0.0), larger(before))
        self._requeue(entry, 0.0)
        return Again(0.0, f"out of memory with {before:g} of a GPU, goes on with {share:g}: {reason}")

    def _device_error(self, run_id: str, ending: Ending) -> Decision:
        """Put the run on another GPU; the fault is the GPU's, unless the run meets it on one GPU after the other."""
        entry = self._entries[run_id]
        name = ending.device or f"GPU of {ending.host or 'an unknown host'}"
        entry.lost.setdefault(name, self._clock())
        left_out = self.devices.failed(name, ending.host, run_id, ending.reason, self._clock())
        notes = () if left_out is None else (f"{left_out} failed twice and is left out: {ending.reason}",)
        if self._is_suspect(entry):
            return self._suspected(entry, ending.reason, notes)
        self._requeue(entry, _DEVICE_DELAY)
        return Again(_DEVICE_DELAY, f"device error on {name}, goes on elsewhere: {ending.reason}", notes)

    def _is_suspect(self, entry: _Entry) -> bool:
        alone = set(self.devices.met_alone(entry.task.run_id)).intersection(entry.lost)
        if len(alone) < _DEVICES_PER_RUN:
            return False
        others = (each for each in self._entries.values() if each is not entry and each.task.device == "cuda")
        return any(each.progressed > min(entry.lost.values()) for each in others)

    def _suspected(self, entry: _Entry, reason: str, notes: tuple[str, ...]) -> Over:
        """Give up a run that meets device errors wherever it goes, and use the GPUs again on which no other run did."""
        run_id, names = entry.task.run_id, ", ".join(entry.lost)
        text = (
            f"device errors on {len(entry.lost)} GPUs, one after the other ({names}), so its own code may cause them; "
            f"run it alone with CUDA_LAUNCH_BLOCKING=1 to see where: {reason}"
        )
        over = self._failed(run_id, "device errors", text, record=True)
        again = [f"{device} is used again: only {run_id} failed there" for device in self.devices.forgive(run_id)]
        return replace(over, notes=(*notes, *again))

    def _not_begun(self, run_id: str, ending: Ending) -> Decision:
        delay = _DEVICE_DELAY if ending.device else _FIRST_DELAY
        self._requeue(self._entries[run_id], delay)
        return Again(delay, ending.reason)

    def _failed(self, run_id: str, fault: str, reason: str, *, record: bool) -> Over:
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
