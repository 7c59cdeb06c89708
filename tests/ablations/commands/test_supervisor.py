"""The parent of a session on a cluster passes everything on, and replaces a session that Ray ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the supervisor needs prctl")


@pytest.fixture
def port() -> Iterator[int]:
    """Return a port on which a server is listening."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    (tmp_path / "sessions").mkdir()

    def begin(how: str, port: int) -> subprocess.Popen[str]:
        command = [sys.executable, str(Path(__file__).with_name("supervised.py")), how, str(port)]
        started.append(subprocess.Popen([*command, str(tmp_path / "sessions")], stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def sessions(tmp_path: Path) -> list[int]:
    return [int(path.name.partition("-")[2]) for path in sorted((tmp_path / "sessions").iterdir())]


@pytest.mark.parametrize(
    ("how", "code"),
    [("ends", 3), ("is refused", 2), ("fails", 1), ("is killed", -signal.SIGKILL)],
    ids=["code", "refused", "exception", "signal"],
)
def test_the_exit_code_of_a_session_is_passed_on(
    start: Callable[..., subprocess.Popen[str]], port: int, tmp_path: Path, how: str, code: int
) -> None:
    out, _ = (process := start(how, port)).communicate(timeout=60)
    assert process.returncode == code
    assert out == "session 0\n"
    assert len(sessions(tmp_path)) == 1
    assert sessions(tmp_path) != [process.pid]


@pytest.mark.parametrize("how", ["loses its head", "notices"])
def test_a_session_that_loses_the_head_is_restarted_once_ray_answers(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, how: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    process = start(how, port)
    assert process.stdout is not None
    assert process.stdout.readline() == "session 0\n"
    assert f"Ray's head at 127.0.0.1:{port} is gone" in process.stdout.readline()
    time.sleep(1)
    assert len(sessions(tmp_path)) == 1
    with socket.create_server(("127.0.0.1", port)):
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Ray answers again after" in out
    assert out.endswith("session 1\nresumed\n")


def test_a_cluster_whose_nodes_return_late_is_tried_again(
    start: Callable[..., subprocess.Popen[str]], port: int, tmp_path: Path
) -> None:
    out, _ = (process := start("is refused at first", port)).communicate(timeout=60)
    assert process.returncode == 0
    assert out.endswith("session 3\nresumed\n")


def test_a_session_that_dies_every_time_is_not_restarted_forever(
    start: Callable[..., subprocess.Popen[str]], port: int, tmp_path: Path
) -> None:
    process = start("always loses it", port)
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert len(sessions(tmp_path)) == 6


@pytest.mark.parametrize(("number", "text"), [(signal.SIGTERM, "told to end"), (signal.SIGINT, "interrupted")])
def test_signals_reach_the_session_and_its_exit_code_is_returned(
    start: Callable[..., subprocess.Popen[str]], port: int, number: int, text: str
) -> None:
    process = start("waits", port)
    assert process.stdout is not None
    assert process.stdout.readline() == "session 0\n"
    time.sleep(0.3)
    process.send_signal(number)
    assert process.communicate(timeout=30)[0] == f"{text}\n"
    assert process.returncode == 128 + number


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_the_wait_for_a_head(start: Callable[..., subprocess.Popen[str]], number: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    process = start("loses its head", port)
    assert process.stdout is not None
    process.stdout.readline()
    assert "is gone" in process.stdout.readline()
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 128 + number


def test_a_killed_parent_does_not_leave_a_session_behind(
    start: Callable[..., subprocess.Popen[str]], port: int, tmp_path: Path
) -> None:
    process = start("waits", port)
    assert process.stdout is not None
    process.stdout.readline()
    (child,) = sessions(tmp_path)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{child}/stat").read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    raise AssertionError("the child is still there")


def test_no_other_program_is_started_in_a_child_process(monkeypatch: pytest.MonkeyPatch) -> None:
    from ablations.commands import supervisor

    monkeypatch.setattr(sys, "argv", ["ablate", "run", "demo", "--address", "auto"])
    assert not supervisor.is_possible(), "the program is pytest"
    assert not supervisor.is_child()
