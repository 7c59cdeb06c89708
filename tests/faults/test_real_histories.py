"""Histories of real processes that are killed and stopped are linearizable, in a directory and in a bucket."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from histories.checker import check, unfinished
from histories.events import History, parsed, recorder_of
from kinds import record
from store.sample import identity

SCRIPT = Path(__file__).with_name("real_process.py")
TERM_S = 3.0
_ROLES = ("worker", "worker", "worker", "driver", "reader")


class Processes:
    """The processes in one history.

    Parameters
    ----------
    environment : variables that are added to this process's environment.
    """

    def __init__(
        self, where: str, history: Path, runs: int, chance: random.Random, environment: dict[str, str] | None = None
    ) -> None:
        self.where, self.history, self.runs, self._chance = where, history, runs, chance
        self._environment = os.environ | (environment or {})
        self.living: dict[str, tuple[str, subprocess.Popen[str]]] = {}
        self.ended: list[tuple[str, int]] = []
        self._started = 0

    def start(self, role: str, **environment: str) -> None:
        """Start a process, which reports when it is ready."""
        self._started += 1
        name = f"{role} {self._started}"
        arguments = [role, name, self.where, self.history, self.runs, self._chance.getrandbits(30), TERM_S]
        process = subprocess.Popen(
            [sys.executable, SCRIPT, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self._environment | environment,
        )
        self.living[name] = (role, process)

    def kill(self, name: str) -> None:
        """Kill a process, and start a new process with the same role."""
        role, process = self.living.pop(name)
        process.kill()
        process.communicate()
        self.start(role)

    def gather(self) -> None:
        """Record the processes that have ended without being killed."""
        for name, (_, process) in list(self.living.items()):
            if process.poll() is not None:
                self.ended.append((name, process.returncode))
                assert process.stderr
                assert process.returncode == 0, process.stderr.read()[-3000:]
                process.communicate()
                del self.living[name]

    def wait(self, seconds: float) -> None:
        """Wait until all processes have ended."""
        deadline = time.monotonic() + seconds
        while self.living:
            self.gather()
            assert time.monotonic() < deadline, f"still running: {list(self.living)}"
            time.sleep(0.02)

    def end(self) -> None:
        """Kill all running processes."""
        for _, process in self.living.values():
            process.kill()
            process.communicate()

    def workers(self) -> int:
        """Return the number of running workers."""
        return sum(role == "worker" for role, _ in self.living.values())


def disturbed(where: str, history: Path, runs: int, faults: int, seed: int, stops: tuple[float, ...]) -> History:
    """Kill and stop random processes that are computing a study, then finish the study; return the history."""
    chance = random.Random(seed)
    processes, injected = Processes(where, history, runs, chance), 0
    try:
        with recorder_of(history) as recorder:
            for role in _ROLES:
                processes.start(role)
            while injected < faults and processes.workers():
                time.sleep(chance.uniform(0.2, 1.2))
                processes.gather()
                if not processes.living:
                    break
                name = chance.choice(sorted(processes.living))
                if chance.random() < 0.6:
                    recorder.fault("real process killed", name)
                    processes.kill(name)
                else:
                    recorder.fault("real process stopped", name)
                    process = processes.living[name][1]
                    process.send_signal(signal.SIGSTOP)
                    time.sleep(chance.choice(stops))
                    process.send_signal(signal.SIGCONT)
                injected += 1
        processes.wait(240)
        processes.start("last")
        processes.wait(120)
    finally:
        processes.end()
    return parsed(history.read_text().splitlines(keepends=True))


def assert_linearizable(history: History, runs: int) -> None:
    found = check(history, [identity(number) for number in range(runs)])
    assert not found, "\n".join(map(str, found))


@pytest.mark.slow  # the schedules in test_store_schedules.py also include killed processes
def test_histories_of_killed_processes_are_linearizable(tmp_path: Path) -> None:
    history = disturbed(str(tmp_path / "study"), tmp_path / "history", 25, faults=4, seed=3, stops=(0.3,))
    assert_linearizable(history, 25)
    assert sum(operation.name == "settle" for operation in history.operations) >= 25


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("storage", ["directory", "bucket"])
def test_many_histories_of_killed_processes_are_linearizable(
    tmp_path: Path, request: pytest.FixtureRequest, storage: str, seed: int
) -> None:
    where = str(tmp_path / "study") if storage == "directory" else request.getfixturevalue("remote")
    stops = (0.3, 1.4 * TERM_S, 2.5 * TERM_S)
    history = disturbed(where, tmp_path / "history", 250, faults=25, seed=seed, stops=stops)
    assert_linearizable(history, 250)
    assert unfinished(history), "some processes were killed during a call"
    for kind, number in history.faults.items():
        assert number
        record(f"history: {kind}", f"{storage} {seed}", injected=number, runs=250, lost=0, doubled=0, wrong=0)
