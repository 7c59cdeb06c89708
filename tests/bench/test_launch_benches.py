"""The launch benchmarks run and produce a row for every case and subject."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RIVALS = ("hydra", "joblib", "optuna", "ray")


def quick(module: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{module}", "--quick"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def has(lines: list[str], case: str, subject: str) -> bool:
    return any(line.startswith(case) and line[len(case) :].lstrip().startswith(subject) for line in lines)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.timeout(300)
@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in RIVALS), reason="the rivals are not installed here"
)
def test_launchers_are_measured_alternately() -> None:
    lines = quick("launch")
    own = [f"ours, {which}" for which in ("Ray, with ledger", "Ray, scheduling only", "inline, with ledger")]
    tune = [
        f"Ray Tune, {form}"
        for form in ("reused actors  ", "reused actors, torch  ", "reused actors, JSON", "reused actors, torch, JSON")
    ]
    tune += ["Ray Tune, new actors, 2", "Ray Tune, new actors, torch"]
    for case in ("start of the first run", "per run", "whole process, 8 runs"):
        for subject in (*own, *tune, "Optuna", "joblib", "Hydra"):
            assert has(lines, case, subject), (case, subject, lines)
    assert sum(line.startswith(("met ", "NOT MET ")) for line in lines) == 6


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.timeout(300)
def test_the_resumption_of_studies_is_measured() -> None:
    lines = quick("resume")
    for subject in ("20 finished", "none of 20 finished", "40 finished", "none of 40 finished", "none, 4 runs in all"):
        assert has(lines, "start of the first unfinished run", subject), (subject, lines)
    assert has(lines, "per finished run, fitted", "against 4 runs in all")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_check_is_measured_in_units_of_torch() -> None:
    lines = quick("check")
    for subject in ("import torch", "ablate check", "ablate status", "ablate results", "ablate plugins"):
        assert has(lines, "whole process", subject), (subject, lines)
    assert has(lines, "more than import torch", "ablate check")


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.timeout(300)
def test_the_memory_of_a_driver_is_read_from_outside() -> None:
    lines = quick("driver_memory")
    for part in ("first fifth", "last fifth", "peak"):
        assert has(lines, "40 runs", f"ours, 80 runs open: {part}"), (part, lines)
    assert has(lines, "40 runs", "Ray Tune, 40 trials: peak")
    for step in ("import torch ", "import torch._dynamo", "freeze the analysis plan", "import ray.tune"):
        assert has(lines, "after a step of the driver", step), (step, lines)
        assert has(lines, "CPU seconds of a step of the driver", step), (step, lines)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_queries_on_many_stored_runs_are_measured() -> None:
    lines = quick("large_results")
    for subject in ("analysis.load, epochs", "where + groupby", "pandas, two ready files", "load / pandas"):
        assert has(lines, "80 runs, in one process", subject), (subject, lines)
    for subject in ("ablate status", "ablate results", "ablate results --by"):
        assert has(lines, "80 runs, whole process", subject), (subject, lines)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_cost_of_verification_is_measured() -> None:
    lines = quick("integrity")
    without = [f"without {part}" for part in ("checksums", "ledger", "spot checks and reference step", "any")]
    for subject in ("with everything  ", *without, "with everything, in units of without any"):
        assert has(lines, "one of 8 runs that train nothing", subject), (subject, lines)
    for case in ("4 arms of the demo, 1 epochs", "verdict on 100 runs of 50 epochs"):
        assert has(lines, case, "with everything, in units of without any"), (case, lines)
