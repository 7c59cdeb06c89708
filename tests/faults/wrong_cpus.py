"""Runs on a cluster in which some nodes compute wrong bits. Prints a line of JSON for every scenario in the arguments.

The cluster has one node with two CPUs and one node with four CPUs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Collection
from typing import Any

import ray
import ray._private.services as services
from ray.cluster_utils import Cluster

from ablations.execution.attempts import Ending
from ablations.execution.events import AttemptEnded, ExecutorEvent, Notice
from ablations.execution.ray.executor import RayExecutor
from ablations.execution.scheduler import Scheduler
from ablations.execution.signals import Stop
from ablations.execution.task import Task
from ablations.spec.resources import Resources

services.resolve_ip_for_localhost = lambda host: host
ERROR = "computing error: step 3 of epoch 1 was computed twice from the same state"


class Driver:
    """A coordinator that applies the queue's decisions and records its events."""

    def __init__(self, queue: Scheduler) -> None:
        self.queue = queue
        self.ends: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self.nodes: list[str] = []

    def handle(self, event: ExecutorEvent) -> None:
        match event:
            case AttemptEnded(run_id, ending):
                self.ends.append((ending.end, ending.reason))
                if ending.end == "finished":
                    self.nodes.append(ending.reason)
                decision = self.queue.ended(run_id, ending)
                self.notes += decision.notes
            case Notice(text):
                self.notes.append(text)


def executor(broken: Collection[str]) -> type[RayExecutor]:
    """Return an executor whose runs compute wrong bits on some nodes."""

    class Executor(RayExecutor):
        def worker(self) -> type:
            from ablations.execution.ray.trainable import Worker

            class Broken(Worker):
                def _compute(self) -> Ending:
                    node = ray.get_runtime_context().get_node_id()
                    if node in broken:
                        time.sleep(0.2)
                        return Ending("device_error", ERROR)
                    time.sleep(3.0)
                    return Ending("finished", node)

            return Broken

    return Executor


def session(broken: Collection[str], runs: int) -> dict[str, Any]:
    config = {"seed": 0, "training": {"epochs": 1}}
    tasks = [Task("", "", "", "arm", f"run-{number}", "", config, {}, "cpu", 1) for number in range(runs)]
    queue, stop = Scheduler(tasks, retries=0), Stop()
    driver = Driver(queue)
    with executor(broken)([Resources(isolation="process")], cluster.address) as hands:
        hands.check()
        hands.execute(queue, driver, stop)
        deadline = time.monotonic() + 20
        while ray.available_resources().get("CPU") != 6.0 and time.monotonic() < deadline:
            time.sleep(0.1)
        free = ray.available_resources().get("CPU")
    return {
        "ends": [end for end, _ in driver.ends],
        "nodes": driver.nodes,
        "notes": driver.notes,
        "stopped": stop.reason,
        "free_afterwards": free,
    }


def one() -> dict[str, Any]:
    """The larger node computes wrong bits; every run starts its own process, so that no worker takes all the runs."""
    return session([second], 12)


def all_of_them() -> dict[str, Any]:
    """No node computes the right bits."""
    return session([first, second], 4)


NODE: dict[str, Any] = {"node_ip_address": "127.0.0.1", "object_store_memory": 100 * 2**20}
cluster = Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 2, "include_dashboard": False})
try:
    first = cluster.head_node.node_id
    second = cluster.add_node(**NODE, num_cpus=4).node_id
    for name in sys.argv[1:]:
        print(json.dumps({"first": first, "second": second, **globals()[name]()}), flush=True)
finally:
    cluster.shutdown()
