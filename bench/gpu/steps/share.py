"""Does a run that takes more than its share of the card run out of memory without affecting other runs?"""

from __future__ import annotations

import torch

from ablations.execution.run_task import execute
from ablations.planning.plan import plan
from ablations.sessions.tasks import tasks
from ablations.spec.study import read_study
from ablations.store import ResultStore
from bench.gpu import sessions
from bench.gpu.report import Report


def check(told: Report) -> None:
    """Compute two runs with a share of 0.25 in this process: one allocates 0.4 of the card, the other very little."""
    path = sessions.study(told, {"greedy": {"does": "takes_memory", "takes": 0.4}, "modest": {}}, gpus=0.25)
    planned = plan(read_study(path))
    store = ResultStore(str(told.scratch / "results"))
    found = {task.arm: execute(task) for task in tasks(planned, store, list(planned.runs))}
    # A CPU has no device memory to exhaust, so in a rehearsal the error is an ordinary one.
    for arm, end in (("greedy", told.choose("out_of_memory", "failed")), ("modest", "finished")):
        ending = found[arm]
        told.expect(ending.end == end, f"the run `{arm}` ends with {end}", f"{ending.end}: {ending.reason}")
    told.note(f"why the greedy run ended: {next(iter(found['greedy'].reason.splitlines()), 'no reason')}")
    _limit_is_lifted(told)


def _limit_is_lifted(told: Report) -> None:
    """Check that the limit for the run no longer applies to this process."""
    if told.rehearsal:
        return
    free, total = torch.cuda.mem_get_info(told.device)
    size = int(0.4 * total)
    if free < size:
        told.unmeasured("whether the limit is removed after a run", f"only {free / 2**30:.1f} GiB are free")
        return
    try:
        torch.empty(size, dtype=torch.uint8, device=told.device)
    except torch.OutOfMemoryError as error:
        told.expect(False, "the limit for a share is removed after the run", str(error))
    else:
        told.expect(True, "the limit for a share is removed after the run")
