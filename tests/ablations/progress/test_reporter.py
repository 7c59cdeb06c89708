"""`Sight` as a session's listener: lines where there is no terminal, snapshots for others, harm to nobody."""

from __future__ import annotations

import io
import json
import threading
import time
from typing import Any

import pytest
from rich.console import Console
from sight_cases import Clock, large, outline, row, run_id

from ablations.progress import Progress, Sight
from ablations.progress.looking import picture
from ablations.progress.snapshot import read, snapshot
from ablations.progress.views.log import HEARTBEAT, SPACING, LineView


class Snapshots:
    """Keeps the snapshots of a session; refuses when told to."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []
        self.refuse = False

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


def test_lines_are_few_and_leave_no_failure_out() -> None:
    console, output = plain()
    clock = Clock()
    told = Progress(outline(["[red]a[/red]"], seeds=20), (), clock=clock)
    view = LineView(lambda: picture(told), console, clock)
    view.start()
    view.settled("[red]a[/red], seed 0", "finished")
    assert output.getvalue().startswith("[red]a[/red], seed 0: finished; 0 of 20 runs settled")
    for seed in range(1, 10):
        view.settled(f"a, seed {seed}", "finished")
    view.news("a, seed 11: failed: out of\nmemory")
    assert output.getvalue().count("\n") == 1, "nothing within three seconds of a line"
    clock.now += SPACING
    view.tick()
    lines = output.getvalue().splitlines()
    assert lines[1].startswith(
        "a, seed 11: failed: out of memory; a, seed 1: finished; a, seed 2: finished; a, seed 3: finished and 6 more; "
    )
    clock.now += HEARTBEAT - 1
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


def test_a_session_without_a_terminal_prints_lines_and_a_dumb_terminal_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for dumb in (False, True):
        monkeypatch.setenv("TERM", "dumb" if dumb else "xterm")
        console, output = plain(terminal=dumb)
        with Sight(Progress(outline(["a"]), ()), console) as sight:
            sight.began(run_id(0), "here")
            sight.epoch(run_id(0), row(1))
            sight.died(run_id(0), "the process died")
        assert f"a, seed 0 ({run_id(0)}): failed: the process died; 0 of 2 runs settled" in output.getvalue()
        assert "\x1b" not in output.getvalue()
        assert "0.98" not in output.getvalue()


def test_a_session_on_a_terminal_draws_and_leaves_the_last_state() -> None:
    console, output = plain(terminal=True)
    sight = Sight(Progress(outline(["aim"]), ()), console)
    sight.start()
    for number in range(2):
        sight.began(run_id(number))
        sight.ended(run_id(number), "finished")
    sight.again(run_id(1), "the node went away", 5)
    sight.ended(run_id(1), "finished")
    sight.stop()
    last = output.getvalue().rsplit("aim ", 1)[-1]
    assert "2 of 2 runs settled" in output.getvalue()
    assert "2/2" in last


def test_snapshots_beat_and_the_last_one_says_that_the_session_has_ended() -> None:
    store = Snapshots()
    sight = Sight(Progress(outline(["a"]), ()), plain()[0], store, session="0123456789ab", every=0.02)
    with sight:
        sight.began(run_id(0), "node-3, GPU 0.5")
        sight.epoch(run_id(0), row(1, accuracy=float("nan")))
        until(lambda: len(store.found) > 3 and store.found[-1]["running"])
    beats = [document["beat"] for document in store.found]
    assert beats == sorted(set(beats))
    assert [document["state"] for document in store.found[-2:]] == ["running", "ended"]
    last = store.found[-1]
    assert last["schema_version"] == 1
    assert (last["session"], last["running"][0]["where"]) == ("0123456789ab", "node-3, GPU 0.5")
    assert last["running"][0]["accuracy"] is None, "NaN is no JSON"


def test_a_snapshot_that_cannot_be_written_is_told_once_and_tried_again() -> None:
    store = Snapshots()
    store.refuse = True
    sight = Sight(Progress(outline(["a"]), ()), plain()[0], store, every=0.01)
    with sight:
        until(lambda: sight.progress.messages)
        time.sleep(0.1)
        assert [text for _, text in sight.progress.messages] == ["no snapshot for `ablate watch`: disk full"]
        store.refuse = False
        until(lambda: store.found)


def test_a_view_that_cannot_be_drawn_does_not_end_the_study(monkeypatch: pytest.MonkeyPatch) -> None:
    for terminal in (False, True):
        sight = Sight(Progress(outline(["a"]), ()), plain(terminal=terminal)[0])
        sight.start()
        sight.note("hello")
        monkeypatch.setattr("ablations.progress.reporter.picture", lambda *_: 1 / 0)
        sight.stop()
        monkeypatch.undo()
        assert sight.progress.messages[0][1] == "hello"
        if terminal:
            assert "the view cannot be drawn: division by zero" in sight.progress.messages[-1][1]


def test_events_may_come_from_many_threads_while_it_is_drawn() -> None:
    console, _ = plain(terminal=True)
    store = Snapshots()
    sight = Sight(Progress(outline([f"arm {i}" for i in range(8)], seeds=8, epochs=50), ()), console, store, every=0.01)

    def work(part: int) -> None:
        for number in range(part, 64, 4):
            sight.began(run_id(number))
            for epoch in range(1, 51):
                sight.epoch(run_id(number), row(epoch))
            sight.ended(run_id(number), "finished")

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    with sight:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sight.progress.settled == 64
    assert not sight.progress.messages


def test_a_snapshot_of_4000_runs_is_small_and_holds_no_test_accuracy() -> None:
    told, _ = large()
    document = snapshot(told, session="0123456789ab")
    text = json.dumps(document, allow_nan=False)
    assert len(text) < 150_000, "70 kB where it was measured, with 64 running runs and their curves"
    assert "test" not in text.replace("latest", "")
    assert len(document["running"]) == 64
    back = read(json.loads(text))
    assert back is not None
    assert (back.count("runs"), back.count("settled")) == (4000, told.settled)


@pytest.mark.parametrize(
    "document", [{}, {"study": 3}, {"study": "a", "arms": "none"}, {"study": "a", "schema_version": 2}]
)
def test_a_snapshot_that_cannot_be_understood_is_none(document: dict[str, Any]) -> None:
    assert read(document) is None
