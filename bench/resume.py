"""How much do finished runs slow down the start of a long study that is resumed?

Question: How many more seconds does it take until the first unfinished run starts if 1,000 runs of the study are
    finished?

Rivals: the same study directory with a plan for as many runs but without results, and the same study with only as many
    runs as remain, which shows the cost of a launcher without stored results.

Measured: 2026-11-25, Intel(R) Xeon(R) Processor, 2 cores, 24 GiB, Linux 6.18.44-fc-v657, Python 3.11.7; torch 2.14.1,
    torchvision 0.29.1, ray 2.60.0, optuna 5.0.0, pandas 3.1.1, pyarrow 26.0.1, numpy 2.4.6, scipy 1.17.1, matplotlib
    3.11.2; medians of 1 to 4 rounds, 361 s in all.

Reached: 1,000 finished runs: seconds more than a study of 4 runs: 0.0899 (≤ 2); cost of a further run, from 5,000 to
    10,000 / from 1,000 to 5,000 (1 is linear): 0.747 (≤ 1.5).
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness import Answer, Asked, Goal, main, rounds_of, row

LEFT = 4
"""Number of remaining runs: one seed for the demo's four arms."""
CODE = (
    "import sys, time; from pathlib import Path; from ablations.sessions import launch\nfrom "
    "ablations.execution.attempts import Ending\ndef stop(*_, **__): print('BEGAN', time.time(), flush=True); import "
    "os; os._exit(0)\nfrom ablations.execution import run_task; run_task.execute = stop\nlaunch.run('demo', "
    "sys.argv[1], ['seeds=' + sys.argv[2]], executor='inline')\n"
)


def measure(asked: Asked) -> Answer:
    """Resume studies in turn, and end each process when its first run starts."""
    sizes = (20, 40) if asked.quick else (1000, 5000, 10_000)
    with tempfile.TemporaryDirectory() as parent:
        subjects: dict[str, Callable[[], float]] = {}
        for size in sizes:
            study = Path(parent) / f"finished-{size}"
            finished_study(study, size)
            subjects[f"{size} finished"] = lambda study=study, size=size: _start(study, size)
            subjects[f"none of {size} finished"] = lambda size=size: _afresh(Path(parent) / f"empty-{size}", size)
        subjects["none, 4 runs in all"] = lambda: _afresh(Path(parent) / "empty", 0)
        found = rounds_of(subjects, 1 if asked.quick else 4, warm_up=0 if asked.quick else 1)
    rows = [row("start of the first unfinished run", name, values, "s") for name, values in found.items()]
    extra = {}
    for size in sizes:
        for name in (f"none of {size} finished", "none, 4 runs in all"):
            pairs = zip(found[f"{size} finished"], found[name], strict=True)
            more = row(f"more than {name}", f"{size} finished", [a - b for a, b in pairs], "s")
            rows.append(more)
            extra[size] = more.figure
    slope, base = np.polyfit(list(sizes), [extra[size] for size in sizes], 1)
    rows.append(row("per finished run, fitted", "against 4 runs in all", [1000 * float(slope)], "ms"))
    least = sizes[0]
    goals = [Goal(f"{least:,} finished runs: seconds more than a study of 4 runs", extra[least], 2.0, "most")]
    if len(sizes) > 2:
        steps = [(extra[b] - extra[a]) / (b - a) for a, b in itertools.pairwise(sizes)]
        growth = steps[1] / steps[0]
        goals.append(
            Goal("cost of a further run, from 5,000 to 10,000 / from 1,000 to 5,000 (1 is linear)", growth, 1.5, "most")
        )
    return Answer(rows, goals, [f"The linear fit: {1000 * slope:.3g} ms per run and {base:.3g} s.", _HOW])


_HOW = (
    "The measured time covers everything from the start of the process, including Python's and torch's startup, "
    "to the call that would compute the first run. It is measured inline, because Ray's startup is the same for "
    "every study. Finished rows were committed through the store and compacted by it, as at the end of a session."
)


def _start(study: Path, finished: int) -> float:
    began = time.time()
    command = [sys.executable, "-c", CODE, str(study), str(finished // LEFT + 1)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    at = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("BEGAN")]
    if not at:
        raise RuntimeError(f"no run started:\n{done.stderr[-3000:]}")
    return float(at[0]) - began


def _afresh(study: Path, finished: int) -> float:
    """Time the first start of a study with the same number of runs; its plan is registered, but no run is finished."""
    if not study.exists():
        _start(study, finished)
    return _start(study, finished)


def finished_study(study: Path, finished: int) -> None:
    """Register the demo with one seed more than `finished` runs need, and store the results of these runs."""
    from rich.console import Console

    from ablations.planning import plan as planning
    from ablations.sessions.registration import prepare, register
    from ablations.spec.study import read_study
    from ablations.store import ResultStore

    plan = planning.plan(read_study("demo", [f"seeds={finished // LEFT + 1}"]))
    store = ResultStore(study)
    register(plan, store, set(), Console(quiet=True), prepare(plan, store))
    for run in plan.runs[:finished]:
        store.commit(_record(run, plan))
    store.compact()


def _record(run: Any, plan: Any) -> Any:
    """Return the row of a run with 15 epochs and random numbers."""
    from aimlib.records import RUN_COLUMNS, SCHEMA_VERSION, RunRecord

    drawn = np.random.default_rng(run.seed)
    usual: dict[str, Any] = {
        "text": "{}",
        "integer": 1,
        "number": 0.5,
        "boolean": False,
        "time": datetime(2026, 1, 2, tzinfo=UTC),
    }
    images = len(plan.data[run.arm].test.labels)
    rates = ("train_accuracy", "validation_accuracy", "test_accuracy", "test_top5_accuracy")
    curve = [
        {
            "epoch": epoch,
            **{name: float(drawn.uniform()) for name in rates},
            **dict.fromkeys(("train_loss", "validation_loss", "test_loss"), 1.0),
            "learning_rate": 0.002,
            "seconds": 0.1,
        }
        for epoch in range(1, 16)
    ]
    trial = {column.name: usual[column.type] for column in RUN_COLUMNS} | {
        "run_id": run.run_id,
        "study": plan.study.spec.name,
        "arm": run.arm,
        "seed": run.seed,
        "status": "finished",
        "reason": None,
        "traceback": None,
        "identity": run.config.identity_text(run.fingerprint),
        "epochs_run": 15,
        "epochs_planned": 15,
        "selected_epoch": 15,
        "test_accuracy": curve[-1]["test_accuracy"],
        "test_images": images,
        "data_fingerprint": run.fingerprint,
        "config": run.config.model_dump_json(),
        "schema_version": SCHEMA_VERSION,
    }
    return RunRecord(trial, curve, drawn.integers(0, 10, (15, images), dtype=np.uint8))


if __name__ == "__main__":
    main(__doc__, measure)
