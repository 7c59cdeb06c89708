"""The history checker accepts valid histories, and finds and reports everything that contradicts the model."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from histories.checker import check, linearizable, unfinished
from histories.events import NEVER, History, Operation, Recorder, parsed, recorder_of
from hypothesis import given, settings
from hypothesis import strategies as st

from ablations.store import Fenced
from aimlib.errors import StoreError

RUN = "r"


def operation(
    name: str, invoked: int, completed: int, result: Any = None, outcome: str = "ok", **values: Any
) -> Operation:
    if name not in ("ids", "read"):
        values.setdefault("run", RUN)
    return Operation("p", name, values, invoked, completed, outcome, result)


def settle(
    digest: str, invoked: int, completed: int, kept: bool = True, outcome: str = "ok", grant: str = ""
) -> Operation:
    return operation("settle", invoked, completed, kept, outcome, digest=digest, grant=grant)


def read(invoked: int, completed: int, **rows: str) -> Operation:
    return operation("read", invoked, completed, rows)


def kinds(*operations: Operation, end: tuple[str, ...] = ()) -> list[str]:
    return [violation.kind for violation in check(History(list(operations)), end)]


def by(process: str, found: Operation) -> Operation:
    found.process = process
    return found


VALID: dict[str, tuple[Operation, ...]] = {
    "the first of two writers wins": (settle("a", 0, 1), settle("b", 2, 3, kept=False), read(4, 5, r="a")),
    "either of two simultaneous writers may win": (
        settle("a", 0, 9, kept=False),
        settle("b", 1, 8),
        read(10, 11, r="b"),
    ),
    "a reader during a write may see the row": (settle("a", 0, 9), read(1, 2, r="a"), read(3, 4, r="a")),
    "a reader during a write may miss the row": (settle("a", 0, 9), read(1, 2), read(3, 4, r="a")),
    "a killed writer may have written": (settle("a", 0, NEVER, outcome="unknown"), read(5, 6), read(7, 8, r="a")),
    "a killed writer may not have written": (settle("a", 0, NEVER, outcome="unknown"), read(5, 6), settle("b", 7, 8)),
    "a writer without an answer wins later": (
        settle("a", 0, 1, outcome="unknown"),
        settle("b", 2, 3, kept=False),
        read(4, 5, r="a"),
    ),
    "a fenced writer has not written": (settle("a", 0, 1, outcome="fenced"), read(2, 3), settle("b", 4, 5)),
    "an interrupted reader has not seen a row": (settle("a", 0, 1), operation("read", 2, NEVER, None, "unknown")),
    "a successor takes over": (
        operation("take", 0, 1, "first"),
        operation("take", 2, 3, "second"),
        operation("holds", 4, 5, False, grant="first"),
        settle("a", 6, 7, outcome="fenced", grant="first"),
        settle("b", 8, 9, grant="second"),
    ),
    "a write that began before the takeover counts": (
        operation("take", 0, 1, "first"),
        settle("a", 2, 9, grant="first"),
        operation("take", 3, 4, "second"),
        settle("b", 10, 11, kept=False, grant="second"),
    ),
    "the last checkpoint is restored": (
        operation("save", 0, 1, content="1"),
        operation("save", 2, 3, content="2"),
        operation("restore", 4, 5, "2"),
        operation("discard", 6, 7),
        operation("restore", 8, 9),
    ),
    "a process continues from its own copy of a checkpoint that it could not store": (
        operation("save", 0, 1, content="1"),
        operation("save", 2, 3, None, "fenced", content="2"),
        operation("restore", 4, 5, "2"),
        by("other", operation("restore", 6, 7, "1")),
    ),
    "an interrupted save may be restored later": (
        operation("save", 0, 1, content="1"),
        operation("save", 2, NEVER, None, "unknown", content="2"),
        operation("restore", 4, 5, "1"),
        operation("restore", 6, 7, "2"),
    ),
}
PLANTED: dict[str, tuple[str, tuple[Operation, ...]]] = {
    "two rows count": ("doubled", (settle("a", 0, 1), settle("b", 2, 3))),
    "two rows count at the same time": ("doubled", (settle("a", 0, 3), settle("b", 1, 2))),
    "a different row is read": ("changed", (settle("a", 0, 1), settle("b", 2, 3, kept=False), read(4, 5, r="b"))),
    "two readers see two rows": (
        "changed",
        (
            settle("a", 0, NEVER, outcome="unknown"),
            settle("b", 1, NEVER, outcome="unknown"),
            read(2, 3, r="a"),
            read(4, 5, r="b"),
        ),
    ),
    "a row that no process wrote is read": ("invented", (settle("a", 0, 1, kept=False), read(2, 3, r="x"))),
    "a row is read before it is written": ("invented", (read(0, 1, r="a"), settle("a", 2, 3))),
    "the row of a fenced writer is read": ("invented", (settle("a", 0, 1, outcome="fenced"), read(2, 3, r="a"))),
    "a row vanishes": ("vanished", (settle("a", 0, 1), read(2, 3, r="a"), read(4, 5))),
    "a row vanishes from the list of ids": (
        "vanished",
        (settle("a", 0, 1), operation("ids", 2, 3, ["r"]), operation("ids", 4, 5, [])),
    ),
    "a row vanishes for a writer": (
        "vanished",
        (settle("a", 0, 9), read(1, 2, r="a"), operation("is_settled", 3, 4, False)),
    ),
    "a reader does not see a row that counts": ("stale", (settle("a", 0, 1), read(2, 3))),
    "no row counts": ("denied", (settle("a", 0, 1, kept=False), settle("b", 2, 3, kept=False))),
    "the winner is told that it lost": ("denied", (settle("a", 0, 1, kept=False), read(2, 3, r="a"))),
    "a run is settled without a writer": ("denied", (operation("ids", 0, 1, ["r"]),)),
    "a holder settles a run after another process took it over": (
        "fenced",
        (operation("take", 0, 1, "first"), operation("take", 2, 3, "second"), settle("a", 4, 5, grant="first")),
    ),
    "a holder saves a checkpoint after another process took the run over": (
        "fenced",
        (
            operation("take", 0, 1, "first"),
            operation("take", 2, 3, "second"),
            operation("save", 4, 5, content="1", grant="first"),
        ),
    ),
    "two processes believe that they hold a lock": (
        "two holders",
        (
            operation("take", 0, 1, "first"),
            operation("take", 2, 3, "second"),
            operation("holds", 4, 5, True, grant="first"),
        ),
    ),
    "an old checkpoint is restored": (
        "checkpoint",
        (operation("save", 0, 1, content="1"), operation("save", 2, 3, content="2"), operation("restore", 4, 5, "1")),
    ),
    "a process continues from its own copy after another has saved": (
        "checkpoint",
        (
            operation("save", 0, 1, None, "fenced", content="1"),
            by("other", operation("save", 2, 3, content="2")),
            operation("restore", 4, 5, "1"),
        ),
    ),
    "a checkpoint that a fenced process could not store is restored by another process": (
        "fenced",
        (operation("save", 0, 1, None, "fenced", content="1"), by("other", operation("restore", 2, 3, "1"))),
    ),
    "a saved checkpoint is lost": (
        "checkpoint",
        (operation("save", 0, 1, content="1"), operation("restore", 2, 3, None)),
    ),
}


@pytest.mark.parametrize("name", VALID)
def test_a_valid_history_passes(name: str) -> None:
    assert kinds(*VALID[name]) == []


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_violation_is_found_and_reported(name: str) -> None:
    kind, operations = PLANTED[name]
    assert kinds(*operations) == [kind]


def test_a_run_that_no_process_settled_counts_as_lost() -> None:
    assert kinds(read(0, 1), end=(RUN,)) == ["lost"]
    assert kinds(settle("a", 0, 1), read(2, 3, r="a"), end=(RUN,)) == []


def test_runs_are_checked_separately() -> None:
    other = operation("settle", 6, 7, True, run="s", digest="c", grant="")
    assert kinds(settle("a", 0, 1), settle("b", 2, 3), other, read(8, 9, r="a", s="c")) == ["doubled"]


def test_a_violation_shows_the_operations_that_contradict_each_other() -> None:
    (found,) = check(History([settle("a", 0, 1), read(2, 3, r="a"), read(4, 5)]))
    assert "[2..3] p: read" in str(found)
    assert "[4..5] p: read" in str(found)


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    """Draw operations by up to three writers and some readers at random times, with answers that may be impossible."""
    times = iter(draw(st.permutations(range(12))))
    found = []
    for number in range(draw(st.integers(1, 6))):
        invoked, completed = sorted((next(times), next(times)))
        match draw(st.sampled_from(["settle", "settle", "read", "ids"])):
            case "settle":
                outcome = draw(st.sampled_from(["ok", "ok", "unknown", "fenced"]))
                end = draw(st.sampled_from([completed, NEVER])) if outcome == "unknown" else completed
                found.append(settle(f"{number}", invoked, end, draw(st.booleans()), outcome))
            case "read":
                seen = draw(st.sampled_from(["0", "1", "2", ""]))
                found.append(read(invoked, completed, **({RUN: seen} if seen else {})))
            case _:
                found.append(operation("ids", invoked, completed, draw(st.sampled_from([[], [RUN]]))))
    return sorted(found, key=lambda each: each.invoked)


def possible(operations: list[Operation]) -> bool:
    """Return whether any order is valid, with any subset of the operations whose outcome is unknown: the definition."""
    effective = [each for each in operations if each.outcome != "fenced"]
    unknown = [each for each in effective if each.outcome == "unknown"]
    for number in range(len(unknown) + 1):
        for left_out in itertools.combinations(unknown, number):
            rest = [each for each in effective if not any(each is other for other in left_out)]
            if any(explains(order) for order in itertools.permutations(rest)):
                return True
    return False


def explains(order: tuple[Operation, ...]) -> bool:
    for at, each in enumerate(order):
        if any(later.ended < each.invoked for later in order[at + 1 :]):
            return False
    row = None
    for each in order:
        if each.name == "settle":
            kept = row is None
            row = each.values["digest"] if kept else row
            if each.outcome == "ok" and each.result != kept:
                return False
        elif (each.result.get(RUN) if each.name == "read" else each.result == [RUN]) != (
            row if each.name == "read" else row is not None
        ):
            return False
    return True


@given(histories())
@settings(max_examples=300)
def test_the_checker_agrees_with_the_definition(operations: list[Operation]) -> None:
    assert (kinds(*operations) == []) == possible(operations)


@pytest.mark.slow
@given(histories())
@settings(max_examples=5000)
def test_the_checker_agrees_with_the_definition_on_many_histories(operations: list[Operation]) -> None:
    assert (kinds(*operations) == []) == possible(operations)


@st.composite
def calls(draw: st.DrawFn) -> list[Operation]:
    """Draw saves, restores and discards of one checkpoint at random times, each by a different process."""
    times = iter(draw(st.permutations(range(10))))
    found = []
    for number in range(draw(st.integers(1, 5))):
        invoked, completed = sorted((next(times), next(times)))
        match draw(st.sampled_from(["save", "restore", "discard"])):
            case "save":
                outcome = draw(st.sampled_from(["ok", "unknown"]))
                found.append(operation("save", invoked, completed, None, outcome, content=str(number)))
            case "restore":
                found.append(operation("restore", invoked, completed, draw(st.sampled_from([None, "0", "1", "2"]))))
            case _:
                found.append(operation("discard", invoked, completed))
        found[-1].process = str(number)
    return sorted(found, key=lambda each: each.invoked)


def register(state: object, each: Operation) -> tuple[bool, object]:
    if each.name == "restore":
        return each.result == state, state
    return True, each.values.get("content")


def explained_by_some_order(operations: list[Operation], step: Callable[[Any, Operation], tuple[bool, Any]]) -> bool:
    unknown = [each for each in operations if each.outcome == "unknown"]
    for number in range(len(unknown) + 1):
        for left_out in itertools.combinations(unknown, number):
            rest = [each for each in operations if not any(each is other for other in left_out)]
            for order in itertools.permutations(rest):
                state, fits = None, True
                for at, each in enumerate(order):
                    allowed, state = step(state, each)
                    fits = fits and allowed and not any(later.ended < each.invoked for later in order[at + 1 :])
                if fits:
                    return True
    return False


@given(calls())
@settings(max_examples=200)
def test_the_search_for_an_order_agrees_with_trying_every_order(operations: list[Operation]) -> None:
    assert linearizable(operations, None, register) == explained_by_some_order(operations, register)
    assert (kinds(*operations) == []) == explained_by_some_order(operations, register)


def test_a_recorded_history_is_read_back(tmp_path: Path) -> None:
    def fail(error: Exception) -> None:
        raise error

    with recorder_of(tmp_path / "history") as first, recorder_of(tmp_path / "history") as second:
        assert first.call("a", "settle", lambda: True, run=RUN, digest="x", grant="g").outcome == "ok"
        second.fault("process killed", "a")
        second.call("b", "settle", lambda: fail(Fenced("0" * 20)), run=RUN, digest="y", grant="h")
        second.call("b", "ids", lambda: {RUN})
        first.call("a", "compact", lambda: fail(StoreError("no space")))
        with pytest.raises(KeyboardInterrupt):
            first.call("a", "read", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    text = (tmp_path / "history").read_text()
    found = parsed([*text.splitlines(keepends=True), '{"half a li'])
    assert [each.outcome for each in found.operations] == ["ok", "fenced", "ok", "unknown", "unknown"]
    assert [each.result for each in found.operations] == [True, None, [RUN], "no space", None]
    assert [(each.invoked, each.completed) for each in found.operations][:2] == [(0, 1), (3, 4)]
    assert unfinished(found) == 1
    assert found.faults == {"process killed": 1}
    assert found.runs() == [RUN]
    assert check(found) == []


def test_a_damaged_line_of_a_history_is_not_skipped() -> None:
    with pytest.raises(json.JSONDecodeError):
        parsed(['{"fault": "x"}\n', "{half\n"])
    assert Recorder(lambda line: None).call("a", "ids", set).result == set()
