"""Drivers that can be killed, and a function that waits for a condition."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Farm:
    """Drivers in separate processes, which start without the cost of imports."""

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
        """Kill a driver with -9; return whether it was still running."""
        os.kill(driver, signal.SIGKILL)  # not yet collected, so the number is not reused
        return self.wait(driver) == -signal.SIGKILL

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(30)


def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait until a condition is true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
