"""GPU shares that were too small for an arm, kept from session to session.

``shares.json`` in a study's folder records which GPU share was too small for an arm's runs, and with which share they
continued. The file is only a hint: if it is missing, or if an arm was changed, runs determine their shares again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from ablations.execution.task import Task
from ablations.store import ResultStore


def remembered(store: ResultStore, tasks: Iterable[Task]) -> dict[str, float]:
    """Return the GPU share, by arm, for arms whose current share was too small before."""
    known = store.read_shares()
    found = {}
    for task in {task.arm: task for task in tasks if 0 < task.gpus < 1}.values():
        entry = known.get(_key(task))
        if isinstance(entry, Mapping) and _is_share(entry.get("too_little")) and _is_share(entry.get("enough")):
            too_little, enough = float(entry["too_little"]), float(entry["enough"])
            if task.gpus <= too_little < enough:
                found[task.arm] = enough
    return found


def remember(store: ResultStore, task: Task, too_little: float, enough: float) -> None:
    """Store the share with which a run ran out of memory, and the share with which its arm continues.

    Raises
    ------
    StoreError: the storage reports an error.
    """
    known = {**store.read_shares(), _key(task): {"arm": task.arm, "too_little": too_little, "enough": enough}}
    store.write_shares(known)


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and 0 < value <= 1


def _key(task: Task) -> str:
    """Return the key that all of an arm's runs share."""
    common = {name: value for name, value in task.config.items() if name != "seed"}
    return hashlib.sha256(json.dumps([task.arm, common], sort_keys=True).encode()).hexdigest()[:20]
