"""Spot checks: now and then, a run computes a training step twice from the same state, and compares every bit.

Hardware that occasionally computes a wrong number does not report it, and the number is stored. In a spot check, the
step is repeated on the same device with the same kernels, which are deterministic, so both results must be bitwise
identical. If they are not, the check does not guess which result is wrong: the attempt ends, and the run continues from
its last checkpoint. A check does not affect the run's results; it only takes time.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from aimlib.errors import ComputingError, counted
from aimlib.training.steps.base import Inputs, Step
from aimlib.training.steps.choice import OnNotice
from aimlib.training.steps.exchange import State, differing, state_bytes

SHARE = 0.005
"""Maximum share of the training time that spot checks take."""
_FIRST_STEPS = 3
"""Number of steps in an attempt before the first repeated step, because the first steps compile, capture and
allocate."""
_STEPS_OF_A_CHECK = 4.0
"""Expected duration of a run's first check, in steps."""
_NAMED = 3
"""Maximum number of tensors listed in a message."""
_FURTHER = 3
"""Number of repetitions after a difference; they distinguish a transient error from a step that is never repeatable."""
_MARGIN_BYTES, _MARGIN_SHARE = 2**26, 0.05
"""Device memory that must remain free in addition to a copy of the state."""
_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


class SpotBudget:
    """The time that a process may spend on spot checks; runs share it, so that short runs are checked as well.

    Parameters
    ----------
    share : maximum share of the training time; infinity repeats every step.
    """

    def __init__(self, share: float = SHARE) -> None:
        if not share > 0:
            raise ValueError(
                f"share={share}: must be greater than 0; to repeat no steps, call train() without a budget"
            )
        self.share = share
        self.seconds = 0.0
        """Time that may currently be spent; less than 0 after a check that took longer than expected."""
        self.spent = 0.0
        """Duration of all checks so far, without the steps that the runs need anyway."""

    def earn(self, seconds: float, most: float) -> None:
        """Add the budget's share of a training time; at most `most` accumulates."""
        if seconds > 0:
            self.seconds = min(max(most, self.seconds), self.seconds + self.share * seconds)

    def spend(self, seconds: float) -> None:
        """Subtract the duration of a check."""
        self.seconds -= seconds
        self.spent += seconds


class SpotChecks:
    """The spot checks in one attempt at a run.

    Parameters
    ----------
    budget : the process's budget.
    device : the run's device.
    memory_share : maximum share of a GPU's memory that the run may use; None: all of it.
    on_notice : called with a message when a check is skipped for the first time.
    clock : returns the time in seconds.

    Attributes
    ----------
    made, skipped : number of checks done, and number of checks skipped because there was not enough memory.
    """

    def __init__(
        self,
        budget: SpotBudget,
        device: torch.device,
        memory_share: float | None,
        on_notice: OnNotice,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._budget, self._device, self._memory_share = budget, device, memory_share
        self._on_notice, self._clock = on_notice, clock
        self.made = self.skipped = 0
        self._steps = 0
        self._began = self._last = clock()
        self._cost: float | None = None

    def is_due(self) -> bool:
        """Return whether the next step is to be repeated; called before every step."""
        now = self._clock()
        if self._steps == 0:
            self._began = self._last = now
        self._steps += 1
        if self._budget.share == math.inf:
            return True
        taken = self._steps - 1
        cost = self._cost
        if cost is None:
            cost = _STEPS_OF_A_CHECK * (now - self._began) / taken if taken else math.inf
        self._budget.earn(now - self._last, most=2 * cost)
        self._last = now
        return taken >= _FIRST_STEPS and self._budget.seconds >= cost

    def take(self, step: Step, inputs: Inputs, again: Callable[[], Inputs], where: str) -> tuple[Tensor, Tensor]:
        """Take a step, repeat it from the same state, and return its result, as `Step.take` does.

        Parameters
        ----------
        again : returns the same inputs, gathered once more.
        where : description of the step in messages.

        Raises
        ------
        ComputingError: the two results differ; the state of the run must no longer be used.
        """
        self._wait()
        began = self._clock()
        needed, room = state_bytes(step.computation), self._room()
        if room is not None and needed * (1 + _MARGIN_SHARE) + _MARGIN_BYTES > room:
            return self._skip(step, inputs, f"a copy of its state needs {_mib(needed)}, but {_mib(room)} are free")
        before: State | None = None
        try:
            before = State(step.computation)
            copied = self._clock()
            first = tuple(part.clone() for part in step.take(inputs))
            self._wait()
        except torch.OutOfMemoryError as error:
            if before is not None:
                before.put_back()
            del before
            torch.cuda.empty_cache()
            return self._skip(step, inputs, f"a copy of its state leaves too little for the step ({_line(error)})")
        taken = self._clock()
        result = self._repeat(step, inputs, again, where, before.exchange(), first)
        self._wait()
        self._charge((copied - began) + (self._clock() - taken))
        return result

    def _repeat(
        self,
        step: Step,
        inputs: Inputs,
        again: Callable[[], Inputs],
        where: str,
        after: State,
        first: tuple[Tensor, ...],
    ) -> tuple[Tensor, Tensor]:
        """Take the step again and compare."""
        try:
            repeated = again()
            result = step.take(repeated)
        except torch.OutOfMemoryError as error:
            after.put_back()
            self._count_skipped(f"repeating a step needs more memory than the step ({_line(error)})")
            return first[0], first[1]
        self.made += 1
        if found := _differences(inputs, repeated, first, result, after):
            del after
            raise self._error(
                step, again, f"{where} was computed twice from the same state, and the results differ", found
            )
        return result

    def _error(self, step: Step, again: Callable[[], Inputs], text: str, found: list[str]) -> ComputingError:
        """Repeat a step that differed, and return an error that says whether any repetition agreed."""
        wrong = 0
        try:
            for _ in range(_FURTHER):
                before, one = State(step.computation), again()
                first = tuple(part.clone() for part in step.take(one))
                after, other = before.exchange(), again()
                wrong += bool(_differences(one, other, first, step.take(other), after))
        except torch.OutOfMemoryError:
            return ComputingError(f"{text} in {_listed(found)}")
        if wrong == _FURTHER:
            shown = f"{_FURTHER} further repetitions differed as well, so this step is not repeatable on this device"
        else:
            shown = f"{_FURTHER - wrong} of {_FURTHER} further repetitions agreed, so the device's error was transient"
        return ComputingError(f"{text} in {_listed(found)}; {shown}", never_repeats=wrong == _FURTHER)

    def _skip(self, step: Step, inputs: Inputs, reason: str) -> tuple[Tensor, Tensor]:
        self._count_skipped(reason)
        return step.take(inputs)

    def _count_skipped(self, reason: str) -> None:
        if self.skipped == 0:
            self._on_notice(f"spot checks are skipped while there is not enough memory: {reason}")
        self.skipped += 1
        self._budget.seconds = min(0.0, self._budget.seconds)  # the next check follows when the budget covers it

    def _charge(self, seconds: float) -> None:
        self._cost = max(seconds, 1e-6)
        self._last = self._clock()  # the duration of a check does not add to the budget
        self._budget.spend(seconds)

    def _wait(self) -> None:
        """Wait until the device has finished its work, so that the clock includes it."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _room(self) -> int | None:
        """Return the number of bytes available for a copy; None if unknown."""
        if self._device.type != "cuda":
            return host_room()
        free, total = torch.cuda.mem_get_info(self._device)
        limit = int((self._memory_share or 1.0) * total) - torch.cuda.memory_reserved(self._device)
        return max(0, min(free, limit))


def _differences(
    one: Inputs, other: Inputs, first: tuple[Tensor, ...], second: tuple[Tensor, ...], after: State
) -> list[str]:
    """Return what differs between two computations of a step: inputs, results, or the state after the step."""
    read = zip(one.tensors(), other.tensors(), strict=True)
    values = {"loss": (first[0], second[0]), "correct predictions": (first[1], second[1])}
    values |= {f"input {number}": pair for number, pair in enumerate(read, 1)}
    return [*sorted(differing(values)), *after.differences()]


def host_room(meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> int | None:
    """Return the number of bytes of host memory that this process can still allocate; None if unknown. Linux only."""
    found = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = meminfo.read_text(encoding="ascii", errors="replace").splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable:"))
        found.append(int(available.split()[1]) * 1024)
    with contextlib.suppress(OSError, ValueError):
        limit = int((cgroup / "memory.max").read_text(encoding="ascii"))  # "max" if there is no limit
        lines = (cgroup / "memory.stat").read_text(encoding="ascii").splitlines()
        used = {name: int(value) for name, value in map(str.split, lines)}
        current = int((cgroup / "memory.current").read_text(encoding="ascii"))
        found.append(limit - current + used.get("inactive_file", 0) + used.get("active_file", 0))
    return max(0, min(found)) if found else None


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{counted(len(names), 'value')}: {shown}{more}"


def _mib(number: int) -> str:
    return f"{number / 2**20:.0f} MiB"


def _line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0][:200]
