"""Proves, run by run, that a history is linearizable, or reports the contradictions.

A run is modeled as a write-once register. The first row that settles the run stays; every later writer learns that its
row does not count; and no reader sees the row vanish or change. The run's lock is modeled as a sequence of grants. An
operation under a grant has no effect if it was invoked after a later grant. The run's checkpoint is modeled as a
register that the holders of the grants write, read and discard.

Linearizability is local (Herlihy and Wing 1990, theorem 1), so a read of all runs counts as one read of each run.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .events import NEVER, History, Operation

_Answer = tuple[bool, Hashable]
"""Whether an operation may be next, and the state after the operation."""


@dataclass(frozen=True)
class Violation:
    """Operations that contradict the model.

    Attributes
    ----------
    run : the run.
    kind : doubled, changed, invented, denied, vanished, stale, fenced, two holders, lost or checkpoint.
    text : the operations that contradict each other.
    """

    run: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"run {self.run}: {self.kind}: {self.text}"


def check(history: History, settled_at_the_end: Iterable[str] = ()) -> list[Violation]:
    """Return all contradictions of the model; an empty list proves that the history is linearizable.

    Parameters
    ----------
    settled_at_the_end : runs that must have been settled, because a driver finished the study.
    """
    found: list[Violation] = []
    expected = set(settled_at_the_end)
    for run in sorted(expected.union(history.runs())):
        views = [view for operation in history.operations for view in _views(operation, run)]
        found += _row(run, views)
        found += _grants(run, [operation for operation in history.operations if operation.values.get("run") == run])
        found += _checkpoints(run, history.operations)
        if run in expected and not any(view.value is not None for view in views if view.read):
            found.append(Violation(run, "lost", "no reader saw it settled, although the study was computed to its end"))
    return found


@dataclass(frozen=True)
class _View:
    """What an operation shows about one run's row.

    Attributes
    ----------
    value : for a read, the digest, True if only the id was read, or None; for a write, the digest.
    kept : for a write, whether the store reported that the row counts; None if unknown.
    """

    operation: Operation
    read: bool
    value: Any
    kept: bool | None = None

    def __str__(self) -> str:
        return str(self.operation)


def _views(operation: Operation, run: str) -> list[_View]:
    known = operation.outcome == "ok"
    match operation.name:
        case "settle" if operation.values["run"] == run and operation.outcome != "fenced":
            return [_View(operation, False, operation.values["digest"], bool(operation.result) if known else None)]
        case "is_settled" if operation.values["run"] == run and known:
            return [_View(operation, True, True if operation.result else None)]
        case "ids" if known:
            return [_View(operation, True, True if run in operation.result else None)]
        case "read" if known:
            return [_View(operation, True, operation.result.get(run))]
    return []


def _row(run: str, views: Sequence[_View]) -> list[Violation]:
    """Check a run's row: the history is linearizable if and only if the winning row can have been written at some time.

    That time must be within the winner's call, after the invocation of every operation that saw no row, and before the
    completion of every operation that saw a row.
    """
    writes = [view for view in views if not view.read]
    winners = [view for view in writes if view.kept]
    if len(winners) > 1:
        return [Violation(run, "doubled", "; ".join(map(str, winners)))]
    seen = {view.value: view for view in views if view.read and isinstance(view.value, str)}
    seen |= {view.value: view for view in winners}
    if len(seen) > 1:
        return [Violation(run, "changed", "; ".join(map(str, seen.values())))]
    written = {view.value: view for view in writes}
    if unknown := set(seen) - set(written):
        return [Violation(run, "invented", f"row {unknown.pop()} was never written: {next(iter(seen.values()))}")]
    after = [view for view in views if (view.read and view.value is None)]
    before = [
        view for view in views if (view.read and view.value is not None) or (not view.read and view.kept is False)
    ]
    candidates = [written[digest] for digest in seen] or [view for view in writes if view.kept is None]
    if not seen and not before:
        return []
    for winner in candidates:
        if winner.kept is not False and not _contradiction(winner, after, before):
            return []
    return [_explained(run, candidates, after, before)]


def _contradiction(winner: _View, after: Sequence[_View], before: Sequence[_View]) -> bool:
    earliest = max([winner.operation.invoked, *(view.operation.invoked for view in after)])
    latest = min([winner.operation.ended, *(view.operation.ended for view in before)])
    return earliest >= latest


def _explained(run: str, candidates: Sequence[_View], after: Sequence[_View], before: Sequence[_View]) -> Violation:
    if not candidates:
        return Violation(run, "denied", f"nobody's row counts, but {before[0]}")
    if len(candidates) == 1 and candidates[0].kept is False:
        return Violation(run, "denied", f"its row counts, but {candidates[0]}")
    last = max(after, key=lambda view: view.operation.invoked, default=None)
    first = min(before, key=lambda view: view.operation.completed, default=None)
    if last is None or (first is not None and first.operation.completed <= candidates[0].operation.invoked):
        return Violation(run, "invented", f"{first} came before {candidates[0]}")
    if first is not None and first.operation.completed <= last.operation.invoked:
        return Violation(run, "vanished", f"{first}, and later {last}")
    return Violation(run, "stale", f"{candidates[0]}, and later {last}")


_SUCCEEDED: dict[str, Callable[[Operation], bool]] = {
    "settle": lambda each: bool(each.result),
    "save": lambda each: True,
    "confirm": lambda each: True,
    "holds": lambda each: bool(each.result),
}
"""Operations that need a grant, with functions that return whether the operation succeeded."""


def _grants(run: str, operations: Sequence[Operation]) -> list[Violation]:
    """Check that no operation succeeds under a lock that another process has taken over."""
    takes = [each for each in operations if each.name == "take" and each.outcome == "ok" and each.result]
    of = {take.result: take for take in takes}
    found = []
    for each in operations:
        if each.name not in _SUCCEEDED or each.outcome != "ok" or not _SUCCEEDED[each.name](each):
            continue
        own = of.get(each.values.get("grant"))
        if own is None:
            continue
        successor = next((t for t in takes if t.invoked > own.completed and t.completed < each.invoked), None)
        if successor is not None:
            kind = "two holders" if each.name == "holds" else "fenced"
            found.append(Violation(run, kind, f"{each}, after {successor}"))
    return found


def _checkpoints(run: str, operations: Sequence[Operation]) -> list[Violation]:
    """Check a run's checkpoint, a register whose contents are unique.

    A process keeps its own copy of a checkpoint that it could not store. The process may continue from that copy if no
    other process has saved or discarded a checkpoint in the meantime. Other processes never see the copy.
    """
    names = ("save", "restore", "discard")
    own = [each for each in operations if each.name in names and each.values["run"] == run]
    not_stored = {each.values["content"]: each for each in own if each.name == "save" and each.outcome != "ok"}
    effective = []
    for each in own:
        saved = not_stored.get(each.result) if each.name == "restore" and each.outcome == "ok" else None
        if saved is None or saved.process != each.process or saved.completed > each.invoked:
            if saved is not None and saved.outcome == "fenced":
                return [Violation(run, "fenced", f"{each}, although {saved}")]
            effective += [each] if each.outcome == "ok" or each.name != "restore" else []
            continue
        for other in own:
            between = other.invoked > saved.completed and other.completed < each.invoked
            if other.name != "restore" and other.outcome == "ok" and other.process != each.process and between:
                return [Violation(run, "checkpoint", f"{each}, although {other}")]
    if linearizable(effective, None, _checkpoint_step):
        return []
    shown = "\n  ".join(map(str, effective))
    return [Violation(run, "checkpoint", f"no order explains what was restored:\n  {shown}")]


def _checkpoint_step(state: Hashable, operation: Operation) -> _Answer:
    match operation.name:
        case "save":
            return True, operation.values["content"]
        case "discard":
            return True, None
    return operation.result == state, state


def linearizable(
    operations: Sequence[Operation], start: Hashable, step: Callable[[Hashable, Operation], _Answer]
) -> bool:
    """Return whether any order explains every answer (Wing and Gong 1993, with the memoization of Lowe 2017).

    In that order, an operation precedes all operations that were invoked after it was completed. Operations with an
    unknown outcome may be omitted.

    Parameters
    ----------
    step : returns whether an operation may be next in a state, and the state after the operation.
    """
    calls = sorted(operations, key=lambda each: each.invoked)
    required = sum(1 << at for at, each in enumerate(calls) if each.outcome == "ok")
    seen: set[tuple[int, Hashable]] = set()
    paths = [(0, start)]
    while paths:
        done, state = paths.pop()
        if done & required == required:
            return True
        if (done, state) in seen:
            continue
        seen.add((done, state))
        horizon = min((each.ended for at, each in enumerate(calls) if not done >> at & 1 and required >> at & 1))
        for at, each in enumerate(calls):
            if each.invoked > horizon:
                break
            if not done >> at & 1:
                possible, following = step(state, each)
                if possible:
                    paths.append((done | 1 << at, following))
    return False


def unfinished(history: History) -> int:
    """Return the number of operations that were never completed."""
    return sum(operation.completed == NEVER for operation in history.operations)
