"""`ProgressReporter`: lines without a terminal, states for other processes, and errors that do not end the session."""

from __future__ import annotations

import io
import json
import threading
import time
from typing import Any

import pytest
from progress_cases import Clock, large, outline, row, run_id
from rich.console import Console

from ablations.execution.events import EpochEnded, NodesChanged, Notice, RunEnded, RunRetried, RunStarted
from ablations.progress import Progress, ProgressReporter
from ablations.progress.reporter import session_document
from ablations.progress.session_state import read
from ablations.progress.snapshot import snapshot_of
from ablations.progress.views.log import HEARTBEAT_S, SPACING_S, LineView


class States:
    """A store for session states that rejects writes on request."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []
        self.refuse = False
        self.node_time: list[tuple[str, float]] = []

    def write_node_time(self, session: str, seconds: float) -> None:
        self.node_time.append((session, seconds))

    def write_live(self, session: str, document: dict[str, Any]) -> None:
        if self.refuse:
            raise OSError("disk full")
        self.found.append(json.loads(json.dumps(document, allow_nan=False)))


def plain(*, terminal: bool = False) -> tuple[Console, io.StringIO]:
    output = io.StringIO()
    console = Console(file=output, width=100, height=30, force_terminal=terminal, color_system=None, emoji=False)
    return console, output


def until(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_only_a_few_lines_are_printed_and_they_include_every_failure() -> None:
    console, output = plain()
    clock = Clock()
    told = Progress(outline(["[red]a[/red]"], seeds=20), (), clock=clock)
    view = LineView(lambda: snapshot_of(told), console, clock)
    view.start()
    view.settled("[red]a[/red], seed 0", "finished")
    assert output.getvalue().startswith("[red]a[/red], seed 0: finished; 0 of 20 runs settled")
    for seed in range(1, 10):
        view.settled(f"a, seed {seed}", "finished")
    view.news("a, seed 11: failed: out of\nmemory")
    assert output.getvalue().count("\n") == 1, "no line within three seconds of another line"
    clock.now += SPACING_S
    view.tick()
    lines = output.getvalue().splitlines()
    assert lines[1].startswith(
        "a, seed 11: failed: out of memory; a, seed 1: finished; a, seed 2: finished; a, seed 3: finished and 6 more; "
    )
    clock.now += HEARTBEAT_S - 1
    view.tick()
    assert output.getvalue().count("\n") == 2
    clock.now += 1
    view.tick()
    view.tick()
    assert output.getvalue().count("\n") == 3, "a heartbeat once a minute"
    view.settled("a, seed 12", "diverged")
    view.settled("a, seed 13", "diverged")
    view.stop()
    assert output.getvalue().splitlines()[-1].startswith("a, seed 13: diverged; ")


def test_a_session_prints_lines_without_a_terminal_or_on_a_simple_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for dumb in (False, True):
        monkeypatch.setenv("TERM", "dumb" if dumb else "xterm")
        console, output = plain(terminal=dumb)
        with ProgressReporter(Progress(outline(["a"]), ()), console) as reporter:
            reporter.handle(RunStarted(run_id(0), "here"))
            reporter.handle(EpochEnded(run_id(0), row(1)))
            reporter.handle(RunEnded(run_id(0), "failed", "the process died"))
        assert f"a, seed 0 ({run_id(0)}): failed: the process died; 0 of 2 runs settled" in output.getvalue()
        assert "\x1b" not in output.getvalue()
        assert "0.98" not in output.getvalue()


def test_a_retry_is_printed_without_a_terminal() -> None:
    console, output = plain()
    with ProgressReporter(Progress(outline(["a"]), ()), console) as reporter:
        reporter.handle(RunStarted(run_id(0), "here"))
        reporter.handle(RunRetried(run_id(0), "the node went away", 30.0))
    assert output.getvalue().startswith("a, seed 0: retrying in 30 s: the node went away; 0 of 2 runs settled")


def test_a_session_on_a_terminal_draws_its_view_and_leaves_the_last_one() -> None:
    console, output = plain(terminal=True)
    reporter = ProgressReporter(Progress(outline(["aim"]), ()), console)
    reporter.start()
    for number in range(2):
        reporter.handle(RunStarted(run_id(number)))
        reporter.handle(RunEnded(run_id(number), "finished"))
    reporter.handle(RunRetried(run_id(1), "the node went away", 5))
    reporter.handle(RunEnded(run_id(1), "finished"))
    reporter.stop()
    last = output.getvalue().rsplit("aim ", 1)[-1]
    assert "2 of 2 runs settled" in output.getvalue()
    assert "2/2" in last


def test_each_stored_state_has_a_higher_counter_and_the_last_one_marks_the_end_of_the_session() -> None:
    store = States()
    reporter = ProgressReporter(Progress(outline(["a"]), ()), plain()[0], store, session="0123456789ab", every=0.02)
    with reporter:
        reporter.handle(RunStarted(run_id(0), "node-3, GPU 0.5"))
        reporter.handle(EpochEnded(run_id(0), row(1, accuracy=float("nan"))))
        until(lambda: len(store.found) > 3 and store.found[-1]["runs"])
    beats = [document["beat"] for document in store.found]
    assert beats == sorted(set(beats))
    assert [document["state"] for document in store.found[-2:]] == ["running", "ended"]
    last = store.found[-1]
    assert last["schema_version"] == 2
    assert (last["session"], last["runs"][run_id(0)]["where"]) == ("0123456789ab", "node-3, GPU 0.5")
    assert last["runs"][run_id(0)]["accuracy"] is None, "NaN is not valid JSON"


def test_a_state_that_cannot_be_stored_is_reported_once_and_storing_is_retried() -> None:
    store = States()
    store.refuse = True
    reporter = ProgressReporter(Progress(outline(["a"]), ()), plain()[0], store, every=0.01)
    with reporter:
        until(lambda: reporter.progress.messages)
        time.sleep(0.1)
        assert [message.text for message in reporter.progress.messages] == [
            "the state for `ablate watch` cannot be stored: disk full"
        ]
        store.refuse = False
        until(lambda: store.found)


def test_a_view_that_cannot_be_drawn_does_not_end_the_study(monkeypatch: pytest.MonkeyPatch) -> None:
    for terminal in (False, True):
        reporter = ProgressReporter(Progress(outline(["a"]), ()), plain(terminal=terminal)[0])
        reporter.start()
        reporter.handle(Notice("hello"))
        monkeypatch.setattr("ablations.progress.reporter.snapshot_of", lambda *_: 1 / 0)
        reporter.stop()
        monkeypatch.undo()
        assert reporter.progress.messages[0].text == "hello"
        if terminal:
            assert "the view cannot be drawn: division by zero" in reporter.progress.messages[-1].text


def test_many_threads_may_send_events_while_the_view_is_being_drawn() -> None:
    console, _ = plain(terminal=True)
    store = States()
    reporter = ProgressReporter(
        Progress(outline([f"arm {i}" for i in range(8)], seeds=8, epochs=50), ()), console, store, every=0.01
    )

    def work(part: int) -> None:
        for number in range(part, 64, 4):
            reporter.handle(RunStarted(run_id(number)))
            for epoch in range(1, 51):
                reporter.handle(EpochEnded(run_id(number), row(epoch)))
            reporter.handle(RunEnded(run_id(number), "finished"))

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    with reporter:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert reporter.progress.settled == 64
    assert not reporter.progress.messages


def test_the_state_of_4000_runs_is_small_and_contains_no_test_accuracy() -> None:
    told, _ = large()
    document = session_document(told, session="0123456789ab")
    text = json.dumps(document, allow_nan=False)
    assert len(text) < 150_000, "70 kB when measured with 64 running runs and their curves"
    assert "test" not in text.replace("latest", "")
    active = [run for run in document["runs"].values() if run["state"] == "running"]
    assert len(active) == 64
    back = read(json.loads(text))
    assert back is not None
    assert set(back.runs) == {*told.active, *told.failures}


@pytest.mark.parametrize(
    "changes", [{"study": 3}, {"runs": "none"}, {"at": "yesterday"}, {"state": "lost"}, {"schema_version": 1}]
)
def test_an_unreadable_state_is_ignored(changes: dict[str, Any]) -> None:
    written = session_document(Progress(outline(["a"]), ()), session="0123456789ab")
    assert read(written) is not None
    assert read(written | changes) is None
    assert read({}) is None


@pytest.mark.parametrize("nodes", [0, 3])
def test_the_uptime_of_the_cluster_nodes_is_stored_at_the_end_of_the_session(nodes: int) -> None:
    clock, states = Clock(), States()
    told = Progress(outline(["a"], seeds=2), (), clock=clock)
    reporter = ProgressReporter(told, plain()[0], states, "c" * 12, every=1000.0)
    with reporter:
        if nodes:
            reporter.handle(NodesChanged(nodes, 2, {"CPU": 2.0}))
        clock.now += 100
    assert states.node_time[-1:] == ([("c" * 12, 300.0)] if nodes else [])
    assert (states.found[-1]["nodes"], states.found[-1]["node_seconds"]) == (nodes, 100.0 * nodes)
