"""How an attempt at a run ended, and whose doing that was."""

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
"""finished, diverged, pruned: settled. paused: stopped on request, its state kept. failed: an exception, which is the
user's or the package's. out_of_memory: the GPU is. device_error: the GPU or its driver failed. full: the storage is.
machine: the host is out of memory or about to be shut down, or the storage does not answer. stalled: it hung. held:
another process computes this run. unshared: the worker does not see the study's directory. not_begun: the worker was
given a GPU that is left out, or its process must not take another run. died: the process is gone without a word."""

_TRACEBACK_LINES = 25
_LONGEST_CAUSE = 300
"""Characters of the cause of a death that are kept."""


@dataclass(frozen=True)
class Ending:
    """How an attempt ended.

    Attributes
    ----------
    reason : for people; empty where there is nothing to explain.
    fault : what makes two errors the same one, such as type and place; empty where nothing raised.
    traceback : end of the traceback of an error.
    epochs : completed epochs.
    accuracy : validation accuracy of the last of them, a fraction; None where there is none.
    device : UUID of the GPU that it ran on; empty where it ran on none, or that is not known.
    host : machine of that GPU; empty where it ran on none.
    held_by_others : out of memory while others than this process held much of the GPU's memory.
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
        """Return it as plain values, for the way from a worker."""
        return asdict(self)


def ending_of(error: BaseException, failure: DeviceFailure | None = None) -> Ending:
    """Return the ending of an attempt that raised.

    Parameters
    ----------
    failure : what the error says of the device; None where that is nothing.
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
    """Tell whether an error, or what caused it, is storage without room."""
    return any(
        (isinstance(each, OSError) and each.errno in (errno.ENOSPC, errno.EDQUOT))
        or (isinstance(each, StoreError) and "free space" in str(each))
        for each in _chain(error)
    )


def is_the_machines(error: BaseException) -> bool:
    """Tell whether an error is that of the host's memory, or of storage that does not answer for a while.

    What the storage will say again the next time (no permission, no locks, a link) is not: that is for people.
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
"""Status codes of object storage that ask to try again later; 0: no answer at all."""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what caused it, the first cause last."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def fault_of(error: BaseException) -> str:
    """Return what two errors have in common that are the same one: type, and the place that raised.

    Not the message, which may name a seed or an address.
    """
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__} at {place}"


def _lines(error: BaseException) -> list[str]:
    return "".join(traceback.format_exception(error)).splitlines()


def ending_of_death(report: str) -> Ending:
    """Return the ending of an attempt whose worker could not even report.

    That is the machine's doing, unless Python raised in the worker: then the ending names a fault.

    Parameters
    ----------
    report : all that Ray says of it; an exception in a worker is a RayTaskError there. Empty where Ray knows nothing.
    """
    lines = [line.strip() for line in report.splitlines() if line.strip()]
    cause = lines[-1].rpartition("exit detail: ")[2][:_LONGEST_CAUSE] if lines else "Ray gave no reason"
    return Ending("died", cause, fault=(cause or "RayTaskError") if "RayTaskError" in report else "")
