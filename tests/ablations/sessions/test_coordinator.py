"""What an ending means for the store and for who watches: storage that fills, arms that fail, errors shown at once."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tiny_study import changed, failures, write

import ablations.sessions.coordinator
from ablations.execution.attempts import Ending
from ablations.execution.run_task import tasks
from ablations.execution.scheduler import Queue
from ablations.execution.signals import Stop
from ablations.execution.task import Task
from ablations.planning import plan as planning
from ablations.sessions.coordinator import Desk
from ablations.sessions.registration import stale
from ablations.sessions.remembered_shares import remembered
from ablations.spec.study import read_study
from ablations.store import ResultStore
from aimlib.errors import StoreError


class Watcher(list[tuple[Any, ...]]):
    """Remembers what it is told."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.append((name, *arguments))


class Table:
    """A desk with its queue, its watcher and what was printed."""

    def __init__(self, folder: Path, seeds: int = 3) -> None:
        plan = planning.plan(read_study(write(folder, changed({"seeds": seeds}))))
        self.store = ResultStore(folder / "out")
        self.tasks = {task.run_id: task for task in tasks(plan, self.store, list(plan.runs))}
        self.watcher, self.said = Watcher(), io.StringIO()
        self.now = 0.0
        self.queue = Queue(self.tasks.values(), 1, lambda: self.now)
        self.stop = Stop()
        console = Console(file=self.said, width=200)
        self.desk = Desk(self.store, self.tasks, self.queue, self.stop, "0" * 12, [self.watcher], console)

    def of(self, arm: str) -> list[str]:
        return [run_id for run_id, task in self.tasks.items() if task.arm == arm]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path)


def test_what_the_runs_of_an_arm_tell_is_said_once(table: Table) -> None:
    (first, second, _), (other, *_) = table.of("aim"), table.of("baseline")
    for run_id in (first, second, other, first):
        table.desk.notice(run_id, "training steps run eagerly")
    table.desk.notice(first, "something else")
    assert table.watcher == [
        ("note", "arm aim: training steps run eagerly"),
        ("note", "arm baseline: training steps run eagerly"),
        ("note", "arm aim: something else"),
    ]


def test_an_arm_that_fails_twice_alike_is_not_begun_again_and_its_error_is_shown(table: Table) -> None:
    failed = Ending("failed", "KeyError: 'x'", "KeyError at plugin.py:3", "  File plugin.py\n    x\nKeyError: 'x'")
    first, second, third = table.of("aim")
    while not {first, second} <= table.queue.running:
        assert table.queue.next() is not None
    for run_id in (first, second):
        table.desk.ended(run_id, failed)
    assert set(table.desk.failed) == {first, second}
    assert set(table.desk.withheld) == {third}
    assert ("died", first, "KeyError: 'x'") in table.watcher
    assert ("ended", third, "stopped") in table.watcher
    assert "    KeyError: 'x'" in table.said.getvalue()
    assert "arm aim: the same error twice; its other 1 runs are not begun" in table.said.getvalue()


def test_a_death_is_told_and_given_up_with_a_row_when_it_repeats(table: Table) -> None:
    run_id = next(iter(table.tasks))
    table.queue.next()
    table.desk.died(run_id, "node gone", "infrastructure")
    assert table.watcher[-1] == ("again", run_id, "node gone", 1.0)
    assert failures(table.store.directory) == []
    table.queue._entries[run_id].ready = 0.0
    table.queue.next()
    table.desk.died(run_id, "node gone", "infrastructure")
    assert table.watcher[-1][0] == "died"
    (row,) = failures(table.store.directory)
    assert row["reason"] == "ended 2 times in a row without progress: node gone"


def test_full_storage_holds_the_queue_back_until_there_is_room(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    free: Mapping[str, int] = {"bytes": 10**6}
    monkeypatch.setattr(ablations.sessions.coordinator, "_ROOM", 0.0)
    monkeypatch.setattr(table.store, "room", lambda: free["bytes"])
    table.desk.tick()
    assert table.queue.next() is None
    assert "no run is begun until there is room" in table.watcher[-1][1]
    table.desk.tick()
    assert len(table.watcher) == 1, "said once"
    free = {"bytes": 10**12}
    table.desk.tick()
    assert table.queue.next() is not None
    assert "are free again: going on" in table.watcher[-1][1]


def test_storage_that_cannot_be_examined_is_told_once(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablations.sessions.coordinator, "_ROOM", 0.0)
    monkeypatch.setattr(table.store, "room", refuse)
    table.desk.tick()
    table.desk.tick()
    assert table.watcher == [("note", "no answer")]


def test_storage_without_a_limit_is_never_full(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table.store, "room", lambda: None)
    table.desk.tick()
    assert table.watcher == []
    assert table.queue.next() is not None


def test_a_row_that_the_driver_does_not_see_is_a_failure(table: Table) -> None:
    run_id = next(iter(table.tasks))
    table.queue.next()
    table.desk.ended(run_id, Ending("finished"))
    assert "storage that all nodes share" in table.desk.failed[run_id]
    assert len(failures(table.store.directory)) == 1


def test_a_request_to_stop_halts_the_queue_and_reaches_the_workers(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.stop.request("Ctrl-C", 130)
    with monkeypatch.context() as patch:
        patch.setattr(table.store, "request_stop", lambda *_: refuse())
        table.desk.tick()
    assert not table.store.stop_requested("0" * 12)
    table.desk.tick()
    assert table.store.stop_requested("0" * 12), "asked again when the storage answers"
    assert table.store.time_to_stop("0" * 12) is None, "they are waited for"
    assert "Ctrl-C: ending the session once every run has saved its state; once more" in table.watcher[-1][1]
    assert table.queue.next() is None
    assert table.queue.exhausted


def test_workers_are_told_how_long_they_have_where_somebody_will_not_wait(table: Table) -> None:
    table.stop.request("SIGTERM", 143, urgent=True)
    table.desk.tick()
    left = table.store.time_to_stop("0" * 12)
    assert left is not None
    assert 20.0 < left <= 25.0


def refuse() -> None:
    raise StoreError("no answer")


def test_a_failure_that_cannot_be_recorded_now_is_recorded_later(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablations.sessions.coordinator, "_ROOM", 0.0)
    run_id = next(iter(table.tasks))
    table.queue.next()
    with monkeypatch.context() as patch:
        patch.setattr(table.store, "record_failure", lambda _: refuse())
        table.desk.died(run_id, "ImportError: x", "user")
        table.desk.tick()
    assert failures(table.store.directory) == []
    table.desk.tick()
    table.desk.tick()
    (row,) = failures(table.store.directory)
    assert row["reason"] == "ImportError: x"


def test_who_is_paused_from_elsewhere_ends_the_session(table: Table) -> None:
    run_id = next(iter(table.tasks))
    table.queue.next()
    table.desk.ended(run_id, Ending("paused", epochs=1))
    assert table.stop.reason == "asked to stop from elsewhere"


def test_what_is_stale_is_told_by_its_cause() -> None:
    before = {"runs": [{"run_id": f"r{n}", "arm": arm} for n, arm in enumerate(["aim", "aim", "gone"])]}
    now = {"arms": [{"name": "aim"}, {"name": "baseline"}]}
    assert list(stale({"r0", "r1", "r2", "r9"}, before, now)) == [
        "stale: 1 settled runs of earlier versions of the study are left out of the report; they stay where they are",
        "stale: 2 settled runs of arm aim, which was changed or has fewer seeds now, are left out of the report; they "
        "stay where they are",
        "stale: 1 settled runs of arm gone, which the study no longer has, are left out of the report; they stay where "
        "they are",
    ]
    assert list(stale(set(), before, now)) == []


def test_a_share_that_was_too_little_is_kept_for_the_next_session(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "out")
    task = Task("", "", "", "aim", "0" * 20, "", {"seed": 0}, {}, "cuda", 1, 0.25)
    queue = Queue([task], retries=0)
    desk = Desk(store, {task.run_id: task}, queue, Stop(), "0" * 12, [], Console(quiet=True))
    for share in (0.25, 0.5):
        given = queue.next()
        assert given is not None
        assert given.gpus == share
        desk.ended(task.run_id, Ending("out_of_memory", "CUDA out of memory"))
    assert remembered(ResultStore(tmp_path / "out"), [task]) == {"aim": 1.0}


def test_what_a_device_error_means_for_the_session_is_said(table: Table) -> None:
    run_id = next(iter(table.tasks))
    for _ in range(2):
        table.queue.next()
        table.desk.ended(run_id, Ending("device_error", "ECC", device="GPU-1", host="h"))
        table.now += 60.0
    assert ("note", "GPU-1 on h failed twice and is left out: ECC") in table.watcher
    assert table.desk.failed == {}
