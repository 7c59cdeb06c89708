"""How much memory does the driver of a large session use, what uses it, and does it grow?

Question: How many MiB are resident in the process of `ablations.run` while 10,000 runs are open, which steps use this
    memory, and does it grow while the first 500 of the runs are computed with Ray?

Rivals: Ray Tune with reused actors, which keeps every trial and its last result, with a total of 500 trials. The steps
    of a driver are measured in a separate process: the resident memory after each step, and the CPU seconds that the
    step took.

Measured: 2026-11-27, AMD EPYC, 2 cores, 24 GiB, Linux 6.18.44-fc-v657, Python 3.11.7; torch 2.14.1, torchvision
    0.29.1, ray 2.60.0, optuna 5.0.0, pandas 3.1.1, pyarrow 26.0.1, numpy 2.4.6, scipy 1.17.1, matplotlib 3.11.2;
    medians of 1 to 26 rounds, 287 s in all.

Reached: NOT MET: peak of the driver with 10,000 runs open, MiB: 937 (≤ 600); growth from the first fifth of 500 runs
    to the last, MiB: 2.39 (≤ 30).
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.harness import Answer, Asked, Goal, Row, main, row

INTERVAL_S = 0.5


def measure(asked: Asked) -> Answer:
    """Launch both programs, one after the other, and measure their resident memory; then measure a driver's steps."""
    count, enough = (80, 40) if asked.quick else (10_000, 500)
    ours = _watched("bench.rivals.launch_own", "ray", count, enough)
    theirs = _watched("bench.rivals.launch", "tune-reuse", enough, enough)
    rows: list[Row] = []
    for name, samples in ((f"ours, {count:,} runs open", ours), (f"Ray Tune, {enough:,} trials", theirs)):
        for text, begin, end in (("first fifth", 0.0, 0.2), ("last fifth", 0.8, 1.0)):
            rows.append(row(f"{enough:,} runs", f"{name}: {text}", _between(samples, enough, begin, end), "MiB"))
        rows.append(row(f"{enough:,} runs", f"{name}: peak", [max(size for _, size in samples)], "MiB"))
    early, late = (_between(ours, enough, *share) for share in ((0.0, 0.2), (0.8, 1.0)))
    growth = row("", "", late, "MiB").figure - row("", "", early, "MiB").figure
    steps = [_steps() for _ in range(1 if asked.quick else 3)]
    for number, (step, _, _) in enumerate(steps[0]):
        rows.append(row("after a step of the driver", step, [each[number][1] for each in steps], "MiB"))
        rows.append(row("CPU seconds of a step of the driver", step, [each[number][2] for each in steps], "s"))
    goals = [
        Goal(f"peak of the driver with {count:,} runs open, MiB", max(size for _, size in ours), 600, "most", _WHY),
        Goal(f"growth from the first fifth of {enough:,} runs to the last, MiB", growth, 30, "most"),
    ]
    return Answer(rows, goals, [_HOW])


def _between(samples: list[tuple[int, float]], number: int, begin: float, end: float) -> list[float]:
    return [size for done, size in samples if begin * number <= done <= end * number] or [samples[-1][1]]


_WHY = (
    "Most of the memory is used by torch and by the parts of its compiler that torch imports to compute shapes, "
    "before the first run. Torch is needed because every arm is built and its operations are counted before anything "
    "starts. Planning in a separate process would free this memory. However, run ids, roles and tasks come from "
    "configurations that only the plugins' own classes can read, and these classes import torch. All of planning "
    "would therefore have to move to that process and return plain records. This has not been implemented."
)
_HOW = (
    "Resident memory, including shared libraries and Ray's shared memory, read twice per second after the first run "
    "has started. All runs are open from the beginning: they are planned and have their tasks, but none is settled."
)
_STEPS = """
import json, tempfile, time
from pathlib import Path
steps = []
def took(name, began=[time.process_time()]):
    lines = Path("/proc/self/status").read_text().splitlines()
    mib = next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
    steps.append((name, mib, time.process_time() - began[0]))
    began[0] = time.process_time()
took("Python")
from rich.console import Console
from ablations.sessions import launch
took("import ablations.sessions.launch, pandas included")
from ablations.spec.study import read_study
from ablations.planning import plan as planning
file = read_study("demo")
import torch
took("import torch")
import torch._dynamo
took("import torch._dynamo, as torch itself does for shapes")
plan = planning.plan(file)
took("build and count the networks of 4 arms, load the data")
from ablations.sessions.registration import prepare, register
from ablations.store import ResultStore
with tempfile.TemporaryDirectory() as folder:
    store = ResultStore(Path(folder) / "study")
    register(plan, store, set(), Console(quiet=True), prepare(plan, store))
took("freeze the analysis plan, scipy.special included")
import ray.tune
from ablations.execution.ray import executor, trainable, tune_adapter
took("import ray.tune")
print(json.dumps(steps))
"""


def _steps() -> list[tuple[str, float, float]]:
    """Return the name of every step of a driver, the resident memory after the step in MiB, and its CPU seconds."""
    done = subprocess.run([sys.executable, "-c", _STEPS], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the driver's steps failed:\n{done.stderr[-3000:]}")
    return [(name, mib, seconds) for name, mib, seconds in json.loads(done.stdout.splitlines()[-1])]


def _watched(module: str, who: str, count: int, enough: int) -> list[tuple[int, float]]:
    """Return how many runs have started, and the driver's resident MiB, from the first until enough have started."""
    found: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        file, log = Path(folder) / "began", Path(folder) / "log"
        with log.open("wb") as output:
            command = [sys.executable, "-m", module, who, str(count), str(file)]
            process = subprocess.Popen(command, stdout=output, stderr=output)
        began = 0
        while process.poll() is None and (began < enough or enough == count):
            time.sleep(INTERVAL_S)
            with contextlib.suppress(FileNotFoundError):
                began = file.read_bytes().count(b"\n")
            with contextlib.suppress(OSError, StopIteration):
                if began:
                    found.append((began, _resident(process.pid)))
        if process.returncode is None:
            process.terminate()
            process.wait()
        elif process.returncode or began < enough:
            raise RuntimeError(f"{who}: {began} of {count} runs started:\n{log.read_text(errors='replace')[-3000:]}")
    return found


def _resident(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


if __name__ == "__main__":
    main(__doc__, measure)
