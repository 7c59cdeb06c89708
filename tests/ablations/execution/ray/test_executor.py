"""Runs on Ray: runs that cannot fit are refused, lost runs are retried, and a dead driver leaves no processes
behind."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from drivers import HERE, ONE_THREAD, until
from tiny_study import changed, failures, litter, numbers, planned, write

from ablations.execution.attempts import Ending
from ablations.execution.capacity import Room, Spare
from ablations.execution.events import AttemptEnded, EpochEnded, ExecutorEvent, NodesChanged, Notice, RunStarted, Tick
from ablations.execution.ray.executor import scratch
from ablations.execution.ray.gpu_usage import Usage
from ablations.execution.ray.placeholders import Placeholders
from ablations.execution.ray.tune_adapter import SessionStopper, TaskSearcher, TuneCallback
from ablations.execution.scheduler import Scheduler
from ablations.execution.signals import Stop
from ablations.execution.task import Task
from ablations.sessions.launch import run
from ablations.spec.resources import Resources
from aimlib.errors import UsageError


class Events(list[ExecutorEvent]):
    """A coordinator that records its events."""

    def handle(self, event: ExecutorEvent) -> None:
        if not isinstance(event, Tick):
            self.append(event)


def test_leftovers_from_killed_drivers_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ablations.store.files import host_name

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    parent = tmp_path / f"aim-tune-{os.getuid()}"
    dead = parent / f"session.{host_name()}.{ended.pid}.0"
    living = parent / f"session.{host_name()}.{os.getppid()}.0"
    elsewhere = parent / f"session.elsewhere.{ended.pid}.0"
    parent.mkdir(mode=0o700)
    for folder in (dead, living, elsewhere):
        folder.mkdir(parents=True)
    with scratch() as own:
        assert set(parent.iterdir()) == {own, living, elsewhere}
        assert own.stat().st_mode & 0o777 == 0o700
    assert set(parent.iterdir()) == {living, elsewhere}


def callback_of(
    events: Events, running: tuple[str, ...], halted: list[bool], **options: Any
) -> tuple[TuneCallback, Stop, SessionStopper]:
    queue = SimpleNamespace(
        running=frozenset(running),
        halt=lambda: halted.append(True),
        stranded=lambda fit: [],
        devices=SimpleNamespace(left_out={}),
    )
    stop, stopper = Stop(), SessionStopper()
    room, usage = Room([Resources()], {"n": {"CPU": 2.0}}), Usage(Placeholders(1.0), {})
    limits = {"grace": 25.0, "stall": 60.0, **options}
    return TuneCallback(queue, events, stop, stopper, room, usage, **limits), stop, stopper  # type: ignore[arg-type]


def trial_of(run_id: str, error_file: Path | None = None) -> SimpleNamespace:
    return SimpleNamespace(config={"task": json.dumps({"run_id": run_id})}, error_file=error_file and str(error_file))


def test_the_callback_passes_events_and_is_pickled_without_its_coordinator(tmp_path: Path) -> None:
    events = Events()
    callback, _, _ = callback_of(events, ("r1", "r2", "r3", "r4"), [])
    died, raised = tmp_path / "died.txt", tmp_path / "raised.txt"
    died.write_text("Traceback\nray.exceptions.ActorDiedError: x\nThe actor is dead. Worker exit detail: SIGTERM.\n\n")
    raised.write_text("ray.exceptions.RayTaskError(KeyError)\nKeyError: 'x'\n")
    ending = Ending("finished").as_json()
    callback.on_trial_result(1, [], trial_of("r1"), {"events": [{"began": "here"}, {"epoch": {"epoch": 1}}]})
    callback.on_trial_result(1, [], trial_of("r1"), {"events": [{"notice": "steps run eagerly"}]})
    callback.on_trial_result(2, [], trial_of("r1"), {"events": [{"alive": True}]})
    callback.on_trial_result(2, [], trial_of("r1"), {"events": [{"epoch": {"epoch": 2}}, {"ended": ending}]})
    callback.on_trial_result(2, [], trial_of("r1"), {"done": True})
    callback.on_trial_error(3, [], trial_of("r2", died))
    callback.on_trial_error(3, [], trial_of("r3", raised))
    callback.on_trial_error(3, [], trial_of("r4"))
    callback.on_trial_error(3, [], trial_of("r5", died))  # the run had ended, so there is no event
    assert events == [
        RunStarted("r1", "here"),
        EpochEnded("r1", {"epoch": 1}),
        Notice("steps run eagerly", "r1"),
        EpochEnded("r1", {"epoch": 2}),
        AttemptEnded("r1", Ending("finished")),
        AttemptEnded("r2", Ending("died", "SIGTERM.")),
        AttemptEnded("r3", Ending("died", "KeyError: 'x'", fault="KeyError: 'x'")),
        AttemptEnded("r4", Ending("died", "Ray gave no reason")),
    ]
    copied = pickle.loads(pickle.dumps(callback))
    copied.on_trial_result(1, [], trial_of("r1"), {"events": [{"ended": ending}]})
    assert len(events) == 8


def test_the_nodes_of_a_cluster_are_reported_when_they_change() -> None:
    session = Session(2, task_of("r1", 1.0), spare="one")
    session.callback.watch()
    session.callback.watch()
    session.room.update({"n": {"CPU": 8.0, "GPU": 2.0}, "m": {"CPU": 4.0, "GPU": 1.0}})
    session.callback.watch()
    assert [event for event in session.events if isinstance(event, NodesChanged)] == [
        NodesChanged(1, 2, {"CPU": 8.0, "GPU": 2.0}),
        NodesChanged(2, 3, {"CPU": 12.0, "GPU": 3.0}),
    ]


def test_a_stopped_session_waits_for_runs_that_are_saving() -> None:
    events, halted = Events(), []
    callback, stop, stopper = callback_of(events, ("r1", "r2"), halted)
    callback.on_trial_result(1, [], trial_of("r1"), {"events": [{"began": "here"}]})
    stop.request("Ctrl-C", 130)
    callback.watch()
    assert halted
    assert not stopper.stop_all(), "r1 is saving its state"
    callback.on_trial_result(2, [], trial_of("r1"), {"events": [{"ended": Ending("paused").as_json()}]})
    callback.watch()
    assert stopper.stop_all(), "r2 is waiting for a worker and has nothing to save"


def test_after_the_grace_period_the_session_does_not_wait_for_any_run() -> None:
    callback, stop, stopper = callback_of(Events(), ("r1",), [], grace=0.0)
    callback.on_trial_result(1, [], trial_of("r1"), {"events": [{"began": "here"}]})
    stop.request("SIGTERM", 143, urgent=True)
    time.sleep(0.01)
    callback.watch()
    assert stopper.stop_all()


def test_ray_does_not_receive_more_runs_than_it_has_room_for() -> None:
    queue = Scheduler([task_of(f"r{number}") for number in range(4)], retries=0)
    room, usage = Room([Resources()], {"n": {"CPU": 2.0}}), Usage(Placeholders(1.0), {})
    callback = TuneCallback(queue, Events(), Stop(), SessionStopper(), room, usage, grace=25.0, stall=60.0)
    searcher = TaskSearcher(queue, callback, stall_seconds=60.0)

    def ends(run_id: str) -> None:
        ended = {"events": [{"ended": Ending("finished").as_json()}]}
        callback.on_trial_result(1, [], trial_of(run_id), ended)
        queue.ended(run_id, Ending("finished"))

    given = [searcher.suggest(str(number)) for number in range(3)]
    assert [json.loads(each["task"])["run_id"] if isinstance(each, dict) else each for each in given] == [
        "r0",
        "r1",
        None,
    ]
    ends("r0")
    assert isinstance(searcher.suggest("3"), dict)
    room.update({"n": {"CPU": 2.0}, "m": {"CPU": 2.0}})  # a node has joined
    assert isinstance(searcher.suggest("4"), dict)
    for run_id in ("r1", "r2", "r3"):
        assert searcher.suggest("5") is None
        ends(run_id)
    assert searcher.suggest("6") == "FINISHED"


def task_of(run_id: str, gpus: float = 0.0) -> Task:
    return Task("", "", "", "arm", run_id, "", {}, {}, "cuda" if gpus else "cpu", 1, gpus)


class Session:
    """A scheduler with its searcher and callback, connected as in the executor, on a cluster with one GPU node."""

    def __init__(self, gpus: int, *tasks: Task, spare: Spare = "none") -> None:
        self.now = 0.0
        self.queue, self.stop, self.stopper = Scheduler(tasks, 0, lambda: self.now), Stop(), SessionStopper()
        self.events = Events()
        self.events.handle = self._handle  # type: ignore[method-assign]
        kinds = [Resources(gpus=task.gpus) for task in tasks]
        self.room = Room(kinds, {"n": {"CPU": 8.0, "GPU": float(gpus)}}, spare)
        self.asked: list[tuple[str, float]] = []
        self.usage = Usage(Placeholders(1.0, self._start, lambda: self.now), {})
        self.callback = TuneCallback(
            self.queue, self.events, self.stop, self.stopper, self.room, self.usage, grace=25.0, stall=60.0
        )
        self.searcher = TaskSearcher(self.queue, self.callback, stall_seconds=60.0)

    def _start(self, node: str, amount: float) -> Any:
        self.asked.append((node, amount))
        return SimpleNamespace(landed=lambda: None, end=lambda: None)

    def _handle(self, event: ExecutorEvent) -> None:
        if isinstance(event, Tick):
            return
        self.events.append(event)
        if isinstance(event, AttemptEnded):
            self.events += map(Notice, self.queue.ended(event.run_id, event.ending).notes)

    def give(self) -> Any:
        found = self.searcher.suggest("x")
        return json.loads(found["task"])["run_id"] if isinstance(found, dict) else found

    def fails_on(self, run_id: str, gpu: str) -> None:
        self.now += 60.0
        ending = Ending("device_error", "ECC", device=f"GPU-{gpu}", host="h", process_spent=True).as_json()
        events = [{"began": "h", "slots": [["n", gpu]]}, {"ended": ending}]
        self.callback.on_trial_result(1, [], trial_of(run_id), {"events": events})
        self.now += 60.0


def test_a_gpu_that_failed_twice_is_occupied_and_only_as_many_runs_are_submitted_as_fit_on_the_others() -> None:
    session = Session(2, *(task_of(f"r{number}", 1.0) for number in range(4)))
    assert [session.give() for _ in range(3)] == ["r0", "r1", None]
    session.fails_on("r0", "0")
    assert session.give() == "r0"
    session.fails_on("r0", "0")
    notes = [event.text for event in session.events if isinstance(event, Notice)]
    assert notes == [
        "GPU-0 on h failed twice and is excluded: ECC",
        "1 of 2 GPUs are used from now on",
    ]
    assert session.give() is None, "r1 has the other GPU"
    assert session.asked == [("n", 1.0)], "a placeholder is asked for"
    ended = {"events": [{"ended": Ending("finished").as_json()}]}
    session.callback.on_trial_result(1, [], trial_of("r1"), ended)
    config = session.searcher.suggest("y")
    assert isinstance(config, dict)
    assert json.loads(config["left_out"]) == [["n", "0"]]
    assert json.loads(config["task"])["left_out"] == ["GPU-0"]
    assert not session.stop.requested


def test_when_no_gpu_is_left_a_session_ends_and_names_the_gpus() -> None:
    session = Session(1, task_of("r0", 1.0), task_of("r1", 1.0))
    for _ in range(2):
        assert session.give() == "r0"
        session.fails_on("r0", "0")
    assert session.give() == "FINISHED"
    assert session.stop.code == 1
    assert "every GPU that could hold the 2 remaining runs failed twice: GPU-0 on h (ECC)" in session.stop.reason
    assert "their faults by arm: arm 2" in session.stop.reason
    assert session.stopper.stop_all()


def test_a_run_that_waits_for_an_excluded_gpu_may_start_there_and_is_moved_away() -> None:
    """Tune never returns a run, and would wait forever for an occupied GPU."""
    session = Session(1, task_of("r0", 1.0), task_of("r1", 1.0), spare="one")
    assert [session.give(), session.give()] == ["r0", "r1"]
    for _ in range(2):
        session.fails_on("r0", "0")
        if not session.queue.devices.left_out:
            assert session.give() == "r0"
    assert session.give() is None, "r0 does not fit on any GPU"
    assert session.asked == [], "no placeholder takes the GPU that r1 is waiting for"
    assert not session.stop.requested
    session.fails_on("r1", "0")
    assert session.give() == "FINISHED"
    assert "that could hold the 2 remaining runs" in session.stop.reason


def test_a_gpu_whose_driver_loses_its_name_is_still_recognized() -> None:
    session = Session(2, task_of("r0", 1.0))
    assert session.give() == "r0"
    session.fails_on("r0", "0")
    assert session.give() == "r0"
    nameless = Ending("device_error", "lost", device="GPU 0 of h (node n)", host="h", process_spent=True).as_json()
    events = [{"began": "h", "slots": [["n", "0"]]}, {"ended": nameless}]
    session.callback.on_trial_result(1, [], trial_of("r0"), {"events": events})
    assert set(session.queue.devices.left_out) == {"GPU-0"}


def test_a_run_assigned_to_an_unusable_worker_does_not_count_as_failed(tmp_path: Path) -> None:
    """Tune assigns the next run to a worker before it learns that the worker will end."""
    report = tmp_path / "died.txt"
    report.write_text("ray.exceptions.ActorDiedError: x\n")
    session = Session(2, task_of("r0", 1.0), task_of("r1", 1.0))
    assert [session.give(), session.give()] == ["r0", "r1"]
    session.fails_on("r0", "0")
    session.callback.on_trial_error(1, [], trial_of("r1", report))
    assert end_of(session.events[-1]) == ("r1", "not_begun")
    session.now += 60.0
    assert session.give() in ("r0", "r1")
    session.callback.on_trial_error(1, [], trial_of("r0" if session.queue.running == {"r0"} else "r1", report))
    assert end_of(session.events[-1])[1] == "died", "once for each such worker"


def end_of(event: ExecutorEvent) -> tuple[str, str]:
    assert isinstance(event, AttemptEnded)
    return event.run_id, event.ending.end


# Real sessions, in their own processes


def stat_of(process: int) -> tuple[int, str] | None:
    """Return the parent and the start time of a live process; a zombie is not alive."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return None
    state, parent, *rest = text.rpartition(")")[2].split()
    return None if state == "Z" else (int(parent), rest[17])


def descendants(process: int) -> dict[int, str]:
    """Return the live descendants of a process, with their start times."""
    living = {
        int(path.name): stat
        for path in Path("/proc").iterdir()
        if path.name.isdigit() and (stat := stat_of(int(path.name)))
    }
    found: dict[int, str] = {}
    waiting = [process]
    while waiting:
        parent = waiting.pop()
        children = [pid for pid, stat in living.items() if stat[0] == parent and pid not in found]
        found |= {pid: living[pid][1] for pid in children}
        waiting += children
    return found


def without_agents(processes: dict[int, str]) -> dict[int, str]:
    """Omit a node's two Ray agents, which always outlive their raylet if the driver is killed."""
    found = {}
    for pid, started in processes.items():
        with contextlib.suppress(OSError):
            if (
                not Path(f"/proc/{pid}/cmdline")
                .read_bytes()
                .startswith((b"ray::DashboardAgent", b"ray::RuntimeEnvAgent"))
            ):
                found[pid] = started
    return found


def still_there(processes: dict[int, str]) -> list[int]:
    return [pid for pid, started in processes.items() if (stat := stat_of(pid)) is not None and stat[1] == started]


def workers(process: int) -> list[int]:
    """Return a driver's workers that compute runs; the names of Ray's own agents also start with ``ray::``."""
    found = []
    for pid in descendants(process):
        with contextlib.suppress(OSError):
            name = Path(f"/proc/{pid}/cmdline").read_bytes()
            if name.startswith(b"ray::Worker"):
                found.append(pid)
    return found


@pytest.fixture
def calm(tmp_path: Path) -> dict[str, str]:
    """Return the long study's results, computed without an interruption."""
    run(write(tmp_path, changed(LONG), "calm.yaml"), tmp_path / "calm", executor="inline")
    return numbers(tmp_path / "calm")


LONG: dict[str, Any] = {"base.data.size": 8, "base.training.epochs": 30, "seeds": 2}


def assert_whole(directory: Path, expected: dict[str, str]) -> None:
    assert numbers(directory) == expected
    assert set(planned(directory)) == set(expected)
    assert failures(directory) == []
    assert litter(directory) == []
    assert not list(directory.rglob("*.pkl")), "there are no Ray processes"


def settled(directory: Path) -> int:
    return len(list((directory / "runs").glob("*.parquet")))


def end_leftovers(processes: dict[int, str]) -> None:
    for pid in still_there(processes):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_killed_worker_is_replaced_and_a_killed_driver_is_resumed(
    tmp_path: Path, calm: dict[str, str], command: Callable[..., subprocess.Popen[str]]
) -> None:
    path, directory = write(tmp_path, changed(LONG)), tmp_path / "out"
    driver = command("run", path, "--out", directory)
    known: dict[int, str] = {}
    try:
        until(lambda: list(directory.glob("checkpoints/*/checkpoint.pt")), 120)
        victim = workers(driver.pid)[0]
        known |= descendants(driver.pid)
        os.kill(victim, signal.SIGKILL)
        until(lambda: settled(directory) >= 1, 120)
        assert driver.poll() is None, "the session continues without its worker"
        known |= descendants(driver.pid)
        driver.kill()
        assert driver.wait() == -signal.SIGKILL
        again = command("run", path, "--out", directory)
        out, err = again.communicate(timeout=200)
        assert (again.returncode, err) == (0, ""), out
        assert_whole(directory, calm)
        until(lambda: not still_there(without_agents(known)), 20)
    finally:
        end_leftovers(known)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_killed_worker_is_replaced_within_the_session(
    tmp_path: Path, calm: dict[str, str], command: Callable[..., subprocess.Popen[str]]
) -> None:
    path, directory = write(tmp_path, changed(LONG)), tmp_path / "out"
    driver = command("run", path, "--out", directory)
    until(lambda: list(directory.glob("checkpoints/*/checkpoint.pt")), 120)
    known = descendants(driver.pid)
    os.kill(workers(driver.pid)[0], signal.SIGKILL)
    out, err = driver.communicate(timeout=250)
    assert driver.returncode == 0, out + err
    assert "Traceback" not in err
    assert "4 computed" in out
    assert "0 failed" in out
    assert_whole(directory, calm)
    until(lambda: not still_there(known), 20)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_run_whose_process_always_dies_fails_and_the_others_continue(
    tmp_path: Path, command: Callable[..., subprocess.Popen[str]]
) -> None:
    path = write(tmp_path, changed({**LONG, "base.training.epochs": 200, "seeds": 1, "resources": {"max_retries": 0}}))
    directory = tmp_path / "out"
    driver = command("run", path, "--out", directory)
    until(lambda: list(directory.glob("checkpoints/*/checkpoint.pt")), 120)
    os.kill(workers(driver.pid)[0], signal.SIGKILL)
    out, _ = driver.communicate(timeout=250)
    assert driver.returncode == 1, out
    (failed,) = failures(directory)
    assert failed["reason"].startswith("ended 1 times in a row without progress: ")
    assert "1 failed" in out
    assert len(numbers(directory)) == 1


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.parametrize(("isolation", "processes"), [("process", {4}), ("actor", {1, 2})])
def test_runs_have_separate_processes_or_share_them(
    tmp_path: Path, command: Callable[..., subprocess.Popen[str]], isolation: str, processes: set[int]
) -> None:
    path, directory = write(tmp_path, changed({})), tmp_path / "out"
    driver = command("run", path, "--out", directory, "--set", f"resources.isolation={isolation}")
    out, err = driver.communicate(timeout=250)
    assert (driver.returncode, err) == (0, ""), out
    signed = [(directory / "locks" / f"{run_id}.lock").read_text() for run_id in planned(directory)]
    assert len({text.split(" process ")[1].split()[0] for text in signed}) in processes


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_session_reports_every_event_to_its_coordinator(tmp_path: Path) -> None:
    directory = tmp_path / "out"
    process = subprocess.run(
        [sys.executable, str(HERE / "ray_session.py"), str(write(tmp_path, changed({}))), str(directory)],
        capture_output=True,
        text=True,
        env=os.environ | ONE_THREAD,
        timeout=200,
    )
    assert process.returncode == 0, process.stderr
    events = [json.loads(line) for line in process.stdout.splitlines() if line.startswith("[")]
    assert events[0] == ["parallel", os.cpu_count()]
    ids = planned(directory)
    ended = {run_id: end["end"] for kind, run_id, end in events[1:] if kind == "ended"}
    assert ended == dict.fromkeys(ids[:3], "finished") | {ids[3]: "failed"}
    assert {run_id for kind, run_id, _ in events[1:] if kind == "began"} == set(ids)
    for run_id in ids[:3]:
        assert [row["epoch"] for kind, other, row in events[1:] if (kind, other) == ("epoch", run_id)] == [1, 2]
    (failed,) = failures(directory)
    assert (failed["run_id"], failed["status"]) == (ids[3], "failed")
    assert failed["reason"].startswith("DataError: the data on this machine differs")


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_starting_ray_ends_if_the_data_is_missing(tmp_path: Path) -> None:
    import ray

    document = changed({"base.data": {"name": "image_folder", "root": str(tmp_path / "gone"), "classes": 2, "size": 8}})
    before = descendants(os.getpid())
    with pytest.raises(UsageError, match="gone"):
        run(write(tmp_path, document), tmp_path / "out")
    assert not ray.is_initialized()
    until(lambda: descendants(os.getpid()).keys() <= before.keys(), 20)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_ctrl_c_while_ray_is_starting_does_not_leave_processes_behind(
    tmp_path: Path, command: Callable[..., subprocess.Popen[str]]
) -> None:
    path = write(tmp_path, changed(LONG))
    driver = command("run", path, "--out", tmp_path / "out")
    known: dict[int, str] = {}

    def starts() -> bool:
        known.update(descendants(driver.pid))
        return bool(known)

    until(starts, 60)
    driver.send_signal(signal.SIGINT)
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == 130, out + err
    assert "Traceback" not in err
    until(lambda: not still_there(known), 20)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.parametrize("override", ["resources.gpus=64", "resources.cpus=999"])
def test_a_study_that_cannot_run_is_refused_immediately(
    override: str, study: Callable[..., Path], tmp_path: Path, command: Callable[..., subprocess.Popen[str]]
) -> None:
    began = time.monotonic()
    process = command("run", study(), "--out", tmp_path / "out", "--set", override)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
    assert err.startswith(f"error: {override.partition('=')[0]}: a run asks for ")
    assert "Traceback" not in err
    assert time.monotonic() - began < 60
    assert numbers(tmp_path / "out") == {}
    assert failures(tmp_path / "out") == []
