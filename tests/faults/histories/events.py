"""A history contains every process's calls to a store, and the answers, in the order of one common counter.

An event is a line of JSON, and its line number is the common counter. A process writes the line for an invocation
before it calls the store, and the line for a completion after the store has answered. An operation without a completion
was interrupted, for instance because its process was killed. Such an operation may or may not have had an effect.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablations.store import Fenced
from aimlib.errors import StoreError

NEVER = 10**12
"""Value of `completed` for an operation that was never completed."""


@dataclass
class Operation:
    """One call to the store.

    Attributes
    ----------
    process : name of the caller.
    name : settle, is_settled, ids, read, take, holds, save, restore, discard, compact, clean or repair.
    values : arguments, such as `run`, `digest`, `grant` or `content`.
    invoked, completed : positions on the common counter.
    outcome : ok; fenced (refused, and without effect, because the lock was lost); or unknown (the call raised an error
        or was never completed, so it may have had an effect, or may still have one).
    result : the store's answer, if the outcome is ok.
    """

    process: str
    name: str
    values: dict[str, Any]
    invoked: int
    completed: int = NEVER
    outcome: str = "unknown"
    result: Any = None

    @property
    def ended(self) -> int:
        """The latest time at which the call can have had its effect; `NEVER` if the outcome is unknown."""
        return self.completed if self.outcome != "unknown" else NEVER

    def __str__(self) -> str:
        until = "never completed" if self.completed == NEVER else str(self.completed)
        shown = " ".join(f"{key}={value}" for key, value in self.values.items())
        return f"[{self.invoked}..{until}] {self.process}: {self.name} {shown} -> {self.outcome} {self.result!r}"


@dataclass
class History:
    """Operations in the order of their invocation, and the number of injected faults, by kind."""

    operations: list[Operation] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)

    def runs(self) -> list[str]:
        """Return all runs to which operations refer or that operations have returned."""
        found = {operation.values["run"] for operation in self.operations if "run" in operation.values}
        for operation in self.operations:
            if operation.name in ("ids", "read") and operation.outcome == "ok":
                found.update(operation.result)
        return sorted(found)


class Recorder:
    """Writes the events of all processes that share the recorder.

    Parameters
    ----------
    write : appends one line to the history.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._calls = 0

    def call(self, process: str, name: str, ask: Callable[[], Any], **values: Any) -> Operation:
        """Record a call to the store; errors from the store are recorded, and other exceptions are raised.

        Returns
        -------
        The completed operation; its counters are not set.
        """
        self._calls += 1
        found = Operation(process, name, values, 0)
        call = f"{process}/{self._calls}"
        self._event(call=call, process=process, name=name, values=values)
        try:
            found.result, found.outcome = ask(), "ok"
        except Fenced:
            found.outcome = "fenced"
        except StoreError as error:
            found.outcome, found.result = "unknown", str(error)[:200]
        self._event(call=call, outcome=found.outcome, result=_plain(found.result))
        return found

    def fault(self, kind: str, target: str = "") -> None:
        """Record a fault that is injected."""
        self._event(fault=kind, target=target)

    def _event(self, **content: Any) -> None:
        self._write(json.dumps(content, sort_keys=True))


def _plain(result: Any) -> Any:
    if isinstance(result, (set, frozenset)):
        return sorted(result)
    return result if isinstance(result, (dict, list, str, int, float, type(None))) else str(result)


def parsed(lines: Iterable[str]) -> History:
    """Return the history in these lines. If a killed writer left an incomplete last line, that line is ignored."""
    history, open_calls = History(), dict[str, Operation]()
    for counter, line in enumerate(lines):
        event = _event_in(line)
        if event is None:
            continue
        if "fault" in event:
            history.faults[event["fault"]] = history.faults.get(event["fault"], 0) + 1
        elif "outcome" in event:
            found = open_calls.pop(event["call"])
            found.completed, found.outcome, found.result = counter, event["outcome"], event["result"]
        else:
            found = Operation(event["process"], event["name"], event["values"], counter)
            open_calls[event["call"]] = found
            history.operations.append(found)
    return history


def _event_in(line: str) -> Mapping[str, Any] | None:
    try:
        event: Mapping[str, Any] = json.loads(line)
    except ValueError:
        if line.endswith("\n"):
            raise
        return None
    return event


@contextmanager
def recorder_of(path: Path) -> Iterator[Recorder]:
    """Record to a file to which many processes append; the position of a line is the common counter."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        yield Recorder(lambda line: os.write(handle, f"{line}\n".encode()))
    finally:
        os.close(handle)
