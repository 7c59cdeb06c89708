"""The targets of faults (a study, a cluster and drivers), and the conditions that must be true after the faults."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import processes
from drivers import ONE_THREAD
from tiny_study import failures, litter, numbers, planned, rows

HERE = Path(__file__).parent
_A_FEW_SECONDS = 15.0


class Ground:
    """A running cluster, whose processes have the folder's name as their mark."""

    def __init__(self, temporary: Path) -> None:
        self.mark = str(temporary)
        environment = os.environ | ONE_THREAD | {"RAY_TMPDIR": self.mark, processes.MARK: self.mark}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "ground.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        assert self._answer() == "ready"

    def ask(self, *request: Any) -> Any:
        assert self.process.stdin
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def workers(self) -> dict[int, str]:
        """Return the processes that were started for a driver, even if the driver has ended."""
        return processes.of_jobs(self.mark)

    def end(self) -> None:
        """Shut the cluster down; kill and report any remaining processes."""
        assert self.process.stdin
        self.process.stdin.close()
        try:
            self.process.wait(90)
            left = processes.wait_for_none(lambda: processes.marked(self.mark), _A_FEW_SECONDS)
        finally:
            killed = processes.end_all(self.mark)
        assert left == {}, f"left over from a cluster that was shut down: {killed}"


class Scene:
    """A study in a directory, and the drivers that are computing it.

    Parameters
    ----------
    expected : the fault-free results of the study's runs, by run id.
    mark : the mark of the study's drivers and their children; see `processes`.
    """

    def __init__(
        self,
        study: Path,
        directory: Path,
        expected: dict[str, str],
        ground: Ground | None,
        mark: str,
        log: Path | None = None,
    ) -> None:
        self.study, self.directory, self.expected, self.ground = study, directory, expected, ground
        self.mark = mark
        self.log = log or directory.with_suffix(".log")
        self.before: set[int] = set()
        self.counts = {"runs": 0, "lost": 0, "doubled": 0, "wrong": 0}

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start a driver."""
        self.before = set(self.computing())  # a killed driver's workers continue for a while
        cluster = ["--address", self.ground.ask("address")] if self.ground else []
        with self.log.open("a") as log:
            return subprocess.Popen(
                [sys.executable, HERE / "driver.py", "run", self.study, "--out", self.directory, *cluster, *options],
                stdout=log,
                stderr=log,
                text=True,
                env=os.environ | ONE_THREAD | {"COLUMNS": "160", processes.MARK: self.mark},
            )

    def settled(self) -> int:
        """Return the number of settled runs."""
        return len(list((self.directory / "runs").glob("*.parquet")))

    def committing(self) -> list[int]:
        """Return the processes that are currently writing a run's row."""
        return [int(path.name.split(".")[3]) for path in (self.directory / "runs").glob(".*.tmp")]

    def computing(self) -> list[int]:
        """Return the processes that currently hold a run's lock, in any session."""
        held = []
        for lock in (self.directory / "locks").glob("*.lock"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                pid = int(lock.read_text().split(" process ")[1].split()[0])
                if pid in self._holders(lock):
                    held.append(pid)
        return held

    @staticmethod
    def _holders(lock: Path) -> set[int]:
        inode = lock.stat().st_ino
        lines = Path("/proc/locks").read_text().splitlines()
        return {int(line.split()[4]) for line in lines if line.split()[5].endswith(f":{inode}")}

    def at_work(self) -> bool:
        """Return whether workers of the most recently started driver are computing."""
        return bool(set(self.computing()) - self.before)

    def wait(self, condition: Callable[[], Any], driver: subprocess.Popen[str], seconds: float = 180.0) -> bool:
        """Wait until a condition is true; return False if the driver ends first."""
        deadline = time.monotonic() + seconds
        while not condition():
            if driver.poll() is not None:
                return False
            assert time.monotonic() < deadline, f"the condition was never met; {self.log.read_text()[-3000:]}"
            time.sleep(0.02)
        return True

    def finish(self) -> None:
        """Run the study to completion and check the conditions."""
        for _ in range(2):  # the session waits for a run that a dying worker from another session still holds
            driver = self.start()
            code = driver.wait(600)
            if code == 0:
                break
        assert code == 0, self.log.read_text()[-4000:]
        self.check()

    def check(self) -> None:
        """Check that every run exists exactly once and is bitwise correct, and that no files are left behind."""
        ids = [row["run_id"] for row in rows(self.directory)]
        self.counts["runs"] += len(set(ids))
        self.counts["lost"] += len(set(self.expected) - set(ids))
        self.counts["doubled"] += len(ids) - len(set(ids))
        found = numbers(self.directory)
        self.counts["wrong"] += sum(found[run] != self.expected.get(run) for run in found)
        assert found == self.expected
        assert set(planned(self.directory)) == set(self.expected)
        assert failures(self.directory) == []
        assert litter(self.directory) == []
        assert not [path for path in (self.directory / "live").iterdir() if "stop" in path.name]
        self.check_that_nothing_runs()

    def check_that_nothing_runs(self) -> None:
        """Check that after a few seconds, no drivers, children of drivers, or workers are left."""

        def left() -> dict[int, str]:
            return processes.marked(self.mark) | (self.ground.workers() if self.ground else {})

        running = processes.wait_for_none(left, _A_FEW_SECONDS)
        assert running == {}, f"left running: {running}"


def end(process: subprocess.Popen[str]) -> None:
    """Kill a driver that is still running."""
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
        process.wait(30)
