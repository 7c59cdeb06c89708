"""`ablate watch` shows a study from another machine and does not change it."""

from __future__ import annotations

import io
import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import pytest
from progress_cases import Clock, WatchedStore, document, outline, record, row, run_id
from rich.console import Console

from ablations.execution.events import EpochEnded, NodesChanged, Notice, RunEnded, RunRetried, RunStarted
from ablations.progress import Outline, Progress
from ablations.progress.monitor import watch
from ablations.progress.reporter import session_document
from ablations.progress.study_state import StudyState
from aimlib.errors import StoreError

PLANNED = outline(["baseline", "aim"], seeds=3, epochs=4)
WALL = 1_700_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> WatchedStore:
    opened = WatchedStore(tmp_path / "study")
    opened.write_plan(document(PLANNED))
    return opened


class Driver:
    """A session that stores its state on request."""

    def __init__(self, store: WatchedStore, session: str, planned: Outline = PLANNED, **options: Any) -> None:
        self.store, self.session, self.beat = store, session, 0
        self.progress = Progress(planned, store.settled(), clock=Clock(), **options)

    def leave(self, state: Literal["running", "ended"] = "running", **changes: Any) -> None:
        self.beat += 1
        written = session_document(self.progress, session=self.session, beat=self.beat, state=state)
        self.store.write_live(self.session, written | changes)


def looking(store: WatchedStore) -> tuple[StudyState, Clock]:
    clock = Clock()
    ages = [datetime.fromisoformat(snapshot["at"]).timestamp() for snapshot in store.live() if "at" in snapshot]
    return StudyState(store.directory, store, document(PLANNED), clock, lambda: max(ages, default=WALL)), clock


def counts(seen: Any, *states: str) -> list[int]:
    return [seen.count(state) for state in states]


def test_without_a_driver_the_settled_runs_are_read_from_the_store(store: WatchedStore) -> None:
    store.commit(record(run_id(0), curve=(0.1, 0.3)))
    store.commit(record(run_id(1), "diverged", curve=(0.2,)))
    store.record_failure(record(run_id(2), "failed"))
    seen = looking(store)[0].poll()
    assert (seen.state, seen.left) == ("idle", None)
    assert counts(seen, "settled", "diverged", "failed", "waiting", "running") == [2, 1, 1, 3, 0]
    assert seen.alerts == ("no driver is running; `ablate run` resumes the study and retries 1 failed run",)
    assert (seen.failures[0].reason, seen.failures[0].seed) == ("RuntimeError: <b>boom</b>", 1)
    assert "script" in seen.failures[0].traceback
    assert seen.equal_epoch == 1
    assert [arm.accuracy for arm in seen.arms] == [0.1, 0.2]
    assert "0.98" not in repr(seen)


def test_active_runs_are_read_from_the_driver_and_settled_runs_from_the_store(store: WatchedStore) -> None:
    driver = Driver(store, "a" * 12, parallel=2, resources={"CPU": 4.0}, totals={"CPU": 8.0})
    driver.progress.handle(RunStarted(run_id(0), "node-1, GPU 0.5"))
    driver.progress.handle(RunStarted(run_id(1)))
    for epoch, accuracy in ((1, 0.2), (2, 0.4)):
        driver.progress.handle(EpochEnded(run_id(0), row(epoch, accuracy=accuracy)))
    driver.progress.handle(Notice("hello"))
    driver.leave()
    watched, clock = looking(store)
    seen = watched.poll()
    assert (seen.state, seen.alerts) == ("running", ())
    assert counts(seen, "running", "waiting", "settled") == [2, 4, 0]
    first = seen.running[0]
    assert (first.arm, first.epochs_done, first.where) == ("baseline", 2, "node-1, GPU 0.5")
    assert seen.arms[0].curve == (0.2, 0.4)
    assert (seen.resources["CPU"].used, seen.resources["CPU"].total) == (8.0, 8.0)
    assert seen.messages[0].text == "hello"
    assert seen.left == pytest.approx(driver.progress.seconds_left(), abs=2), (
        "minus the time that has passed since then"
    )

    store.commit(record(run_id(0), curve=(0.2, 0.4, 0.5, 0.6)))  # in the snapshot, the run is still running
    seen = watched.poll()
    assert counts(seen, "running", "waiting", "settled") == [1, 4, 1]
    assert seen.arms[0].curve == (0.2, 0.4, 0.5, 0.6), "no epoch is counted twice"
    driver.progress.handle(RunEnded(run_id(0), "finished"))
    driver.progress.handle(RunEnded(run_id(1), "paused"))
    driver.progress.handle(RunStarted(run_id(2)))
    driver.leave()
    clock.now += 5
    seen = watched.poll()
    assert counts(seen, "running", "paused", "waiting", "settled") == [1, 1, 3, 1]
    driver.progress.handle(RunEnded(run_id(2), "failed", "the node burnt down"))
    driver.leave()
    seen = watched.poll()
    assert counts(seen, "running", "failed", "paused") == [0, 1, 1]
    assert seen.failures[0].reason == "the node burnt down"


def test_several_drivers_are_shown_as_one_study(store: WatchedStore) -> None:
    for name, number in (("a" * 12, 0), ("b" * 12, 1)):
        driver = Driver(store, name, parallel=3, resources={"GPU": 1.0}, totals={"GPU": 8.0})
        driver.progress.handle(RunStarted(run_id(number)))
        driver.progress.handle(RunRetried(run_id(number), "why", 0))
        driver.progress.handle(RunStarted(run_id(number)))
        driver.leave(host=f"host-{name[0]}")
    seen = looking(store)[0].poll()
    assert counts(seen, "running", "waiting") == [2, 4]
    assert (seen.resources["GPU"].used, seen.resources["GPU"].total, seen.repeated) == (2.0, 8.0, 2)
    assert {message.text.split(":")[0] for message in seen.messages} == {"host-a", "host-b"}


def test_a_silent_driver_is_reported_as_possibly_exited(store: WatchedStore) -> None:
    driver = Driver(store, "a" * 12)
    driver.progress.handle(RunStarted(run_id(0)))
    driver.leave(host="head", process=4242)
    watched, clock = looking(store)
    assert watched.poll().alerts == ()
    clock.now += 60
    seen = watched.poll()
    assert seen.alerts == ("the driver on head (process 4242) has not stored a state for 1 min",)
    assert seen.count("running") == 1
    clock.now += 140
    seen = watched.poll()
    told = (
        "the driver on head (process 4242) has not stored a state for 3 min 20 s and may have exited; `ablate run` "
        "resumes"
    )
    assert seen.alerts == (f"{told} the study",)
    assert (seen.state, seen.left, *counts(seen, "running", "waiting")) == ("idle", None, 0, 6)
    driver.leave(host="head", process=4242)
    assert (watched.poll().alerts, watched.poll().count("running")) == ((), 1), "the driver is still alive"


def test_a_driver_with_a_wrong_clock_counts_as_alive_as_long_as_its_state_changes(store: WatchedStore) -> None:
    watched, clock = looking(store)
    driver = Driver(store, "a" * 12)
    driver.leave(at="2020-01-01T00:00:00+00:00")
    assert "may have exited" in watched.poll().alerts[0]
    clock.now += 5
    driver.leave(at="2020-01-01T00:00:05+00:00")
    assert watched.poll().alerts == ()


def test_the_warning_ends_when_another_driver_has_taken_over(store: WatchedStore) -> None:
    Driver(store, "a" * 12).leave(at="2020-01-01T00:00:00+00:00")
    Driver(store, "b" * 12).leave()
    assert looking(store)[0].poll().alerts == ()


def test_a_state_from_a_different_version_is_reported_and_ignored(store: WatchedStore) -> None:
    store.write_live("a" * 12, {"schema_version": 1, "study": "tiny", "session": "a" * 12})
    seen = looking(store)[0].poll()
    assert seen.alerts[0].startswith("1 session stored a state that this version cannot read")


def test_failures_in_earlier_sessions_are_shown_as_waiting_while_a_driver_is_active(store: WatchedStore) -> None:
    store.record_failure(record(run_id(2), "failed", at=time.time() - 3600))
    driver = Driver(store, "a" * 12)
    driver.leave()
    watched, _ = looking(store)
    assert counts(watched.poll(), "failed", "waiting") == [0, 6]
    driver.leave("ended")
    assert counts(watched.poll(), "failed", "waiting") == [1, 5]


def test_rows_that_are_compacted_in_the_meantime_are_still_counted(store: WatchedStore) -> None:
    watched, _ = looking(store)
    for number in range(3):
        store.commit(record(run_id(number)))
    assert watched.poll().count("settled") == 3
    store.commit(record(run_id(3)))
    assert store.compact(at_least=1) == 4
    store.commit(record(run_id(4), "diverged"))
    seen = watched.poll()
    assert counts(seen, "settled", "diverged") == [5, 1]
    assert len(watched.history.settled) == 5


def test_many_rows_are_read_in_portions_but_counted_immediately(store: WatchedStore) -> None:
    for number in range(4):
        store.commit(record(run_id(number), "diverged"))
    watched, _ = looking(store)
    seen = watched.poll(seconds=0.0)
    assert counts(seen, "settled", "diverged") == [4, 1]
    assert seen.alerts[0] == "3 settled runs not read yet; these accuracies are still missing"
    for _ in range(3):
        seen = watched.poll(seconds=0.0)
    assert counts(seen, "settled", "diverged") == [4, 4]
    assert len(seen.alerts) == 1


def shown(terminal: bool) -> tuple[Console, io.StringIO]:
    output = io.StringIO()
    return Console(file=output, width=100, height=30, force_terminal=terminal, color_system=None), output


@pytest.mark.parametrize("terminal", [False, True])
def test_watching_ends_when_the_study_is_complete(store: WatchedStore, terminal: bool) -> None:
    left = list(range(6))

    def sleep(seconds: float) -> None:
        store.commit(record(run_id(left.pop(0))))

    console, output = shown(terminal)
    end = watch(store.directory, console, store=store, sleep=sleep)
    assert (end.state, end.complete, left) == ("complete", True, [])
    assert "6 of 6 runs settled" in output.getvalue()


def test_watching_ends_when_the_driver_has_ended(store: WatchedStore) -> None:
    driver = Driver(store, "a" * 12)
    driver.leave()
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            driver.leave("ended")

    end = watch(store.directory, shown(False)[0], store=store, interval=7.0, sleep=sleep)
    assert looks == [7.0, 7.0]
    assert (end.state, end.complete) == ("idle", False)


def test_lines_are_printed_when_something_has_changed(store: WatchedStore) -> None:
    turns = iter(range(12))

    def sleep(seconds: float) -> None:
        if (turn := next(turns)) % 2:
            store.commit(record(run_id(turn // 2)))

    console, output = shown(False)
    watch(store.directory, console, store=store, sleep=sleep)
    assert [line[:6] for line in output.getvalue().splitlines()] == [f"{n} of 6" for n in range(7)]


def ablate(*arguments: object) -> int:
    from ablations.commands.app import main

    argv, sys.argv = sys.argv, ["ablate", *map(str, arguments)]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = argv
    return 0


@pytest.fixture
def opened(store: WatchedStore, monkeypatch: pytest.MonkeyPatch) -> WatchedStore:
    """Make the command open this store."""
    monkeypatch.setattr("ablations.store.ResultStore", WatchedStore)
    return store


def test_watching_returns_the_documented_exit_codes(
    opened: WatchedStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ablate("watch", opened.directory, "--once") == 0
    assert "0 of 6 runs settled" in capsys.readouterr().out
    opened.record_failure(record(run_id(0), "failed"))
    assert ablate("watch", opened.directory, "--once") == 1
    assert ablate("watch", tmp_path / "nowhere", "--once") == 2
    assert "study.json is missing; specify a directory written by `ablate run`" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists(), "nothing is created where there is no study"
    assert ablate("watch", tmp_path, "--once") == 2
    assert f"specify one of the studies in it: {opened.directory}" in capsys.readouterr().err
    assert ablate("watch", opened.directory, "page.html", "--once") == 2
    assert "add --html" in capsys.readouterr().err


def test_interrupting_the_view_does_not_affect_the_study(opened: WatchedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    Driver(opened, "a" * 12).leave()

    def files() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in opened.directory.rglob("*") if path.is_file()}

    before = files()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    monkeypatch.setattr(watch, "__kwdefaults__", (watch.__kwdefaults__ or {}) | {"sleep": interrupt})
    assert ablate("watch", opened.directory) == 130
    assert files() == before


def test_a_broken_plan_is_reported(store: WatchedStore) -> None:
    store.write_plan({"name": "tiny"})
    with pytest.raises(StoreError, match=r"study\.json: not a valid study plan"):
        watch(store.directory, shown(False)[0], store=store, once=True)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999"])
def test_a_state_with_invalid_numbers_is_ignored(store: WatchedStore, value: str) -> None:
    Driver(store, "a" * 12).leave(seconds_per_epoch={"aim": 12345})
    (path,) = (store.directory / "live").glob("*.json")
    state = json.loads(path.read_bytes())
    path.write_text(json.dumps(state).replace("12345", value))
    console, written = shown(False)
    watch(store.directory, console, store=store, once=True)
    assert "1 session stored a state that this version cannot read" in written.getvalue()


@pytest.mark.parametrize(
    "changes",
    [{"parallel": 10**18}, {"parallel": -1}, {"messages": [{"at": 1e18, "text": "x"}]}, {"began_at": "2026-01-01"}],
)
def test_a_state_with_impossible_values_is_ignored(store: WatchedStore, changes: dict[str, Any]) -> None:
    Driver(store, "a" * 12).leave(**changes)
    console, written = shown(False)
    watch(store.directory, console, store=store, once=True)
    assert "1 session stored a state that this version cannot read" in written.getvalue()


def test_node_hours_are_summed_over_all_sessions(store: WatchedStore) -> None:
    store.write_node_time("a" * 12, 7200.0)  # the session ended, and its state was removed
    store.write_node_time("b" * 12, 60.0)
    driver = Driver(store, "b" * 12)
    driver.progress.handle(NodesChanged(2, 4, {"CPU": 8.0}))
    driver.progress.clock.now += 1800  # type: ignore[attr-defined]
    driver.leave()
    seen = looking(store)[0].poll()
    assert (seen.nodes, seen.node_seconds) == (2, 7200.0 + 3600.0)
