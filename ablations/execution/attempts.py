"""How an attempt at a run ended, and what caused it."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from aimlib.errors import StoreError

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
    "machine",
    "stalled",
    "held",
    "unshared",
    "not_begun",
    "died",
]
"""finished, diverged, pruned: settled. paused: stopped on request, its state kept. failed: an exception in the user's
code or the package's. out_of_memory: the GPU's memory was full. device_error: the GPU or its driver failed. full: the
storage was full.
machine: the host is out of memory or about to be shut down, or the storage does not answer. stalled: it hung. held:
another process computes this run. unshared: the worker does not see the study's directory. not_begun: the worker was
given a GPU that is left out, or its process must not take another run. died: the process ended without a report."""

_TRACEBACK_LINES = 25
_LONGEST_CAUSE = 300
"""Maximum number of characters that are kept of the reason why a process died."""


@dataclass(frozen=True)
class Ending:
    """How an attempt ended.

    Attributes
    ----------
    reason : human-readable; empty if there is nothing to explain.
    fault : identifies equal errors, by type and place; empty without an exception.
    traceback : end of the traceback of an error.
    epochs : completed epochs.
    accuracy : validation accuracy of the last of them, a fraction; None if there is none.
    device : UUID of the GPU that it ran on; empty if there was none, or if it is unknown.
    host : machine of that GPU; empty if it ran on none.
    held_by_others : out of memory while other processes used much of the GPU's memory.
    process_spent : the process must not take another run, as it can no longer use its GPU.
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

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values, as a worker sends it."""
        return asdict(self)


def ending_of(error: BaseException, failure: DeviceFailure | None = None) -> Ending:
    """Return the ending of an attempt that raised.

    Parameters
    ----------
    failure : what the error reports about the device; None if it reports nothing.
    """
    reason, end = f"{type(error).__name__}: {error}", "\n".join(_lines(error)[-_TRACEBACK_LINES:])
    kind = _kind_of(error, failure)
    return Ending(
        kind,
        reason,
        fault_of(error) if kind == "failed" else "",
        end,
        held_by_others=failure is not None and failure.held_by_others,
        process_spent=failure is not None and failure.context_lost,
    )


def _kind_of(error: BaseException, failure: DeviceFailure | None) -> End:
    if is_full(error):
        return "full"
    if is_the_machines(error):
        return "machine"
    if failure is None or failure.kind == "device_assert":
        return "failed"
    return failure.kind


def is_full(error: BaseException) -> bool:
    """Return whether an error, or its cause, is full storage."""
    return any(
        (isinstance(each, OSError) and each.errno in (errno.ENOSPC, errno.EDQUOT))
        or (isinstance(each, StoreError) and "free space" in str(each))
        for each in _chain(error)
    )


def is_the_machines(error: BaseException) -> bool:
    """Return whether an error means that the host is out of memory or that the storage is unavailable for a while.

    Errors that the storage would repeat (no permission, no locks, a link) do not count: a person must fix them.
    """
    chain = list(_chain(error))
    if any(_is_of_host_memory(each) for each in chain):
        return True
    return any(isinstance(each, StoreError) for each in chain) and any(_is_passing(each) for each in chain)


def _is_of_host_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return "DefaultCPUAllocator" in str(error) or "HOST_ALLOCATION_FAILED" in str(error)


def _is_passing(error: BaseException) -> bool:
    if isinstance(error, (TimeoutError, ConnectionError)):
        return True
    if isinstance(error, OSError):
        return error.errno in _PASSING
    return getattr(error, "status", None) in _BUSY


_PASSING = frozenset(
    {errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EINTR, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH}
)
_BUSY = frozenset({0, 408, 429, 500, 502, 503, 504})
"""Status codes with which object storage asks for a later retry; 0: no answer at all."""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what caused it, the first cause last."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def fault_of(error: BaseException) -> str:
    """Return the identity of an error: its type, and the place that raised it.

    Not the message, which may name a seed or an address.
    """
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__} at {place}"


def _lines(error: BaseException) -> list[str]:
    return "".join(traceback.format_exception(error)).splitlines()


def ending_of_death(report: str) -> Ending:
    """Return the ending of an attempt whose worker could not report.

    The machine is the cause, unless Python raised an exception in the worker; then the ending names a fault.

    Parameters
    ----------
    report : Ray's report; an exception in a worker is a RayTaskError there. Empty if Ray knows nothing.
    """
    lines = [line.strip() for line in report.splitlines() if line.strip()]
    cause = lines[-1].rpartition("exit detail: ")[2][:_LONGEST_CAUSE] if lines else "Ray gave no reason"
    return Ending("died", cause, fault=(cause or "RayTaskError") if "RayTaskError" in report else "")
