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

from ablations import planning
from ablations.executors import RayExecutor
from ablations.store import ResultStore
from ablations.study import read_study
from ablations.trial import tasks


class Printer:
    def began(self, run_id: str) -> None:
        print(json.dumps(["began", run_id, None]), flush=True)

    def epoch(self, run_id: str, row: Mapping[str, Any]) -> None:
        print(json.dumps(["epoch", run_id, dict(row)]), flush=True)

    def ended(self, run_id: str, end: str) -> None:
        print(json.dumps(["ended", run_id, end]), flush=True)

    def died(self, run_id: str, reason: str) -> None:
        print(json.dumps(["died", run_id, reason]), flush=True)


plan = planning.plan(read_study(sys.argv[1]))
store = ResultStore(Path(sys.argv[2]))
store.write_plan(planning.document(plan))
todo = tasks(plan, store, list(plan.runs))
todo[-1] = replace(todo[-1], fingerprint="0" * 20)
with RayExecutor(plan.study.spec.resources, store.directory / "ray") as executor:
    print(json.dumps(["parallel", executor.parallel]), flush=True)
    executor.execute(todo, Printer())
