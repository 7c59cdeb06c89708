"""The part of a run in a Ray worker: a Tune class trainable, whose main thread stays responsive.

The run has its own thread. After a SIGTERM (from Slurm, from Kubernetes or on a reclaimed node), or if Ray announces
that it will shut down the node, a checkpoint is therefore saved immediately. A run that hangs is detected.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from ray import tune

from ablations.execution.attempts import Ending, ending_of
from ablations.execution.packing import Slot
from ablations.execution.ray.draining import DrainCheck
from ablations.execution.ray.excluded_nodes import name_of_cpus
from ablations.execution.ray.placeholders import own_slots
from ablations.execution.task import Task

_BEAT = 20.0
"""Seconds without a completed epoch after which a heartbeat is sent."""
_GATHER = 0.05
"""Seconds for which events are collected before they are sent together, because a message to the driver takes as long
as a short epoch."""
_LAST_WORDS = 2.0
"""Seconds that an unusable process has for its report before it is killed."""
_MPS = "/tmp/nvidia-mps"  # noqa: S108 -- the default of CUDA, see its documentation
_DRAIN_POLL_INTERVAL_S = 2.0
"""Seconds between two checks of whether the node is about to be shut down; a cloud may allow no more than 25 s."""


def execute(
    task: Task,
    on_epoch: Callable[[Mapping[str, Any]], None],
    pause: Callable[[], bool],
    deadline: Callable[[], float | None],
    on_notice: Callable[[str], None],
    on_outage: Callable[[str], None],
) -> Ending:
    """Compute a run: `ablations.execution.run_task.execute`, which is imported when a run starts.

    Tune considers a worker started once this module is imported. Importing torch would take seconds, during which the
    first worker might finish its run. Tune would then assign it the run that is waiting for the second worker, and drop
    the second worker.
    """
    from ablations.execution import run_task  # noqa: PLC0415

    return run_task.execute(task, on_epoch, pause, deadline, on_notice, on_outage)


class Worker(tune.Trainable):  # type: ignore[misc]
    """Computes one task after another."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take the first task; it is started by the first call to `step`.

        Tune drops a worker that was just set up if an existing worker becomes free for its task: the dropped worker's
        events would be lost, and the run would be computed twice.
        """
        self._spent = False
        self._drain = DrainCheck(_DRAIN_POLL_INTERVAL_S)
        if threading.current_thread() is threading.main_thread():
            self._before = signal.getsignal(signal.SIGTERM)
            signal.signal(signal.SIGTERM, self._terminate)
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next task in the same process, unless a run hangs in it or the node is about to shut down."""
        if self._spent:
            os.kill(os.getpid(), signal.SIGKILL)
        self._take(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Return the events since the last call; if there are none, wait for an event."""
        if self._thread is None:
            self._begin()
        events = [self._wait()]
        gathered = time.monotonic() + _GATHER
        while "ended" not in events[-1]:
            try:
                events.append(self._events.get(timeout=max(0.0, gathered - time.monotonic())))
            except queue.Empty:
                break
        ended = events[-1].get("ended")
        done = ended is not None
        if ended is not None and (ended.get("process_spent") or self._drain.seen()):
            self._end_soon()
        return {"events": events, "done": done}

    def cleanup(self) -> None:
        """Make a run that is still being computed save its state."""
        self._let_save()

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Return the resources that a task needs."""
        return tune.PlacementGroupFactory([json.loads(config["resources"])])

    def _take(self, config: dict[str, Any]) -> None:
        self._task = Task(**json.loads(config["task"]))
        self._limit = float(config["stall_seconds"])
        self._left_out = {Slot(*slot) for slot in json.loads(config.get("left_out", "[]"))}
        if self._task.device == "cpu":
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # even if a node was started without this package's settings
        self._events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._pause = threading.Event()
        self._until: float | None = None
        self._slots: tuple[Slot, ...] = ()
        self._thread: threading.Thread | None = None

    def _begin(self) -> None:
        self._alive = time.monotonic()
        self._slots = own_slots() if self._task.device == "cuda" else ()
        self._events.put({"began": _place(self._task), "slots": [(slot.node, slot.device) for slot in self._slots]})
        self._thread = threading.Thread(target=self._run, name=self._task.run_id, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            on_cpu = self._task.device == "cpu"
            ending = self._on_cpus(own_cpus()) if on_cpu else self._on_devices(device_names(self._slots))
        except BaseException as error:  # noqa: BLE001 -- if the thread died silently, the run would never end
            ending = ending_of(error)
        if ending.end == "paused" and self._drain.seen():
            ending = Ending("machine", "its node is being shut down; its state is saved")
        self._events.put({"ended": ending.as_json()})

    def _on_cpus(self, name: str) -> Ending:
        """Compute the task unless this machine's CPUs are excluded; after wrong results, report the machine."""
        host = socket.gethostname()
        if name in self._task.left_out:
            reason = f"it was started on {name}, which is excluded"
            return Ending("not_begun", reason, device=name, host=host, process_spent=True)
        ending = self._compute()
        if ending.end != "device_error":
            return ending
        return replace(ending, device=name, host=host, process_spent=True)

    def _on_devices(self, names: list[str]) -> Ending:
        """Compute the task unless its GPU is excluded; report the GPU."""
        given = zip(names, self._slots, strict=True)
        left_out = [name for name, slot in given if name in self._task.left_out or slot in self._left_out]
        if left_out:
            reason = f"it was given {left_out[0]}, which is excluded"
            return Ending("not_begun", reason, device=left_out[0], host=socket.gethostname(), process_spent=True)
        ending = self._compute()
        if not names:
            return ending
        spent = ending.process_spent or ending.end == "device_error"
        return replace(ending, device=ending.device or names[0], host=socket.gethostname(), process_spent=spent)

    def _compute(self) -> Ending:
        return execute(
            self._task,
            lambda row: self._events.put({"epoch": dict(row)}),
            self._paused,
            self._deadline,
            lambda text: self._events.put({"notice": text}),
            lambda reason: self._events.put({"outage": reason}),
        )

    def _deadline(self) -> float | None:
        """Return the monotonic time by which the state must be saved, or None; every call counts as a heartbeat."""
        self._alive = time.monotonic()
        return self._until

    def _paused(self) -> bool:
        """Return whether the run must save its state and end; every call counts as a heartbeat."""
        self._alive = time.monotonic()
        return self._pause.is_set()

    def _wait(self) -> dict[str, Any]:
        """Return the next event or a heartbeat; end the process if the run hangs."""
        began = time.monotonic()
        while time.monotonic() - began < _BEAT:
            if self._drain.seen():
                self._press()
            try:
                return self._events.get(timeout=min(1.0, _BEAT))
            except queue.Empty:
                silent = time.monotonic() - self._alive
                if silent > self._limit:
                    return {"ended": self._stalled(silent).as_json()}
        return {"alive": self._alive >= began}

    def _stalled(self, silent: float) -> Ending:
        """Return the ending of a run that hangs, with the place where it hangs; this process exits soon afterwards."""
        frame = sys._current_frames().get((self._thread and self._thread.ident) or 0)
        stack = "".join(traceback.format_stack(frame)[-8:]) if frame else ""
        self._end_soon()
        return Ending("stalled", f"no step within {silent:.0f} s (resources.stall_minutes)", traceback=stack)

    def _end_soon(self) -> None:
        """Make this process send its last report and exit."""
        self._spent = True
        threading.Timer(_LAST_WORDS, os.kill, (os.getpid(), signal.SIGKILL)).start()

    def _let_save(self) -> None:
        self._press()
        if self._thread is not None:
            self._thread.join(self._task.grace_seconds)

    def _press(self) -> None:
        """Make the run save its state within its grace period."""
        if self._until is None:
            self._until = time.monotonic() + self._task.grace_seconds
        self._pause.set()

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self._let_save()
        if callable(self._before):
            self._before(number, frame)
        sys.exit(128 + number)


def own_cpus() -> str:
    """Return the name of the CPUs on this process's node."""
    import ray  # noqa: PLC0415 -- here alone

    node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""
    return name_of_cpus(socket.gethostname(), node)


def device_names(slots: tuple[Slot, ...]) -> list[str]:
    """Return a unique name for each GPU that was assigned to this process: its UUID if known."""
    return [_uuid(number) or f"GPU {slot.device} of {_host_of(slot)}" for number, slot in enumerate(slots)]


def _host_of(slot: Slot) -> str:
    return f"{socket.gethostname()} (node {slot.node[:8]})"


def _uuid(number: int) -> str:
    """Return the UUID of a GPU that this process can use; empty if it is unknown."""
    import torch  # noqa: PLC0415 -- the run needs it anyway

    from aimlib.training.devices import device_uuid  # noqa: PLC0415 -- imports torch

    return device_uuid(torch.device("cuda", number))


def _place(task: Task) -> str:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if task.device != "cuda" or not visible:
        return socket.gethostname()
    return f"{socket.gethostname()}, GPU {visible}" + (", MPS" if _uses_mps() else "")


def _uses_mps() -> bool:
    """Return whether processes on this machine share GPUs through a running NVIDIA Multi-Process Service."""
    return (Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY") or _MPS) / "control").exists()
