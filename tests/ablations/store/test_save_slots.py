"""Runs that need to save at the same time take turns: the most advanced run saves first, and each save completes or
never starts."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ablations.store import ResultStore, save_slots
from ablations.store.save_slots import SLOTS, SaveSlots
from aimlib.training import checkpointing

from .sample import identity

RUNS = [identity(number) for number in range(8)]
PROGRESS = {run_id: divmod(3 * number + 1, 4) for number, run_id in enumerate(RUNS)}
MB = 2**20


Saved = list[dict[str, Any]]


@pytest.fixture(scope="module")
def savers() -> Iterator[subprocess.Popen[str]]:
    """Return a running `savers.py` process, so that torch is imported only once for all tests."""
    command = [sys.executable, str(Path(__file__).with_name("savers.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@pytest.fixture
def saved(savers: subprocess.Popen[str]) -> Callable[..., Saved]:
    """Return a function that lets runs save at the same time and returns their reports, in the order of the saves."""

    def save(where: str, runs: list[str], **changes: Any) -> Saved:
        listed = [[run_id, 2 + PROGRESS[run_id][0], PROGRESS[run_id][1]] for run_id in runs]
        plan = {"runs": listed, "size": 2 * MB, "rate": 10 * MB, "within": None, "die": [], **changes}
        assert savers.stdin
        assert savers.stdout
        print(json.dumps({**plan, "where": where, "environment": dict(os.environ)}), file=savers.stdin, flush=True)
        assert savers.stdout.readline() == "ready\n"
        print("go", file=savers.stdin, flush=True)
        reports = [json.loads(line) for line in iter(savers.stdout.readline, "end\n")]
        return sorted(reports, key=lambda each: each["began"])

    return save


def most_advanced_first(runs: list[str]) -> list[str]:
    return sorted(runs, key=PROGRESS.__getitem__, reverse=True)


def kept(where: str, run_id: str) -> float:
    """Return the number that fills a run's checkpoint: 1 in the old checkpoint, the number of epochs in a new one."""
    store = ResultStore(where)  # the local copy of a bucket's checkpoint is removed together with this store
    found = checkpointing.load(store.checkpoint_directory(run_id), run_id)
    assert found is not None
    values = found.network["weights"].unique()
    assert len(values) == 1, "the complete old or new checkpoint"
    return float(values[0])


def new(run_id: str) -> float:
    return 2.0 + PROGRESS[run_id][0]


@pytest.mark.parametrize(("anywhere", "runs"), [("directory", RUNS), ("bucket", RUNS[:3])], indirect=["anywhere"])
def test_only_a_few_runs_save_at_once_and_the_most_advanced_save_first(
    anywhere: str, runs: list[str], saved: Callable[..., Saved]
) -> None:
    found = saved(anywhere, runs)
    assert [each["run"] for each in found] == most_advanced_first(runs)
    assert all(each["granted"] for each in found)
    for each in found:
        beside = [other for other in found if other["began"] <= each["began"] < other["ended"]]
        assert len(beside) <= SLOTS
    assert {run_id: kept(anywhere, run_id) for run_id in runs} == {run_id: new(run_id) for run_id in runs}


@pytest.mark.parametrize(
    "anywhere",
    ["directory", pytest.param("bucket", marks=pytest.mark.slow)],  # slots for a bucket are also in a local folder
    indirect=True,
)
def test_a_save_that_would_end_too_late_is_not_started(anywhere: str, saved: Callable[..., Saved]) -> None:
    """Each save takes .4 s alone and .8 s next to another save, so 2.2 s are enough for some of the eight saves."""
    found = saved(anywhere, RUNS, rate=5 * MB, within=2.2)
    granted = [each["run"] for each in found if each["granted"]]
    assert granted == most_advanced_first(RUNS)[: len(granted)]
    assert 2 <= len(granted) <= 6
    for run_id in RUNS:
        assert kept(anywhere, run_id) == (new(run_id) if run_id in granted else 1.0)


def test_the_slot_of_a_killed_saver_is_free_and_its_old_checkpoint_is_intact(
    tmp_path: Path, saved: Callable[..., Saved]
) -> None:
    first = most_advanced_first(RUNS)[0]
    where = str(tmp_path / "study")
    found = saved(where, RUNS[:5] + RUNS[-1:], die=[first])
    assert {each["run"] for each in found} == {*RUNS[:5]}
    assert kept(where, first) == 1.0
    assert {kept(where, run_id) == new(run_id) for run_id in RUNS[:5]} == {True}
    assert not list(Path(where).glob("checkpoints/*/.checkpoint*")), "the partially written file is removed"


def waiter(slots: SaveSlots, progress: tuple[int, int], said: list[Any], deadline: Any = lambda: None) -> Any:
    def wait() -> None:
        with slots.taken(progress, 0.0, deadline) as granted:
            said.append((progress, granted))

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_killed_waiter_does_not_delay_the_others(tmp_path: Path) -> None:
    slots = SaveSlots(tmp_path, slots=1)
    order: list[Any] = []
    with slots.taken((0, 0), 0.0, lambda: None):
        if (pid := os.fork()) == 0:
            with slots.taken((9, 0), 0.0, lambda: None):
                os._exit(1)
        until(lambda: len(list(tmp_path.glob("*.ticket"))) == 1)
        thread = waiter(slots, (3, 0), order)
        until(lambda: len(list(tmp_path.glob("*.ticket"))) == 2)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    thread.join(20)
    assert order == [((3, 0), True)]
    (left,) = tmp_path.glob("*.ticket")
    os.utime(left, (time.time() - 100, time.time() - 100))
    with slots.taken((1, 0), 0.0, lambda: None) as granted:
        assert granted
    assert not list(tmp_path.glob("*.ticket")), "the dead process's ticket is removed after a while"


def test_a_deadline_that_is_set_while_a_run_waits_applies(tmp_path: Path) -> None:
    slots = SaveSlots(tmp_path, slots=1)
    order: list[Any] = []
    deadline: list[float] = []
    with slots.taken((0, 0), 0.0, lambda: None):
        thread = waiter(slots, (3, 0), order, lambda: deadline[0] if deadline else None)
        time.sleep(0.2)
        assert not order
        deadline.append(time.monotonic())
        thread.join(20)
    assert order == [((3, 0), False)]


class Clock:
    """A clock that advances only when its `sleep` is called."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_two_simultaneous_saves_are_expected_to_take_twice_as_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(save_slots, "time", clock)
    slots = SaveSlots(tmp_path)

    def asked() -> bool:
        soon = clock.now + 1.5
        with slots.taken((1, 0), 1.0, lambda: soon) as granted:
            return granted

    assert asked()
    assert clock.now == 1000
    with slots.taken((2, 0), 0.0, lambda: None):
        assert not asked(), "the run waited to see whether the others would finish in time"
    assert 1000.5 <= clock.now < 1000.6


def test_a_save_without_others_does_not_wait(tmp_path: Path) -> None:
    slots = SaveSlots(tmp_path / "new")
    times = []
    for _ in range(50):
        began = time.process_time()
        with slots.taken((1, 0), 0.0, lambda: None) as granted:
            times.append(time.process_time() - began)
            assert granted
    assert statistics.median(times) < 0.01


def test_saving_works_on_storage_without_locks(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the place of a folder")
    with SaveSlots(tmp_path / "file").taken((1, 0), 1.0, lambda: None) as granted:
        assert granted
