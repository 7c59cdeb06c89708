"""Runs on declared GPUs, some of which fail. Prints a line of JSON for every scenario in the arguments.

The cluster has one node with two GPUs and eight processors, and one node with one GPU and two processors.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import ray._private.services as services
from ray.cluster_utils import Cluster
from tiny_study import changed, failures, write

import ablations.sessions.session
from ablations.execution.attempts import Ending
from ablations.execution.events import AttemptEnded, EpochEnded, ExecutorEvent, Notice
from ablations.execution.packing import Slot
from ablations.execution.ray import placeholders
from ablations.execution.ray.executor import RayExecutor
from ablations.execution.retry_policy import Over
from ablations.execution.scheduler import Scheduler
from ablations.execution.signals import Stop
from ablations.execution.task import Task
from ablations.sessions import launch
from ablations.spec.resources import Resources
from aimlib.errors import UsageError

services.resolve_ip_for_localhost = lambda host: host
FAULT = "AcceleratorError: CUDA error: uncorrectable ECC error encountered"


class Driver:
    """A coordinator that applies the queue's decisions and records its events."""

    def __init__(self, queue: Scheduler) -> None:
        self.queue = queue
        self.ends: list[Ending] = []
        self.runs: list[dict[str, Any]] = []
        self.over: dict[str, str] = {}
        self.notes: list[str] = []

    def handle(self, event: ExecutorEvent) -> None:
        match event:
            case EpochEnded():
                raise AssertionError("nothing is trained")
            case AttemptEnded(run_id, ending):
                self._ended(run_id, ending)
            case Notice(text):
                self.notes.append(text)

    def _ended(self, run_id: str, ending: Ending) -> None:
        if ending.end == "died":
            self.notes.append(f"died: {ending.reason}")
        else:
            self.ends.append(ending)
        if ending.end == "finished":
            self.runs.append(json.loads(ending.reason))
        self._follow(run_id, self.queue.ended(run_id, ending))

    def _follow(self, run_id: str, decision: Any) -> None:
        self.notes += decision.notes
        if isinstance(decision, Over):
            self.over[run_id] = decision.state


def executor(broken: Collection[tuple[str, str]], once: str = "", seconds: float = 1.0) -> type[RayExecutor]:
    """Return an executor whose runs fail on broken GPUs.

    Parameters
    ----------
    once : a folder; if set, all runs fail at the same time during their first attempt.
    """

    class Executor(RayExecutor):
        def refuse_unusable_gpus(self) -> None:
            """Refuse nothing, because torch cannot use declared GPUs, which do not exist."""

        def worker(self) -> type:
            from ablations.execution.ray.trainable import Worker, execute

            class Broken(Worker):
                def _compute(self) -> Ending:
                    began, slot = time.time(), self._slots[0]
                    if (slot.node, slot.device) in broken:
                        time.sleep(0.2)
                        return Ending("device_error", FAULT, process_spent=True)
                    if once and not (Path(once) / self._task.run_id).exists():
                        (Path(once) / self._task.run_id).touch()
                        while len(list(Path(once).iterdir())) < 4:
                            time.sleep(0.05)
                        return Ending("device_error", FAULT, process_spent=True)
                    if self._task.directory:
                        task = replace(self._task, device="cpu")
                        return execute(task, lambda row: None, self._paused, self._deadline)
                    time.sleep(seconds)
                    said = {"run": self._task.run_id, "gpus": self._task.gpus, "node": slot.node, "gpu": slot.device}
                    return Ending("finished", json.dumps({**said, "from": began, "to": time.time()}))

            return Broken

    return Executor


def task(number: int, gpus: float, arm: str = "arm", cpus: int = 1) -> Task:
    config = {"seed": number, "training": {"epochs": 1}}
    return Task("", "", "", arm, f"{arm}-{number}", "", config, {}, "cuda", cpus, gpus)


held: dict[Slot, float] = {}


class Watched(placeholders.Placeholders):
    """Records, for every GPU, the largest share that was in use at any time."""

    def tick(self, used: Any) -> None:
        super().tick(used)
        for slot in self._wanted:
            held[slot] = max(held.get(slot, 0.0), self.held(slot))


placeholders.Placeholders = Watched  # type: ignore[misc]


def session(tasks: list[Task], kind: type[RayExecutor], isolation: Literal["actor", "process"] = "actor") -> Any:
    held.clear()
    queue, stop = Scheduler(tasks, retries=0), Stop()
    driver = Driver(queue)
    sizes = {(each.gpus, each.threads) for each in tasks}
    resources = [Resources(gpus=gpus, cpus=cpus, isolation=isolation) for gpus, cpus in sizes]
    with kind(resources, cluster.address) as hands:
        hands.check()
        hands.execute(queue, driver, stop)
        import ray

        deadline = time.monotonic() + 20
        while ray.available_resources().get("GPU") != 3.0 and time.monotonic() < deadline:
            time.sleep(0.1)
        free = ray.available_resources().get("GPU")
    return {
        "ends": [ending.end for ending in driver.ends],
        "devices": sorted({ending.device for ending in driver.ends if ending.end == "device_error"}),
        "runs": driver.runs,
        "over": driver.over,
        "notes": driver.notes,
        "held": {f"{slot.node} {slot.device}": share for slot, share in held.items()},
        "stopped": stop.reason,
        "free_afterwards": free,
    }


def whole() -> dict[str, Any]:
    """One of two GPUs on a node fails, and another node has a third GPU.

    Every run starts its own process. Otherwise, on a busy machine, new workers would start so slowly that the existing
    workers would compute all runs.
    """
    return session([task(number, 1.0) for number in range(9)], executor([(first, "0")], "", 8.0), "process")


def halves() -> dict[str, Any]:
    """The second node's GPU, which two runs share, fails."""
    return session([task(number, 0.5) for number in range(12)], executor([(second, "0")], "", 8.0), "process")


def together() -> dict[str, Any]:
    """Four runs share a GPU, as under MPS, and a fault in one run ends all four."""
    with tempfile.TemporaryDirectory() as once:
        return session([task(number, 0.25) for number in range(4)], executor([], once))


def narrow() -> dict[str, Any]:
    """All GPUs fail on the only node that has enough processors for the arm `large`."""
    tasks = [task(0, 1.0, "large", cpus=4), *(task(number, 1.0, "small") for number in range(4))]
    return session(tasks, executor([(first, "0"), (first, "1")]))


def shares() -> dict[str, Any]:
    """Runs with three different shares run at the same time."""
    sizes = [1.0, 0.5, 0.25, 0.5, 1.0, 0.25, 1.0, 0.5, 0.25, 1.0]
    return session([task(number, share, f"arm{share:g}") for number, share in enumerate(sizes)], executor([], "", 0.5))


def study() -> dict[str, Any]:
    """Every GPU fails during a real study."""
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), changed({"resources": {"gpus": 1.0, "max_retries": 0}}))
        ablations.sessions.session.RayExecutor = executor([(first, "0"), (first, "1"), (second, "0")])  # type: ignore[misc]
        found = launch.run(path, Path(folder) / "out", address=cluster.address)
        return {
            "interrupted": found.interrupted,
            "code": found.code,
            "open": len(found.open),
            "failed": dict(found.failed),
            "rows": len(failures(Path(folder) / "out")),
        }


def unusable() -> dict[str, Any]:
    """Ray counts the declared GPUs, but torch cannot use them."""
    try:
        with RayExecutor([Resources(gpus=1.0)], cluster.address) as hands:
            hands.check()
    except UsageError as error:
        return {"refused": str(error)}
    return {"refused": ""}


NODE: dict[str, Any] = {"node_ip_address": "127.0.0.1", "object_store_memory": 100 * 2**20}
cluster = Cluster(
    initialize_head=True, head_node_args={**NODE, "num_cpus": 8, "num_gpus": 2, "include_dashboard": False}
)
try:
    first = cluster.head_node.node_id
    second = cluster.add_node(**NODE, num_cpus=2, num_gpus=1).node_id
    for name in sys.argv[1:]:
        began = time.monotonic()
        found = globals()[name]()
        nodes = {"first": first, "second": second, "seconds": time.monotonic() - began}
        print(json.dumps({"scenario": name, **nodes, **found}), flush=True)
finally:
    cluster.shutdown()
