"""If the storage becomes unavailable during a session, the session waits with a notice and then ends normally."""

from __future__ import annotations

import errno
import io
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tiny_study import changed, failures, litter, numbers, write

import ablations.sessions.coordinator
from ablations.execution import run_task, storage_waits
from ablations.progress import ProgressReporter, monitor
from ablations.sessions.launch import run
from ablations.store import files, outages
from aimlib.training import checkpointing

SMALL: dict[str, Any] = {"base.data.size": 8, "base.training.epochs": 3, "seeds": 1}


class Disk:
    """A disk on which every creation, replacement, removal and checkpoint fails during an outage, anywhere in the
    process.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number: int | None = None
        self.failed = 0
        self.seconds = self.until = float("inf")
        for module, name in ((files, "publish"), (files, "replace"), (files, "synchronise"), (checkpointing, "save")):
            monkeypatch.setattr(module, name, self._wrapped(getattr(module, name)))

    def _wrapped(self, original: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            if self.number is not None and time.monotonic() >= self.until:
                self.back()
            if self.number is not None:
                if not self.failed:
                    self.until = time.monotonic() + self.seconds
                self.failed += 1
                with files.explained(Path("disk")):
                    raise OSError(self.number, os.strerror(self.number))
            return original(*arguments, **options)

        return call

    def away(self, number: int, seconds: float) -> None:
        """Make the disk fail from now until `seconds` after the first failure."""
        self.number, self.seconds = number, seconds

    def back(self) -> None:
        self.number = None


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    monkeypatch.setattr(outages, "_FIRST_DELAY_S", 0.05)
    monkeypatch.setattr(outages, "_LONGEST_DELAY_S", 0.2)
    monkeypatch.setattr(ablations.sessions.coordinator, "_ROOM_INTERVAL_S", 0.1)
    monkeypatch.setattr(ablations.sessions.coordinator, "_PASSING_ON_S", 0.2)
    disk = Disk(monkeypatch)
    yield disk
    disk.back()
    storage_waits._store.cache_clear()


@pytest.fixture
def calm(tmp_path: Path) -> dict[str, str]:
    run(write(tmp_path, changed(SMALL)), tmp_path / "calm", executor="inline")
    return numbers(tmp_path / "calm")


def at_epoch(monkeypatch: pytest.MonkeyPatch, epoch: int, act: Callable[[], object]) -> None:
    """Call a function when the first run has completed an epoch."""
    original, done = run_task._Supervisor.epoch, []

    def called(self: Any, row: Any) -> None:
        if row["epoch"] == epoch and not done:
            done.append(1)
            act()
        original(self, row)

    monkeypatch.setattr(run_task._Supervisor, "epoch", called)


SLOW = pytest.mark.slow  # covers the same code as the other cases


@pytest.mark.parametrize(
    "name", ["EIO", "EROFS", *(pytest.param(n, marks=SLOW) for n in ("ENOSPC", "ESTALE", "EACCES"))]
)
def test_an_unavailable_disk_does_not_end_any_run(
    name: str, tmp_path: Path, disk: Disk, calm: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_epoch(monkeypatch, 1, lambda: disk.away(getattr(errno, name), 2.0))
    said = io.StringIO()
    session = run(tmp_path / "study.yaml", tmp_path / "out", executor="inline", console=Console(file=said, width=400))
    assert disk.failed > 1
    assert (session.computed, session.open, session.failed, session.interrupted) == (2, (), {}, "")
    assert numbers(tmp_path / "out") == calm
    assert failures(tmp_path / "out") == []
    assert litter(tmp_path / "out") == []


def test_a_session_reports_the_start_and_the_end_of_an_outage_and_shows_it_in_its_state(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ProgressReporter.__init__.__kwdefaults__, "every", 0.1)
    path, seen = write(tmp_path, changed(SMALL)), []

    def outage() -> None:
        disk.number = errno.EROFS
        time.sleep(1.0)
        disk.number = None
        for _ in range(100):
            shown = monitor.watch(tmp_path / "out", Console(quiet=True), once=True)
            seen.extend(message.text for message in shown.messages)
            if any("available again" in text for text in seen):
                return
            time.sleep(0.1)

    at_epoch(monkeypatch, 1, lambda: threading.Thread(target=outage, name="outage").start())
    original = run_task._Supervisor.pause
    monkeypatch.setattr(run_task._Supervisor, "pause", lambda self: time.sleep(0.05) or original(self))
    said = io.StringIO()
    run(path, tmp_path / "out", executor="inline", console=Console(file=said, width=400))
    text = said.getvalue()
    assert text.count("the storage is unavailable: ") == 1
    assert "Read-only file system" in text
    assert text.count("the storage is available again after") == 1
    assert any("available again" in line for line in seen)


def test_when_the_limit_is_reached_the_session_ends_with_the_remedy(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, changed({**SMALL, "resources": {"outage_hours": 0.5 / 3600, "grace_seconds": 0.5}}))
    at_epoch(monkeypatch, 1, lambda: disk.away(errno.EIO, 60.0))
    session = run(path, tmp_path / "out", executor="inline", console=Console(quiet=True))
    assert session.code == 1
    assert "unavailable for longer than resources.outage_hours allows" in session.interrupted
    assert "Input/output error" in session.interrupted
    assert session.failed == {}
    disk.back()
    assert run(path, tmp_path / "out", executor="inline").open == ()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_waiting_session(
    number: int, tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, calm: dict[str, str]
) -> None:
    path = write(tmp_path, changed({**SMALL, "resources": {"grace_seconds": 0.5}}))

    def away() -> None:
        disk.away(errno.EIO, 60.0)
        threading.Timer(1.0, os.kill, (os.getpid(), number)).start()

    at_epoch(monkeypatch, 3, away)
    began = time.monotonic()
    session = run(path, tmp_path / "out", executor="inline", console=Console(quiet=True))
    assert session.code == 128 + number
    assert session.failed == {}
    assert time.monotonic() - began < 30
    disk.back()
    assert run(path, tmp_path / "out", executor="inline").open == ()
    assert numbers(tmp_path / "out") == calm


def test_a_directory_that_cannot_be_written_from_the_start_is_refused_immediately(tmp_path: Path, disk: Disk) -> None:
    path = write(tmp_path, changed(SMALL))
    disk.number = errno.EACCES
    began = time.monotonic()
    with pytest.raises(
        files.StoreError, match="Permission denied; get write permission or choose a different directory"
    ):
        run(path, tmp_path / "out", executor="inline", console=Console(quiet=True))
    assert time.monotonic() - began < 20
