"""One session of the Ray executor in a process of its own; prints every event as a line of JSON.

Arguments: study file, study directory. The last run of the plan is given data that the worker will not find.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ablations.execution.attempts import Blame, Ending
from ablations.execution.ray.executor import RayExecutor
from ablations.execution.run_task import tasks
from ablations.execution.scheduler import Queue
from ablations.execution.signals import Stop
from ablations.planning import plan as planning
from ablations.spec.study import read_study
from ablations.store import ResultStore


class Printer:
    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    def began(self, run_id: str, where: str) -> None:
        print(json.dumps(["began", run_id, where]), flush=True)

    def epoch(self, run_id: str, row: Mapping[str, Any]) -> None:
        print(json.dumps(["epoch", run_id, dict(row)]), flush=True)

    def ended(self, run_id: str, ending: Ending) -> None:
        print(json.dumps(["ended", run_id, ending.as_json()]), flush=True)
        self.queue.ended(run_id, ending)

    def died(self, run_id: str, cause: str, blame: Blame) -> None:
        print(json.dumps(["died", run_id, cause]), flush=True)
        self.queue.died(run_id, blame, cause)

    def note(self, text: str) -> None:
        print(json.dumps(["note", "", text]), flush=True)

    def tick(self) -> None:
        """Time passes."""


plan = planning.plan(read_study(sys.argv[1]))
store = ResultStore(Path(sys.argv[2]))
store.write_plan(planning.document(plan))
todo = tasks(plan, store, list(plan.runs))
todo[-1] = replace(todo[-1], fingerprint="0" * 20)
queue = Queue(todo, retries=0)
with RayExecutor([plan.study.spec.resources]) as executor:
    executor.check()
    print(json.dumps(["parallel", executor.parallel]), flush=True)
    executor.execute(queue, Printer(queue), Stop())
