"""Effects of endings on the store and the subscribers: full storage, failing arms, and errors that are shown
immediately."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console
from tiny_study import changed, failures, write

import ablations.sessions.coordinator
from ablations.execution.attempts import Ending
from ablations.execution.events import TICK, AttemptEnded, Event, Notice, RunEnded, RunRetried
from ablations.execution.scheduler import Scheduler
from ablations.execution.signals import Stop
from ablations.execution.task import Task
from ablations.planning import plan as planning
from ablations.sessions.coordinator import Coordinator
from ablations.sessions.registration import stale
from ablations.sessions.remembered_shares import remembered
from ablations.sessions.tasks import tasks
from ablations.spec.study import read_study
from ablations.store import ResultStore
from aimlib.errors import StoreError


class Events(list[Event]):
    """A subscriber that records its events."""

    def handle(self, event: Event) -> None:
        self.append(event)


class Session:
    """A coordinator with its scheduler, its published events and its output."""

    def __init__(self, folder: Path, seeds: int = 3) -> None:
        plan = planning.plan(read_study(write(folder, changed({"seeds": seeds}))))
        self.store = ResultStore(folder / "out")
        self.tasks = {task.run_id: task for task in tasks(plan, self.store, list(plan.runs))}
        self.events, self.said = Events(), io.StringIO()
        self.now = 0.0
        self.scheduler = Scheduler(self.tasks.values(), 1, lambda: self.now)
        self.stop = Stop()
        console = Console(file=self.said, width=200)
        self.coordinator = Coordinator(
            self.store, self.tasks, self.scheduler, self.stop, "0" * 12, [self.events], console
        )

    @property
    def last_notice(self) -> str:
        event = self.events[-1]
        assert isinstance(event, Notice)
        return event.text

    def of(self, arm: str) -> list[str]:
        return [run_id for run_id, task in self.tasks.items() if task.arm == arm]


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path)


def test_a_notice_about_several_runs_of_an_arm_is_printed_once(session: Session) -> None:
    (first, second, _), (other, *_) = session.of("aim"), session.of("baseline")
    for run_id in (first, second, other, first):
        session.coordinator.handle(Notice("training steps run eagerly", run_id))
    session.coordinator.handle(Notice("something else", first))
    assert session.events == [
        Notice("arm aim: training steps run eagerly", first),
        Notice("arm baseline: training steps run eagerly", other),
        Notice("arm aim: something else", first),
    ]


def test_an_arm_that_fails_twice_with_the_same_error_is_not_started_again_and_its_error_is_shown(
    session: Session,
) -> None:
    failed = Ending("failed", "KeyError: 'x'", "KeyError at plugin.py:3", "  File plugin.py\n    x\nKeyError: 'x'")
    first, second, third = session.of("aim")
    while not {first, second} <= session.scheduler.running:
        assert session.scheduler.next() is not None
    for run_id in (first, second):
        session.coordinator.handle(AttemptEnded(run_id, failed))
    assert set(session.coordinator.failed) == {first, second}
    assert set(session.coordinator.withheld) == {third}
    assert RunEnded(first, "failed", "KeyError: 'x'") in session.events
    assert RunEnded(third, "stopped") in session.events
    assert "    KeyError: 'x'" in session.said.getvalue()
    assert "arm aim: the same error twice; its 1 other run is not started" in session.said.getvalue()


def test_a_death_is_reported_and_repeated_deaths_lead_to_a_failed_row(session: Session) -> None:
    run_id = next(iter(session.tasks))
    session.scheduler.next()
    session.coordinator.handle(AttemptEnded(run_id, Ending("died", "node gone")))
    assert session.events[-1] == RunRetried(run_id, "node gone", 1.0)
    assert failures(session.store.directory) == []
    session.now += 1.0
    session.scheduler.next()
    session.coordinator.handle(AttemptEnded(run_id, Ending("died", "node gone")))
    assert session.events[-1] == RunEnded(run_id, "failed", "ended 2 times in a row without progress: node gone")
    (row,) = failures(session.store.directory)
    assert row["reason"] == "ended 2 times in a row without progress: node gone"


def test_no_run_starts_while_the_storage_is_full(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    free: Mapping[str, int] = {"bytes": 10**6}
    monkeypatch.setattr(ablations.sessions.coordinator, "_ROOM_INTERVAL_S", 0.0)
    monkeypatch.setattr(session.store, "room", lambda: free["bytes"])
    session.coordinator.handle(TICK)
    assert session.scheduler.next() is None
    assert "no runs start until there is more" in session.last_notice
    session.coordinator.handle(TICK)
    assert len(session.events) == 1, "reported once"
    free = {"bytes": 10**12}
    session.coordinator.handle(TICK)
    assert session.scheduler.next() is not None
    assert "are free again: continuing" in session.last_notice


def test_storage_whose_free_space_is_unknown_is_reported_once(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablations.sessions.coordinator, "_ROOM_INTERVAL_S", 0.0)
    monkeypatch.setattr(session.store, "room", refuse)
    session.coordinator.handle(TICK)
    session.coordinator.handle(TICK)
    assert session.events == [Notice("no answer")]


def test_storage_without_a_limit_is_never_full(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.store, "room", lambda: None)
    session.coordinator.handle(TICK)
    assert session.events == []
    assert session.scheduler.next() is not None


def test_a_row_that_is_not_visible_to_the_driver_counts_as_a_failure(session: Session) -> None:
    run_id = next(iter(session.tasks))
    session.scheduler.next()
    session.coordinator.handle(AttemptEnded(run_id, Ending("finished")))
    assert "storage that all nodes share" in session.coordinator.failed[run_id]
    assert len(failures(session.store.directory)) == 1


def test_a_stop_request_halts_the_scheduler_and_reaches_the_workers(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.stop.request("Ctrl-C", 130)
    with monkeypatch.context() as patch:
        patch.setattr(session.store, "request_stop", lambda *_: refuse())
        session.coordinator.handle(TICK)
    assert not session.store.stop_requested("0" * 12)
    session.coordinator.handle(TICK)
    assert session.store.stop_requested("0" * 12), "the workers are asked again once the storage responds"
    assert session.store.time_to_stop("0" * 12) is None, "the session waits for them"
    assert (
        "Ctrl-C: ending the session once every run has saved its state; send the same signal again"
    ) in session.last_notice
    assert session.scheduler.next() is None
    assert session.scheduler.exhausted


def test_workers_are_told_their_deadline_if_they_will_be_killed(session: Session) -> None:
    session.stop.request("SIGTERM", 143, urgent=True)
    session.coordinator.handle(TICK)
    left = session.store.time_to_stop("0" * 12)
    assert left is not None
    assert 20.0 < left <= 25.0


def refuse() -> None:
    raise StoreError("no answer")


def test_a_failure_that_cannot_be_recorded_immediately_is_recorded_later(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablations.sessions.coordinator, "_ROOM_INTERVAL_S", 0.0)
    run_id = next(iter(session.tasks))
    session.scheduler.next()
    with monkeypatch.context() as patch:
        patch.setattr(session.store, "record_failure", lambda _: refuse())
        session.coordinator.handle(AttemptEnded(run_id, Ending("died", "ImportError: x", "ImportError: x")))
        session.coordinator.handle(TICK)
    assert failures(session.store.directory) == []
    session.coordinator.handle(TICK)
    session.coordinator.handle(TICK)
    (row,) = failures(session.store.directory)
    assert row["reason"] == "ImportError: x"


def test_a_run_paused_from_elsewhere_ends_the_session(session: Session) -> None:
    run_id = next(iter(session.tasks))
    session.scheduler.next()
    session.coordinator.handle(AttemptEnded(run_id, Ending("paused", epochs=1)))
    assert session.stop.reason == "another process requested a stop"


def test_stale_runs_are_reported_with_their_cause() -> None:
    before = {"runs": [{"run_id": f"r{n}", "arm": arm} for n, arm in enumerate(["aim", "aim", "gone"])]}
    now = {"arms": [{"name": "aim"}, {"name": "baseline"}]}
    assert list(stale({"r0", "r1", "r2", "r9"}, before, now)) == [
        "stale: 1 settled runs from earlier versions of the study are omitted from the report; they stay where they "
        "are",
        "stale: 2 settled runs in arm aim, which was changed, or now has different data or fewer seeds, are omitted "
        "from the report; they stay where they are",
        "stale: 1 settled runs in arm gone, which is no longer part of the study, are omitted from the report; they "
        "stay where they are",
    ]
    assert list(stale(set(), before, now)) == []


def test_a_share_that_was_too_small_is_remembered_for_the_next_session(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "out")
    task = Task("", "", "", "aim", "0" * 20, "", {"seed": 0}, {}, "cuda", 1, 0.25)
    scheduler = Scheduler([task], retries=0)
    coordinator = Coordinator(store, {task.run_id: task}, scheduler, Stop(), "0" * 12, [], Console(quiet=True))
    for share in (0.25, 0.5):
        given = scheduler.next()
        assert given is not None
        assert given.gpus == share
        coordinator.handle(AttemptEnded(task.run_id, Ending("out_of_memory", "CUDA out of memory")))
    assert remembered(ResultStore(tmp_path / "out"), [task]) == {"aim": 1.0}


def test_the_message_about_a_device_error_states_the_consequence_for_the_session(session: Session) -> None:
    run_id = next(iter(session.tasks))
    for _ in range(2):
        session.scheduler.next()
        session.coordinator.handle(AttemptEnded(run_id, Ending("device_error", "ECC", device="GPU-1", host="h")))
        session.now += 60.0
    assert Notice("GPU-1 on h failed twice and is excluded: ECC") in session.events
    assert session.coordinator.failed == {}
