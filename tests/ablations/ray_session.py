"""One session with the Ray executor in a separate process. It prints every event as a line of JSON.

Arguments: the study file and the study directory. The last planned run is given data that the worker will not find.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from ablations.execution.events import AttemptEnded, EpochEnded, ExecutorEvent, Notice, RunStarted
from ablations.execution.ray.executor import RayExecutor
from ablations.execution.scheduler import Scheduler
from ablations.execution.signals import Stop
from ablations.planning import plan as planning
from ablations.sessions.tasks import tasks
from ablations.spec.study import read_study
from ablations.store import ResultStore


class Printer:
    """A coordinator that prints its events and applies the scheduler's decisions."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler

    def handle(self, event: ExecutorEvent) -> None:
        match event:
            case RunStarted(run_id, where):
                self.say("began", run_id, where)
            case EpochEnded(run_id, row):
                self.say("epoch", run_id, dict(row))
            case AttemptEnded(run_id, ending):
                self.say("ended", run_id, ending.as_json())
                self.scheduler.ended(run_id, ending)
            case Notice(text, run_id):
                self.say("note", run_id, text)

    def say(self, *event: object) -> None:
        print(json.dumps(event), flush=True)


plan = planning.plan(read_study(sys.argv[1]))
store = ResultStore(Path(sys.argv[2]))
store.write_plan(planning.document(plan))
todo = tasks(plan, store, list(plan.runs))
todo[-1] = replace(todo[-1], fingerprint="0" * 20)
scheduler = Scheduler(todo, retries=0)
with RayExecutor([plan.study.spec.resources]) as executor:
    executor.check()
    print(json.dumps(["parallel", executor.parallel]), flush=True)
    executor.execute(scheduler, Printer(scheduler), Stop())
