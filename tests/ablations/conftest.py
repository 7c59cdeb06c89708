"""Tiny studies in a folder of their own, and a farm of drivers that can be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_study import changed, write

HERE = Path(__file__).parent
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests away from the user's data, cache and results."""
    monkeypatch.setenv("AIM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("AIM_DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the tiny study, with changes by key path, and returns its file."""

    def make(changes: dict[str, Any] | None = None, name: str = "study.yaml") -> Path:
        return write(tmp_path, changed(changes or {}), name)

    return make


class Farm:
    """Drivers in processes of their own, started without the cost of imports."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "driver_farm.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ONE_THREAD,
        )
        assert self._answer() == "ready"

    def _answer(self) -> Any:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def _ask(self, *request: Any) -> Any:
        assert self.process.stdin
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return self._answer()

    def run(self, study: Path, directory: Path) -> int:
        return int(self._ask("run", str(study), str(directory)))

    def wait(self, driver: int) -> int:
        return int(self._ask("wait", driver))

    def kill(self, driver: int) -> bool:
        """Kill a driver with -9; return whether it was still at work."""
        os.kill(driver, signal.SIGKILL)  # not waited for, so the number is still its own
        return self.wait(driver) == -signal.SIGKILL

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(30)


@pytest.fixture(scope="session")
def farm() -> Iterator[Farm]:
    """Return a running farm."""
    farm = Farm()
    yield farm
    farm.end()


@pytest.fixture
def command() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts ``python -m ablations.cli`` with arguments, in a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "ablations.cli", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | ONE_THREAD | {"COLUMNS": "200"},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait until something is true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
