"""Which runs are retried after an attempt ends, when, and with what share of a GPU.

This module depends on neither Ray nor storage.

===================  ===================================================================================================
an attempt ended as  what follows
===================  ===================================================================================================
died, machine        retried after 1 s, doubled up to 60 s; given up after ``resources.max_retries`` retries in a row
                     without progress
stalled              as above, but retried after at least 5 s
full, storage        retried after 30 s, as often as necessary
out_of_memory        retried immediately with a larger share of a GPU; on a whole GPU, given up, or retried once after
                     30 s if other processes used much of the GPU's memory
device_error         retried after 5 s on a different GPU; given up after device errors on three devices if no other run
                     had errors on them. A GPU that failed twice is excluded, as are the CPUs of a machine that computed
                     wrong results twice
not_begun            retried after 5 s on a different GPU, or after 1 s in a different process
failed               given up; after the same error twice, no more runs of its arm are started
===================  ===================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from ablations.execution.attempts import COMPUTING_ERROR, Ending
from ablations.execution.device_failures import NOT_REPEATABLE, DeviceFailures
from ablations.execution.task import Task
from aimlib.records import RunState

_FIRST_DELAY_S, _LONGEST_DELAY_S = 1.0, 60.0
"""Delay in seconds before a run is retried after an infrastructure failure; doubled with every consecutive failure."""
_STALL_DELAY_S = 5.0
"""Delay in seconds before a run that hung is retried: its process holds the run's lock and must end first."""
_FULL_DELAY_S = 30.0
"""Delay in seconds before a retry after a run ended because the storage was full or unavailable."""
_SAME_ERROR = 2
"""Number of failures with the same error after which no more runs of an arm start."""
_DEVICE_DELAY_S = 5.0
"""Delay in seconds before a run that lost its GPU, or was given an excluded GPU, is retried: its process must have
ended, and an excluded GPU must first be occupied."""
_DEVICES_PER_RUN = 3
"""Number of GPUs with device errors after which a run is given up if no other run had errors on them, because the run's
own code may cause the errors."""
_DEVICES_IF_NEVER_REPEATED = 2
"""As `_DEVICES_PER_RUN`, but for a run in which a step had a different result in every repetition."""
_NEIGHBOUR_DELAY_S = 30.0
"""Delay in seconds before a retry after a run ran out of memory because other processes used the memory."""
_PACKING = (1 / 8, 1 / 4, 1 / 2, 1.0)
"""Shares that fill a GPU exactly if a whole number of runs share it."""
_LEAST_GROWTH = 1.5


@dataclass(frozen=True)
class Retry:
    """The run continues from its checkpoint after a delay.

    Attributes
    ----------
    notes : further messages, about the whole session.
    """

    seconds: float
    reason: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Over:
    """The run is given up for this session.

    Attributes
    ----------
    record : whether the failure must still be recorded.
    withheld : runs of the same arm that are no longer started, because the arm fails with the same error every time.
    notes : further messages, about the whole session.
    """

    state: RunState
    reason: str = ""
    record: bool = False
    withheld: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


Decision = Retry | Over


@dataclass
class _History:
    """History of a run in this session.

    Attributes
    ----------
    deaths : how often the infrastructure ended the run since its last progress.
    given : number of GPUs that its last attempt was given.
    waited : whether it was retried because other processes used its GPU's memory.
    lost : GPUs on which it had a device error since its last progress, by name, with the time of the first error.
    progressed : time of its last progress.
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
    retries : how often in a row the infrastructure may end a run that makes no progress.
    clock : returns monotonic seconds.
    shares : share of a GPU, by arm, for arms whose runs ran out of memory with a smaller share.

    Attributes
    ----------
    devices : the GPUs that failed.
    shares : the updated shares.
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
        """Add tasks, and keep the history of known tasks."""
        for task in tasks:
            self._runs.setdefault(task.run_id, _History(task))

    def prepared(self, task: Task) -> Task:
        """Return the task with the GPU share and the excluded GPUs for its next attempt."""
        share = max(task.gpus, self.shares.get(task.arm, 0.0))
        return replace(task, gpus=share, left_out=tuple(self.devices.left_out))

    def started(self, task: Task) -> None:
        """Record how many GPUs an attempt was given."""
        self._runs[task.run_id].given = task.gpus

    def progressed(self, run_id: str) -> None:
        """Record that a run has made progress, and reset its count of deaths to zero."""
        if run_id in self._runs:
            run = self._runs[run_id]
            run.deaths, run.progressed = 0, self._clock()
            run.lost.clear()

    def decide(self, run_id: str, ending: Ending, waiting: Collection[str] = ()) -> Decision:
        """Return what follows the end of an attempt.

        Parameters
        ----------
        waiting : ids of the runs that have not started.
        """
        run, reason = self._runs[run_id], ending.reason
        decision: Decision
        match ending.end:
            case "machine":
                decision = self._retry(run, reason)
            case "stalled":
                decision = self._retry(run, reason, least=_STALL_DELAY_S)
            case "full" | "storage":
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
            arm = run.task.arm  # the other runs of the arm are equally large
            share = self.shares[arm] = max(self.shares.get(arm, 0.0), larger(before))
            return Retry(0.0, f"out of memory with {before:g} of a GPU, continues with {share:g}: {reason}")
        if ending.held_by_others and not run.waited:
            run.waited = True
            return Retry(_NEIGHBOUR_DELAY_S, f"out of memory while other processes used much of the GPU: {reason}")
        text = f"does not fit on a whole GPU: {reason}; lower training.batch_size"
        return self._fail(run, "out of memory", text, waiting, record=True)

    def _after_device_error(self, run: _History, ending: Ending, waiting: Collection[str]) -> Decision:
        """Move the run to a different GPU; its GPU is considered faulty unless the run fails on several GPUs."""
        name = ending.device or f"{'CPU' if run.task.device == 'cpu' else 'GPU'} of {ending.host or 'an unknown host'}"
        run.lost.setdefault(name, self._clock())
        left_out = self.devices.failed(
            name, ending.host, run.task.run_id, ending.reason, self._clock(), never_repeats=ending.never_repeats
        )
        notes = () if left_out is None else (f"{left_out} failed twice and is excluded: {ending.reason}",)
        if self._is_suspect(run, _DEVICES_IF_NEVER_REPEATED if ending.never_repeats else _DEVICES_PER_RUN):
            return self._give_up_suspect(run, ending, waiting, notes)
        if ending.reason.startswith(COMPUTING_ERROR):  # the device itself reported nothing, and may be used again
            what = ending.reason.removeprefix(COMPUTING_ERROR)
            text = f"{COMPUTING_ERROR} on {name}, continues from its last checkpoint{what}"
            return Retry(_DEVICE_DELAY_S, text, notes)
        return Retry(
            _DEVICE_DELAY_S, f"device error on {name}; the run continues on another device: {ending.reason}", notes
        )

    def _is_suspect(self, run: _History, devices: int) -> bool:
        alone = set(self.devices.met_alone(run.task.run_id)).intersection(run.lost)
        if len(alone) < devices:
            return False
        others = (each for each in self._runs.values() if each is not run and each.task.device == run.task.device)
        return any(each.progressed > min(run.lost.values()) for each in others)

    def _give_up_suspect(self, run: _History, ending: Ending, waiting: Collection[str], notes: tuple[str, ...]) -> Over:
        """Give up a run with device errors on every GPU, and readmit the GPUs on which no other run had errors."""
        run_id, names, reason = run.task.run_id, ", ".join(run.lost), ending.reason
        if reason.startswith(COMPUTING_ERROR):
            always = "its steps gave different results in every repetition:"
            never = always if ending.never_repeats else "if its steps cannot be repeated,"
            what, remedy = "devices", f"{never} {NOT_REPEATABLE}"
        else:
            what, remedy = "GPUs", "run it alone with CUDA_LAUNCH_BLOCKING=1 to see where"
        text = (
            f"device errors on {len(run.lost)} {what}, one after another ({names}), so its own code may cause them; "
            f"{remedy}: {reason}"
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
    """Return the next share that fills a GPU exactly and is at least 1.5 times as large, or a whole GPU."""
    return next((each for each in _PACKING if each >= _LEAST_GROWTH * share - 1e-9), 1.0)
