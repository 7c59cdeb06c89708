"""What happens during a session, as one stream of events.

Executors send `ExecutorEvent` to the coordinator. The coordinator decides what the end of an attempt means for the run,
and publishes each `Event` to all subscribers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from ablations.execution.attempts import Ending
from aimlib.records import RunState
from aimlib.records.escaping import LONGEST_MESSAGE, storable
from aimlib.records.redaction import without_secrets


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A worker has received a run; `where` describes its machine and device."""

    run_id: str
    where: str = ""


@dataclass(frozen=True, slots=True)
class EpochEnded:
    """An epoch of a run is complete; `row` contains a value for every column in `aimlib.records.EPOCHS`."""

    run_id: str
    row: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RunRetried:
    """An attempt ended; the run continues from its checkpoint after a delay."""

    run_id: str
    reason: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The session has finished with a run.

    The run is settled, failed, paused or stopped, or another process is computing it (held).
    """

    run_id: str
    state: RunState
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """A message about one run or, without a run id, about the whole session, shortened and without secrets."""

    text: str
    run_id: str = ""

    def __post_init__(self) -> None:
        """Clean the text, which may quote an error from the storage, a tracker or a plugin."""
        object.__setattr__(self, "text", storable(without_secrets(self.text), LONGEST_MESSAGE))


@dataclass(frozen=True, slots=True)
class NodesChanged:
    """The nodes of the cluster have changed, or the session has begun.

    Attributes
    ----------
    nodes : number of nodes.
    parallel : number of runs that fit on the nodes at the same time.
    totals : total numbers of CPUs and GPUs of all nodes.
    """

    nodes: int
    parallel: int
    totals: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class StorageWait:
    """A run is waiting for the storage or, if the reason is empty, continues after waiting."""

    run_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """A worker has ended an attempt, or its process has died; the coordinator decides what follows."""

    run_id: str
    ending: Ending


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; sent often, so that the coordinator can check the storage and end the session."""


TICK = Tick()

Event = RunStarted | EpochEnded | RunRetried | RunEnded | NodesChanged | Notice
ExecutorEvent = RunStarted | EpochEnded | AttemptEnded | NodesChanged | StorageWait | Notice | Tick

_E_contra = TypeVar("_E_contra", contravariant=True)


class Subscriber(Protocol[_E_contra]):
    """Receive events; the method is called from a single thread, and must not raise an error."""

    def handle(self, event: _E_contra) -> None:
        """Record an event."""
