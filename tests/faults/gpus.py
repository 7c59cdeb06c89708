"""Runs on four declared GPUs that do not exist. Prints, as lines of JSON, which GPUs each run sees, and how many runs
share a GPU."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import ray._private.services as services
from ray.cluster_utils import Cluster

from ablations.execution.attempts import Ending
from ablations.execution.events import AttemptEnded, EpochEnded, ExecutorEvent
from ablations.execution.ray.executor import RayExecutor
from ablations.execution.scheduler import Scheduler
from ablations.execution.signals import Stop
from ablations.execution.task import Task
from ablations.spec.resources import Resources
from aimlib.errors import UsageError

services.resolve_ip_for_localhost = lambda host: host
SHARES = {"half": 0.5, "whole": 1.0, "none": 0.0}


class Driver:
    def __init__(self, queue: Scheduler) -> None:
        self.queue = queue

    def handle(self, event: ExecutorEvent) -> None:
        match event:
            case EpochEnded():
                raise AssertionError("nothing is trained")
            case AttemptEnded(run_id, ending):
                if ending.end == "finished":
                    print(json.dumps(json.loads(ending.reason)), flush=True)
                if ending.end == "died":
                    print(json.dumps({"died": ending.reason}), flush=True)
                self.queue.ended(run_id, ending)


class Executor(RayExecutor):
    def refuse_unusable_gpus(self) -> None:
        """Refuse nothing, because torch cannot use declared GPUs, which do not exist."""

    def worker(self) -> type:
        from ablations.execution.ray.trainable import Worker

        class Looking(Worker):
            """Records each run's visible GPUs for a second; the first run of the arm `half` once runs out of memory."""

            def _run(self) -> None:
                began = time.time()
                time.sleep(1.0)
                task = self._task
                if task.run_id == "half-0" and task.gpus == 0.5:
                    self._events.put({"ended": Ending("out_of_memory", "CUDA out of memory").as_json()})
                    return
                visible = os.environ.get("CUDA_VISIBLE_DEVICES", "unset")
                seen = {"run": task.run_id, "gpus": task.gpus, "sees": visible, "from": began, "to": time.time()}
                self._events.put({"ended": Ending("finished", json.dumps(seen)).as_json()})

        return Looking


def task(arm: str, number: int) -> Task:
    device: Any = "cuda" if SHARES[arm] else "cpu"
    config = {"seed": number, "training": {"epochs": 1}}
    return Task("", "", "", arm, f"{arm}-{number}", "", config, {}, device, 1, SHARES[arm])


cluster = Cluster(
    initialize_head=True,
    head_node_args={"num_cpus": 16, "num_gpus": 4, "node_ip_address": "127.0.0.1", "include_dashboard": False},
)
try:
    try:
        with Executor([Resources(gpus=5)], cluster.address) as executor:
            executor.check()
    except UsageError as error:
        print(json.dumps({"refused": str(error)}), flush=True)
    tasks = (
        [task("half", n) for n in range(6)] + [task("whole", n) for n in range(3)] + [task("none", n) for n in range(3)]
    )
    queue = Scheduler(tasks, retries=0)
    with Executor([Resources(gpus=share) for share in SHARES.values()], cluster.address) as executor:
        executor.check()
        executor.execute(queue, Driver(queue), Stop())
finally:
    cluster.shutdown()
