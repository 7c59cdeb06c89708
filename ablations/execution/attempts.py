"""How an attempt at a run ended, and what caused it."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from ablations.store.outages import OutageTooLong, kind_of
from aimlib.errors import ComputingError, DataError, StoreError, text_of
from aimlib.own_code.places import place_in_own_code
from aimlib.records.escaping import LONGEST_LINE, LONGEST_MESSAGE, LONGEST_TRACEBACK, shortened, storable
from aimlib.records.redaction import without_secrets

if TYPE_CHECKING:
    from aimlib.training.device_errors import DeviceFailure  # imports torch, which takes seconds

End = Literal[
    "finished",
    "diverged",
    "pruned",
    "paused",
    "failed",
    "out_of_memory",
    "device_error",
    "full",
    "storage",
    "machine",
    "stalled",
    "held",
    "unshared",
    "not_begun",
    "died",
]
"""finished, diverged, pruned: settled. paused: the run stopped on request, and its state was saved. failed: an
exception in the user's code or the package's code. out_of_memory: the GPU's memory was full. device_error: the GPU or
its driver failed, or a GPU or CPU computed different results from the same state. full: the storage was full. storage:
the storage was unavailable, and the wait for it was interrupted or took too long. machine: the host is out of memory or
about to be shut down. stalled: the run hung. held: another process is computing this run. unshared: the worker cannot
find the study's directory. not_begun: the worker was given an excluded GPU, or its process must not take another run.
died: the process ended without a report."""

COMPUTING_ERROR = "computing error"
"""Start of the reason for a device error if the device reported no error but computed wrong results."""
_TRACEBACK_LINES = 25
_LONGEST_CAUSE = 300
"""Maximum number of characters stored for the reason why a process died."""


@dataclass(frozen=True)
class Ending:
    """How an attempt ended.

    Attributes
    ----------
    reason : human-readable; empty if there is nothing to explain.
    fault : identifies equal errors, by type and place; empty if there was no exception.
    traceback : last lines of the error's traceback.
    epochs : completed epochs.
    accuracy : validation accuracy after the last of these epochs, as a fraction; None if there is none.
    device : UUID of the GPU that the attempt ran on; empty if there was none, or if it is unknown. After a device error
        on a CPU, the name of the machine's CPUs.
    host : machine of that device; empty if `device` is empty.
    held_by_others : the attempt ran out of memory while other processes used much of the GPU's memory.
    process_spent : the process must not take another run, because it can no longer use its GPU.
    never_repeats : a step was computed several times from the same state, with a different result every time.
    row_digest : digest of the row that this attempt wrote, for the ledger; empty if it wrote no row.
    is_explained : the reason says what to do (for example, for changed data), so the user does not need a traceback.
    """

    end: End
    reason: str = ""
    fault: str = ""
    traceback: str = ""
    epochs: int = 0
    accuracy: float | None = None
    device: str = ""
    host: str = ""
    held_by_others: bool = False
    process_spent: bool = False
    never_repeats: bool = False
    row_digest: str = ""
    is_explained: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the ending as plain values, as a worker sends it."""
        return asdict(self)


def ending_of(error: BaseException, failure: DeviceFailure | None = None) -> Ending:
    """Return the ending of an attempt that raised an error.

    Parameters
    ----------
    failure : what the error reports about the device; None if the error reports nothing about it.
    """
    reason, end = message_of(error), end_of_traceback(error)
    kind = _kind_of(error, failure)
    if kind == "device_error" and isinstance(error, ComputingError):
        reason = f"{COMPUTING_ERROR}: {reason.partition(': ')[2]}"
    return Ending(
        kind,
        reason,
        fault_of(error) if kind == "failed" else "",
        end,
        held_by_others=failure is not None and failure.held_by_others,
        process_spent=failure is not None and failure.context_lost,
        never_repeats=isinstance(error, ComputingError) and error.never_repeats,
        is_explained=isinstance(error, DataError),
    )


def _kind_of(error: BaseException, failure: DeviceFailure | None) -> End:
    if isinstance(error, ComputingError):
        return "device_error"
    if is_full(error):
        return "full"
    if isinstance(error, OutageTooLong) or kind_of(error, of_storage=False) in ("away", "unreachable"):
        return "storage"
    if any(_is_of_host_memory(each) for each in _chain(error)):
        return "machine"
    if failure is None or failure.kind == "device_assert":
        return "failed"
    return failure.kind


def is_full(error: BaseException) -> bool:
    """Return whether the error, or one of its causes, is full storage."""
    return kind_of(error, of_storage=False) == "full" or any(
        isinstance(each, StoreError) and "free space" in text_of(each) for each in _chain(error)
    )


def _is_of_host_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    text = text_of(error)
    return "DefaultCPUAllocator" in text or "HOST_ALLOCATION_FAILED" in text


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes, the original cause last."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def fault_of(error: BaseException) -> str:
    """Return the identity of an error: its type, and the place that raised it.

    The message is not part of the identity, because it may contain a seed or an address.
    """
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__} at {place}"


def message_of(error: BaseException) -> str:
    """Return the type and the message of an error as they are stored and shown: shortened, and without secrets.

    For an error in the user's own code, the result also contains the file, the line and the function.
    """
    text = shortened(text_of(error), 4 * LONGEST_MESSAGE)  # limits the search for secrets
    place = place_in_own_code(error)
    where = f" ({place})" if place and place not in text else ""
    told = storable(f"{type(error).__name__}: {without_secrets(text)}", LONGEST_MESSAGE - len(where))
    return f"{told}{where}"


def end_of_traceback(error: BaseException) -> str:
    """Return the last lines of a traceback as they are stored and shown, shortened and without secrets."""
    lines = "".join(traceback.format_exception(error)).splitlines()[-_TRACEBACK_LINES:]
    text = without_secrets("\n".join(shortened(line, LONGEST_LINE) for line in lines))
    return storable(text, LONGEST_TRACEBACK)


def ending_of_death(report: str) -> Ending:
    """Return the ending of an attempt whose worker could not report.

    The machine is the cause unless Python raised an exception in the worker; in that case, the ending names a fault.

    Parameters
    ----------
    report : Ray's report, in which an exception in a worker is a RayTaskError. Empty if Ray provides no report.
    """
    lines = [line.strip() for line in report.splitlines() if line.strip()]
    cause = lines[-1].rpartition("exit detail: ")[2][:_LONGEST_CAUSE] if lines else "Ray gave no reason"
    cause = storable(without_secrets(cause))
    return Ending("died", cause, fault=(cause or "RayTaskError") if "RayTaskError" in report else "")
