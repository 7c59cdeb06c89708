"""Ctrl-C, SIGTERM and a second signal: a session that was asked to stop never counts as a success."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drivers import until
from tiny_study import changed, litter, numbers, write

import ablations.execution.inline
import ablations.sessions.session
from ablations.execution.attempts import Ending
from ablations.execution.events import TICK, AttemptEnded
from ablations.execution.inline import InlineExecutor
from ablations.execution.run_task import execute
from ablations.execution.signals import Interrupted, Stop
from ablations.planning import plan as planning
from ablations.sessions.launch import run
from ablations.sessions.tasks import tasks
from ablations.spec.study import read_study
from ablations.store import ResultStore
from aimlib.training import checkpointing


def test_the_first_signal_asks_sessions_to_save_and_the_second_interrupts() -> None:
    before = signal.getsignal(signal.SIGTERM)
    stop = Stop()
    with stop.on_signals():
        with pytest.raises(Interrupted) as early:
            signal.raise_signal(signal.SIGTERM)  # no session has started
        assert (early.value.code, stop.requested) == (143, False)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Ray sets its own handler in the same way
        with stop.gentle():
            signal.raise_signal(signal.SIGTERM)
            assert (stop.reason, stop.code, stop.urgent) == ("SIGTERM", 143, True)
            with pytest.raises(Interrupted) as second:
                signal.raise_signal(signal.SIGINT)
            assert second.value.code == 130
    assert signal.getsignal(signal.SIGTERM) == before


def test_outside_the_main_thread_handlers_are_unchanged() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[Any] = []

    def inside() -> None:
        with Stop().on_signals():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [before]


class AtStep(InlineExecutor):
    """Sends a signal to this process after a total number of steps in all runs."""

    steps = 5

    def execute(self, scheduler: Any, coordinator: Any, stop: Any) -> None:
        seen = 0

        def pause() -> bool:
            nonlocal seen
            seen += 1
            if seen == self.steps:
                os.kill(os.getpid(), signal.SIGINT)
            coordinator.handle(TICK)
            return bool(stop.requested)

        while not scheduler.exhausted:
            coordinator.handle(TICK)
            if (task := scheduler.next()) is not None:
                coordinator.handle(AttemptEnded(task.run_id, execute(task, None, pause)))


@pytest.mark.parametrize("steps", [1, 4, *(pytest.param(steps, marks=pytest.mark.slow) for steps in (3, 7, 9))])
def test_a_session_asked_to_stop_continues_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    path = write(tmp_path, changed({"seeds": 1, "base.data.size": 8}))
    run(path, tmp_path / "calm", executor="inline")
    with monkeypatch.context() as patch:
        patch.setattr(ablations.sessions.session, "InlineExecutor", type("Stopping", (AtStep,), {"steps": steps}))
        session = run(path, tmp_path / "out", executor="inline")
    assert (session.interrupted, session.code) == ("Ctrl-C", 130)
    assert session.paused == {}
    assert session.open != ()
    assert session.failed == {}
    assert list((tmp_path / "out").glob("checkpoints/*/checkpoint.pt")), (
        "its state in the middle of the epoch is stored"
    )
    assert not list((tmp_path / "out" / "live").glob("*stop*")), "no session is asked to stop any more"
    session = run(path, tmp_path / "out", executor="inline")
    assert (session.interrupted, session.open) == ("", ())
    assert numbers(tmp_path / "out") == numbers(tmp_path / "calm")
    assert litter(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)  # each case starts a process; the next tests send both signals within this process
def test_the_command_line_saves_the_state_and_reports_the_signal(
    study: Callable[..., Path], tmp_path: Path, command: Callable[..., Any], number: signal.Signals, code: int
) -> None:
    path = study({"base.training.epochs": 5000, "base.data.size": 8, "seeds": 1})
    process = command("run", path, "--out", tmp_path / "out", "--executor", "inline")
    until(lambda: list((tmp_path / "out").glob("checkpoints/*/checkpoint.pt")), 120)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert err == ""
    assert "ending the session once every run has saved its state" in out
    assert "interrupted; to resume the study, run the same command again" in out
    assert "report:" not in out


@pytest.mark.parametrize(("grace", "saved"), [(0.0, False), (25.0, True)])
def test_a_run_that_cannot_save_in_time_continues_from_its_last_checkpoint_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grace: float, saved: bool
) -> None:
    options = {"seeds": 1, "base.data.test_images": 500, "base.training.epochs": 4}
    path = write(tmp_path, changed({**options, "resources": {"grace_seconds": grace}}))
    run(path, tmp_path / "calm", executor="inline")
    seen = 0

    def terminated(task: Any, on_epoch: Any, pause: Callable[[], bool], *others: Any) -> Ending:
        def asked() -> bool:
            nonlocal seen
            seen += 1
            if seen == 30:
                os.kill(os.getpid(), signal.SIGTERM)
            return pause()

        return execute(task, on_epoch, asked, *others)

    with monkeypatch.context() as patch:
        patch.setattr(ablations.execution.run_task, "execute", terminated)
        session = run(path, tmp_path / "out", executor="inline")
    assert (session.interrupted, session.code) == ("SIGTERM", 143)
    (file,) = (tmp_path / "out").glob("checkpoints/*/checkpoint.pt")
    found = checkpointing.load(file.parent, file.parent.name)
    assert found is not None
    assert (found.under_way is not None) == saved, "the state at the end of an epoch, or the current state"
    assert run(path, tmp_path / "out", executor="inline").open == ()
    assert numbers(tmp_path / "out") == numbers(tmp_path / "calm")
    assert litter(tmp_path / "out") == []


@pytest.mark.parametrize(("within", "saved"), [(0.0, False), (60.0, True), (None, True)])
def test_runs_that_are_stopped_from_elsewhere_know_how_long_they_have(
    tmp_path: Path, within: float | None, saved: bool
) -> None:
    plan = planning.plan(read_study(write(tmp_path, changed({"base.data.size": 8}))))
    store, session = ResultStore(tmp_path / "out"), "0" * 12
    task = tasks(plan, store, list(plan.runs), session)[0]
    ResultStore(tmp_path / "out").request_stop(session, within)
    assert execute(task).end == "paused"
    assert bool(list((tmp_path / "out").glob("checkpoints/*/checkpoint.pt"))) == saved
