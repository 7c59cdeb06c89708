"""A run in a Ray worker: its messages, and how it ends on request or when it hangs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from ablations.execution.attempts import Ending
from ablations.execution.packing import Slot
from ablations.execution.ray import draining, trainable
from ablations.execution.task import Task, as_json

TASK = Task("", "", "", "aim", "0" * 20, "", {"seed": 0}, {}, "cpu", 1)


def given(task: Task, stall: float = 60.0, **others: Any) -> dict[str, Any]:
    """Return the configuration that Tune passes to a worker."""
    return {"task": json.dumps(as_json(task)), "resources": json.dumps({"CPU": 1.0}), "stall_seconds": stall, **others}


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., trainable.Worker]]:
    """Return a function that creates a worker in this process; the argument is the function that computes its run."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(trainable, "_BEAT", 0.3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")

    def make(execute: Callable[..., Ending], stall: float = 60.0, task: Task = TASK, **others: Any) -> trainable.Worker:
        monkeypatch.setattr(trainable, "execute", execute)
        return trainable.Worker(given(task, stall, **others))

    yield make
    signal.signal(signal.SIGTERM, before)


def events(found: trainable.Worker) -> list[dict[str, Any]]:
    """Return all messages of the worker until it has ended."""
    said: list[dict[str, Any]] = []
    while not said or "ended" not in said[-1]:
        result = found.step()
        said += result["events"]
        assert result["done"] == ("ended" in said[-1])
    return said


def test_a_run_reports_its_device_progress_and_ending(make: Callable[..., trainable.Worker]) -> None:
    def execute(task: Task, on_epoch: Any, pause: Any, deadline: Any, on_notice: Any, on_outage: Any) -> Ending:
        on_notice("steps run eagerly")
        on_epoch({"epoch": 1})
        assert not pause()
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "", "a run without a GPU does not see any GPU"
        return Ending("finished", epochs=1)

    began, notice, epoch, ended = events(make(execute))
    assert notice == {"notice": "steps run eagerly"}
    assert isinstance(began["began"], str)
    assert epoch == {"epoch": {"epoch": 1}}
    assert Ending(**ended["ended"]) == Ending("finished", epochs=1)


def test_a_worker_computes_one_run_after_another(make: Callable[..., trainable.Worker]) -> None:
    found = make(lambda *_: Ending("finished"))
    events(found)
    again = json.dumps({**as_json(TASK), "run_id": "1" * 20})
    assert found.reset_config({"task": again, "resources": "{}", "stall_seconds": 60.0})
    assert events(found)[-1]["ended"]["end"] == "finished"
    assert found._task.run_id == "1" * 20


def test_a_worker_without_a_run_does_not_compute_anything(make: Callable[..., trainable.Worker]) -> None:
    """Tune sets up a worker for a run and then assigns the run to another worker that has become free."""
    computed: list[Task] = []

    def execute(task: Task, *_: Any) -> Ending:
        computed.append(task)
        return Ending("finished")

    dropped = make(execute)
    time.sleep(0.05)
    dropped.stop()
    assert not computed
    events(make(execute))
    assert len(computed) == 1


def test_an_error_outside_the_run_is_also_an_ending(make: Callable[..., trainable.Worker]) -> None:
    def execute(*_: Any) -> Ending:
        raise SystemExit("a plugin that exits")

    ended = events(make(execute))[-1]["ended"]
    assert (ended["end"], ended["reason"]) == ("failed", "SystemExit: a plugin that exits")


def test_a_hanging_run_is_ended_and_the_place_where_it_hangs_is_reported(
    make: Callable[..., trainable.Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(trainable.os, "kill", lambda *arguments: killed.append(arguments))
    monkeypatch.setattr(trainable, "_LAST_WORDS", 0.01)
    go_on = threading.Event()

    def hangs_for_ever() -> None:
        go_on.wait(30)

    def execute(*_: Any) -> Ending:
        hangs_for_ever()
        return Ending("finished")

    said = events(make(execute, stall=1.0))
    assert {"alive": True} in said or {"alive": False} in said, "heartbeats in the meantime"
    ended = Ending(**said[-1]["ended"])
    assert ended.end == "stalled"
    assert "resources.stall_minutes" in ended.reason
    assert "hangs_for_ever" in ended.traceback
    deadline = time.monotonic() + 60
    while not killed and time.monotonic() < deadline:
        time.sleep(0.01)
    assert killed == [(os.getpid(), signal.SIGKILL)], "nothing else can free a hanging thread"
    go_on.set()


def test_a_run_on_a_node_that_is_being_shut_down_saves_its_state_and_continues_elsewhere(
    make: Callable[..., trainable.Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = threading.Event()
    monkeypatch.setattr(trainable.os, "kill", lambda *_: killed.set())
    monkeypatch.setattr(trainable, "_LAST_WORDS", 0.01)
    monkeypatch.setattr(trainable, "_DRAIN_POLL_INTERVAL_S", 0.05)
    going: list[bool] = []
    monkeypatch.setattr(draining, "is_draining", lambda: bool(going))

    def execute(
        task: Task, on_epoch: Any, pause: Callable[[], bool], deadline: Any, on_notice: Any, on_outage: Any
    ) -> Ending:
        on_epoch({"epoch": 1})
        while not pause():
            time.sleep(0.01)
        return Ending("paused", epochs=1)

    found = make(execute)
    said = found.step()["events"]
    assert {"ended"} not in [set(event) for event in said], "no run is ended on a node that stays"
    going.append(True)
    ended = Ending(**events(found)[-1]["ended"])
    assert (ended.end, ended.reason) == ("machine", "its node is being shut down; its state is saved")
    assert killed.wait(60), "no other run is started in this process"


CUDA = replace(TASK, device="cuda", gpus=0.5)
SLOT = Slot("f" * 56, "1")


def test_a_run_on_an_excluded_gpu_does_not_start(
    make: Callable[..., trainable.Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = threading.Event()
    monkeypatch.setattr(trainable.os, "kill", lambda *_: killed.set())
    monkeypatch.setattr(trainable, "_LAST_WORDS", 0.01)
    monkeypatch.setattr(trainable, "own_slots", lambda: (SLOT,))
    computed: list[Task] = []

    def execute(task: Task, *_: Any) -> Ending:
        computed.append(task)
        return Ending("finished")

    (name,) = trainable.device_names((SLOT,))
    assert name.endswith("(node ffffffff)") or name.startswith("GPU-")
    by_slot, by_name = json.dumps([[SLOT.node, SLOT.device]]), replace(CUDA, left_out=(name,))
    for task, options in ((CUDA, {"left_out": by_slot}), (by_name, {})):
        killed.clear()
        began, ended = events(make(execute, task=task, **options))
        assert began["slots"] == [(SLOT.node, SLOT.device)], "this tells the driver which GPU it is"
        ending = Ending(**ended["ended"])
        assert (ending.end, ending.device, ending.process_spent) == ("not_begun", name, True)
        assert killed.wait(60), "Ray must assign a different GPU to the next run"
    assert not computed


def test_a_run_names_its_gpu_and_an_unusable_process_does_not_take_another_run(
    make: Callable[..., trainable.Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = threading.Event()
    monkeypatch.setattr(trainable.os, "kill", lambda *_: killed.set())
    monkeypatch.setattr(trainable, "_LAST_WORDS", 0.01)
    monkeypatch.setattr(trainable, "own_slots", lambda: (SLOT,))
    endings = [Ending("finished"), Ending("device_error", "ECC", process_spent=True)]
    found = make(lambda *_: endings.pop(0), task=CUDA)
    first = Ending(**events(found)[-1]["ended"])
    assert (first.device, first.host) == (trainable.device_names((SLOT,))[0], socket.gethostname())
    assert not killed.wait(0.3), "a process whose run ended normally continues"
    assert found.reset_config(given(CUDA))
    assert Ending(**events(found)[-1]["ended"]).device == first.device
    assert killed.wait(60)


def test_a_run_that_is_asked_to_stop_has_a_grace_period_for_saving(make: Callable[..., trainable.Worker]) -> None:
    deadlines: list[float | None] = []
    heard: list[float] = []

    def execute(
        task: Task, on_epoch: Any, pause: Callable[[], bool], deadline: Callable[[], float | None], *_: Any
    ) -> Ending:
        deadlines.append(deadline())
        while not pause():
            time.sleep(0.01)
        deadlines.append(deadline())
        heard.append(time.monotonic())
        time.sleep(60 if task.run_id == "0" * 20 else 0)
        return Ending("paused")

    found = make(execute, task=replace(TASK, grace_seconds=0.5))
    found.step()
    began = time.monotonic()
    found.cleanup()
    assert 0.4 < time.monotonic() - began < 30, "the session no longer waits for a run that does not end"
    assert deadlines[0] is None
    assert deadlines[1] is not None
    assert began + 0.5 <= deadlines[1] <= heard[0] + 0.5


def test_a_running_mps_server_is_reported(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    assert trainable._place(CUDA) == f"{socket.gethostname()}, GPU 1"
    (tmp_path / "control").touch()
    assert trainable._place(CUDA) == f"{socket.gethostname()}, GPU 1, MPS"
    assert trainable._place(TASK) == socket.gethostname()


def test_outside_a_cluster_no_node_is_being_shut_down() -> None:
    assert not draining.is_draining()
    assert not draining.DrainCheck(0.0).seen()


def test_after_sigterm_the_state_is_saved(make: Callable[..., trainable.Worker]) -> None:
    saved = threading.Event()

    def execute(
        task: Task, on_epoch: Any, pause: Callable[[], bool], deadline: Any, on_notice: Any, on_outage: Any
    ) -> Ending:
        while not pause():
            time.sleep(0.01)
        saved.set()
        return Ending("paused", epochs=3)

    found = make(execute)
    assert "began" in found.step()["events"][0]
    before = found._before
    found._before = None
    with pytest.raises(SystemExit) as leaving:
        signal.raise_signal(signal.SIGTERM)
    found._before = before
    assert saved.is_set()
    assert leaving.value.code == 128 + signal.SIGTERM
    assert events(found)[-1]["ended"]["end"] == "paused"


def test_the_resources_of_a_task_are_requested() -> None:
    wanted = {"CPU": 2.0, "GPU": 0.5, "accelerator_type:A100": 0.001}
    request = trainable.Worker.default_resource_request({"resources": json.dumps(wanted)})
    assert request.required_resources == wanted


def test_a_worker_responds_before_it_has_imported_torch() -> None:
    """While a worker imports torch, another worker may finish its run and receive the run that is waiting for the
    first."""
    code = "import sys; from ablations.execution.ray.trainable import Worker; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_worker_whose_cpu_computed_wrong_results_names_its_machine_and_is_replaced(
    make: Callable[..., trainable.Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainable.os, "kill", lambda *_: None)
    monkeypatch.setattr(trainable, "_LAST_WORDS", 0.01)
    ended = events(make(lambda *_: Ending("device_error", "computing error: step 3")))[-1]["ended"]
    assert ended["device"] == trainable.own_cpus()
    assert ended["host"]
    assert ended["process_spent"]


def test_a_worker_on_an_excluded_machine_does_not_compute_any_runs(
    make: Callable[..., trainable.Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainable.os, "kill", lambda *_: None)
    monkeypatch.setattr(trainable, "_LAST_WORDS", 0.01)
    monkeypatch.setattr(trainable, "own_cpus", lambda: "CPU of here")
    task = replace(TASK, left_out=("CPU of here",))
    ended = events(make(lambda *_: Ending("finished"), task=task))[-1]["ended"]
    assert (ended["end"], ended["device"]) == ("not_begun", "CPU of here")
