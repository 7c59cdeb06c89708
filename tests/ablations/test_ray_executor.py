"""Runs on Ray: what cannot fit is refused, what dies is tried again, and nothing of a dead driver stays."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from drivers import HERE, ONE_THREAD, until
from tiny_study import changed, failures, litter, numbers, planned, write

from ablations.executors import RayExecutor, _callback
from ablations.launch import run
from ablations.study import Resources
from aimlib.errors import UsageError

Node = dict[str, float]


def fitting(nodes: list[Node], **resources: Any) -> int:
    return RayExecutor(Resources(**resources), Path("unused"))._fitting(nodes)


@pytest.mark.parametrize(
    ("nodes", "resources", "parallel"),
    [
        ([{"CPU": 8}], {}, 8),
        ([{"CPU": 8}], {"cpus": 3}, 2),
        ([{"CPU": 2}, {"CPU": 5}], {"cpus": 2}, 3),
        ([{"CPU": 8, "GPU": 2}], {"gpus": 1}, 2),
        ([{"CPU": 1, "GPU": 2}], {"gpus": 1}, 1),
        ([{"CPU": 8, "GPU": 2}], {"gpus": 0.5}, 4),
        ([{"CPU": 8, "GPU": 1}], {"gpus": 0.1}, 8),
        ([{"CPU": 80, "GPU": 1}], {"gpus": 0.1}, 10),
        ([{"CPU": 8, "GPU": 2}], {"gpus": 0.4}, 4),
        ([{"CPU": 4}, {"CPU": 8, "GPU": 4}], {"gpus": 2}, 2),
        ([{"CPU": 64, "GPU": 8}, {"CPU": 64, "GPU": 8}], {"cpus": 8, "gpus": 1}, 16),
    ],
)
def test_how_many_runs_fit(nodes: list[Node], resources: dict[str, Any], parallel: int) -> None:
    assert fitting(nodes, **resources) == parallel


@pytest.mark.parametrize(
    ("nodes", "resources", "message"),
    [
        ([{"CPU": 2}], {"gpus": 1}, r"resources.gpus: a run asks for 1 GPUs, .* more than 0; .*--set resources.gpus="),
        ([{"CPU": 2}], {"cpus": 999}, r"resources.cpus: a run asks for 999 CPUs, .* more than 2; lower it"),
        ([{"CPU": 2}, {"CPU": 2}], {"cpus": 3}, r"resources.cpus: a run asks for 3 CPUs, .* more than 2;"),
        (
            [{"CPU": 8, "GPU": 1}, {"CPU": 8, "GPU": 1}],
            {"gpus": 2},
            r"resources.gpus: a run asks for 2 GPUs, .* more than 1;",
        ),
        ([{"CPU": 8}, {"CPU": 1, "GPU": 1}], {"cpus": 4, "gpus": 1}, r"resources: no node has 4 CPUs and 1 GPUs"),
        ([], {}, r"resources.cpus: .* more than 0;"),
    ],
)
def test_what_fits_nowhere_is_refused(nodes: list[Node], resources: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fitting(nodes, **resources)


class Events(list[tuple[str, ...]]):
    """A listener that remembers."""

    def began(self, run_id: str) -> None:
        self.append(("began", run_id))

    def epoch(self, run_id: str, row: Any) -> None:
        self.append(("epoch", run_id, row["epoch"]))

    def ended(self, run_id: str, end: str) -> None:
        self.append(("ended", run_id, end))

    def died(self, run_id: str, reason: str) -> None:
        self.append(("died", run_id, reason))


def test_what_killed_drivers_left_of_a_session_goes(tmp_path: Path) -> None:
    from ablations.store.files import host_name

    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    executor = RayExecutor(Resources(), tmp_path / "ray")
    dead = tmp_path / "ray" / f"session.{host_name()}.{ended.pid}.0"
    living = tmp_path / "ray" / f"session.{host_name()}.{os.getppid()}.0"
    elsewhere = tmp_path / "ray" / f"session.elsewhere.{ended.pid}.0"
    for folder in (dead, living, elsewhere):
        folder.mkdir(parents=True)
    with executor._session() as own:
        assert set((tmp_path / "ray").iterdir()) == {own, living, elsewhere}
    living.rmdir()
    elsewhere.rmdir()
    with executor._session():
        pass
    assert not (tmp_path / "ray").exists()


def test_the_relay_passes_events_and_is_pickled_without_its_listener(tmp_path: Path) -> None:
    events = Events()
    relay = _callback(events)
    errors = tmp_path / "error.txt"
    errors.write_text("Traceback\n  File x\nray.exceptions.ActorDiedError: The actor died\n\n")
    trial = SimpleNamespace(config={"task": json.dumps({"run_id": "r1"})}, error_file=str(errors))
    unknown = SimpleNamespace(config={"task": json.dumps({"run_id": "r2"})}, error_file=None)
    relay.on_trial_result(1, [], trial, {"epoch_row": {"epoch": 1}})
    relay.on_trial_result(2, [], trial, {"end": "finished"})
    relay.on_trial_result(2, [], trial, {"done": True})
    relay.on_trial_error(3, [], trial)
    relay.on_trial_error(3, [], unknown)
    again = "the process of this run died again and again"
    assert events == [
        ("epoch", "r1", 1),
        ("ended", "r1", "finished"),
        ("died", "r1", f"{again}: ray.exceptions.ActorDiedError: The actor died"),
        ("died", "r2", f"{again}: Ray gave no reason"),
    ]
    copied = pickle.loads(pickle.dumps(relay))
    copied.on_trial_result(1, [], trial, {"end": "finished"})
    assert len(events) == 5 - 1


# Real sessions, in processes of their own


def stat_of(process: int) -> tuple[int, str] | None:
    """Return parent and start time of a living process; a zombie is not living."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return None
    state, parent, *rest = text.rpartition(")")[2].split()
    return None if state == "Z" else (int(parent), rest[17])


def descendants(process: int) -> dict[int, str]:
    """Return the living processes below one, with their start times."""
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
    """Leave out Ray's two agents of a node: when the driver is killed they outlive their raylet, whoever started it."""
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
    """Return the workers of a driver that compute runs; Ray's own agents are called ``ray::`` too."""
    found = []
    for pid in descendants(process):
        with contextlib.suppress(OSError):
            name = Path(f"/proc/{pid}/cmdline").read_bytes()
            if name.startswith(b"ray::ImplicitFunc"):
                found.append(pid)
    return found


@pytest.fixture
def calm(tmp_path: Path) -> dict[str, str]:
    """Return what the long study computes when nothing happens."""
    run(write(tmp_path, changed(LONG), "calm.yaml"), tmp_path / "calm", executor="inline")
    return numbers(tmp_path / "calm")


LONG: dict[str, Any] = {"base.data.size": 8, "base.training.epochs": 30, "seeds": 2}


def assert_whole(directory: Path, expected: dict[str, str]) -> None:
    assert numbers(directory) == expected
    assert set(planned(directory)) == set(expected)
    assert failures(directory) == []
    assert litter(directory) == []
    assert not (directory / "ray").exists(), "nothing of Ray stays"


def settled(directory: Path) -> int:
    return len(list((directory / "runs").glob("*.parquet")))


def end_leftovers(processes: dict[int, str]) -> None:
    for pid in still_there(processes):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_a_killed_driver_goes_on(
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
        assert driver.poll() is None, "the session goes on without its worker"
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
def test_a_run_whose_process_always_dies_fails_and_the_others_go_on(
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
    assert failed["reason"].startswith("the process of this run died")
    assert "1 failed" in out
    assert len(numbers(directory)) == 1


@pytest.mark.slow
def test_a_session_tells_its_listener_everything(tmp_path: Path) -> None:
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
    ended = {run_id: end for kind, run_id, end in events[1:] if kind == "ended"}
    assert ended == dict.fromkeys(ids[:3], "finished") | {ids[3]: "failed"}
    for run_id in ids[:3]:
        assert [row["epoch"] for kind, other, row in events[1:] if (kind, other) == ("epoch", run_id)] == [1, 2]
    (failed,) = failures(directory)
    assert (failed["run_id"], failed["status"]) == (ids[3], "failed")
    assert failed["reason"].startswith("DataError: the data on this machine differs")
    assert not (directory / "ray").exists()


@pytest.mark.slow
@pytest.mark.parametrize("override", ["resources.gpus=64", "resources.cpus=999"])
def test_what_cannot_run_is_refused_at_once(
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
