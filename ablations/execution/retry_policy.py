"""Which run is taken up again after an attempt ended, when, and with how much of a GPU. Knows neither Ray nor storage.

=====================  =================================================================================================
an attempt ended as    what follows
=====================  =================================================================================================
died, machine          retried after 1 s, doubled up to 60 s; given up after ``resources.max_retries`` in a row without
                       progress
stalled                the same, after 5 s at least
full                   retried after 30 s, as often as it takes
out_of_memory          retried at once with a larger share of a GPU; on a whole GPU given up, or retried once after 30 s
                       where others held much of its memory
device_error           retried after 5 s on another GPU; a GPU that failed twice is left out; given up where the run
                       meets such errors on three GPUs and no other run does
not_begun              retried after 5 s on another GPU, or after 1 s in another process
failed                 given up; after the same error twice no more runs of its arm are begun
=====================  =================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from ablations.execution.attempts import Ending
from ablations.execution.device_failures import DeviceFailures
from ablations.execution.task import Task
from aimlib.records import RunState

_FIRST_DELAY_S, _LONGEST_DELAY_S = 1.0, 60.0
"""Wait before an attempt that infrastructure ended is repeated: doubled with every one in a row."""
_STALL_DELAY_S = 5.0
"""Wait before a run that hung is taken up again: its process must be gone, or it still holds the run's lock."""
_FULL_DELAY_S = 30.0
"""Wait before a run is taken up again that full storage ended."""
_SAME_ERROR = 2
"""So often an arm may fail with one and the same error before no more of it is begun."""
_DEVICE_DELAY_S = 5.0
"""Wait before a run is taken up again that lost its GPU or was given one that is left out: its process must be gone,
and a GPU that is left out is to be occupied before."""
_DEVICES_PER_RUN = 3
"""A run is given up that met device errors on so many GPUs on which no other run did, while others got on: its own code
may cause them."""
_NEIGHBOUR_DELAY_S = 30.0
"""Wait before a run is taken up again that was out of memory because others held it."""
_PACKING = (1 / 8, 1 / 4, 1 / 2, 1.0)
"""Shares of which a whole number fill a GPU."""
_LEAST_GROWTH = 1.5


@dataclass(frozen=True)
class Retry:
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

    state: RunState
    reason: str = ""
    record: bool = False
    withheld: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


Decision = Retry | Over


@dataclass
class _History:
    """What a run has met in this session.

    Attributes
    ----------
    deaths : how often infrastructure ended it since its last progress.
    given : GPUs that its last attempt was given.
    waited : whether it was taken up again because others held the memory of its GPU.
    lost : GPUs on which it met a device error since its last progress, by name, with when that was first.
    progressed : when it last came further.
    """

    task: Task
    deaths: int = 0
    given: float = 0.0
    waited: bool = False
    lost: dict[str, float] = field(default_factory=dict)
    progressed: float = float("-inf")


class RetryPolicy:
    """Decides what follows when an attempt has ended.

    Parameters
    ----------
    retries : how often in a row infrastructure may end a run that makes no progress.
    clock : seconds that only rise.
    shares : of a GPU, for arms whose runs were out of memory with less, by arm.

    Attributes
    ----------
    devices : the GPUs that failed.
    shares : the same, with what was learned since.
    """

    def __init__(
        self, tasks: Iterable[Task], retries: int, clock: Callable[[], float], shares: Mapping[str, float]
    ) -> None:
        self.devices = DeviceFailures()
        self.shares = dict(shares)
        self._runs: dict[str, _History] = {}
        self._retries, self._clock = retries, clock
        self._errors: dict[tuple[str, str], int] = {}
        self.add(tasks)

    def add(self, tasks: Iterable[Task]) -> None:
        """Take tasks in; what is known of those that were here before stays."""
        for task in tasks:
            self._runs.setdefault(task.run_id, _History(task))

    def prepared(self, task: Task) -> Task:
        """Return the task with what its next attempt is given: a share of a GPU, and the GPUs that are left out."""
        share = max(task.gpus, self.shares.get(task.arm, 0.0))
        return replace(task, gpus=share, left_out=tuple(self.devices.left_out))

    def started(self, task: Task) -> None:
        """Take note of what an attempt was given."""
        self._runs[task.run_id].given = task.gpus

    def progressed(self, run_id: str) -> None:
        """Take note that a run has come further: deaths from now on are counted anew."""
        if run_id in self._runs:
            run = self._runs[run_id]
            run.deaths, run.progressed = 0, self._clock()
            run.lost.clear()

    def decide(self, run_id: str, ending: Ending, waiting: Collection[str] = ()) -> Decision:
        """Return what follows from the end of an attempt.

        Parameters
        ----------
        waiting : ids of the runs that have not been begun.
        """
        run, reason = self._runs[run_id], ending.reason
        decision: Decision
        match ending.end:
            case "machine":
                decision = self._retry(run, reason)
            case "stalled":
                decision = self._retry(run, reason, least=_STALL_DELAY_S)
            case "full":
                decision = Retry(_FULL_DELAY_S, reason)
            case "not_begun":
                decision = Retry(_DEVICE_DELAY_S if ending.device else _FIRST_DELAY_S, reason)
            case "out_of_memory":
                decision = self._after_out_of_memory(run, ending, waiting)
            case "device_error":
                decision = self._after_device_error(run, ending, waiting)
            case "died" if not ending.fault:
                decision = self._retry(run, reason)
            case "failed" | "died" | "unshared":
                decision = self._fail(run, ending.fault, reason, waiting, record=ending.end == "died")
            case state:
                decision = Over(state, reason)
        return decision

    def _retry(self, run: _History, reason: str, *, least: float = 0.0) -> Decision:
        run.deaths += 1
        if run.deaths > self._retries:
            return Over("failed", f"ended {run.deaths} times in a row without progress: {reason}", record=True)
        delay = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2.0 ** (run.deaths - 1))
        return Retry(max(least, delay), reason)

    def _after_out_of_memory(self, run: _History, ending: Ending, waiting: Collection[str]) -> Decision:
        reason, before = ending.reason, run.given
        if run.task.device == "cpu" or before == 0:
            return self._retry(run, reason)
        if before < 1:
            arm = run.task.arm  # its other runs are as large
            share = self.shares[arm] = max(self.shares.get(arm, 0.0), larger(before))
            return Retry(0.0, f"out of memory with {before:g} of a GPU, goes on with {share:g}: {reason}")
        if ending.held_by_others and not run.waited:
            run.waited = True
            return Retry(_NEIGHBOUR_DELAY_S, f"out of memory while others held much of the GPU's: {reason}")
        text = f"does not fit on a whole GPU: {reason}; lower training.batch_size"
        return self._fail(run, "out of memory", text, waiting, record=True)

    def _after_device_error(self, run: _History, ending: Ending, waiting: Collection[str]) -> Decision:
        """Put the run on another GPU; the fault is the GPU's, unless the run meets it on one GPU after the other."""
        name = ending.device or f"GPU of {ending.host or 'an unknown host'}"
        run.lost.setdefault(name, self._clock())
        left_out = self.devices.failed(name, ending.host, run.task.run_id, ending.reason, self._clock())
        notes = () if left_out is None else (f"{left_out} failed twice and is left out: {ending.reason}",)
        if self._is_suspect(run):
            return self._give_up_suspect(run, ending.reason, waiting, notes)
        return Retry(_DEVICE_DELAY_S, f"device error on {name}, goes on elsewhere: {ending.reason}", notes)

    def _is_suspect(self, run: _History) -> bool:
        alone = set(self.devices.met_alone(run.task.run_id)).intersection(run.lost)
        if len(alone) < _DEVICES_PER_RUN:
            return False
        others = (each for each in self._runs.values() if each is not run and each.task.device == "cuda")
        return any(each.progressed > min(run.lost.values()) for each in others)

    def _give_up_suspect(self, run: _History, reason: str, waiting: Collection[str], notes: tuple[str, ...]) -> Over:
        """Give up a run that meets device errors wherever it goes, and use the GPUs again on which no other run did."""
        run_id, names = run.task.run_id, ", ".join(run.lost)
        text = (
            f"device errors on {len(run.lost)} GPUs, one after the other ({names}), so its own code may cause them; "
            f"run it alone with CUDA_LAUNCH_BLOCKING=1 to see where: {reason}"
        )
        over = self._fail(run, "device errors", text, waiting, record=True)
        again = [f"{device} is used again: only {run_id} failed there" for device in self.devices.forgive(run_id)]
        return replace(over, notes=(*notes, *again))

    def _fail(self, run: _History, fault: str, reason: str, waiting: Collection[str], *, record: bool) -> Over:
        arm = run.task.arm
        seen = self._errors[arm, fault] = self._errors.get((arm, fault), 0) + 1
        others = [run_id for run_id in waiting if self._runs[run_id].task.arm == arm] if seen >= _SAME_ERROR else []
        return Over("failed", reason, record, tuple(others))


def larger(share: float) -> float:
    """Return the next larger share that packs, at least half as much again; a whole GPU where there is none."""
    return next((each for each in _PACKING if each >= _LEAST_GROWTH * share - 1e-9), 1.0)
