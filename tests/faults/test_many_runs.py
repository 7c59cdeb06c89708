"""Thousands of runs in one session: each once, at a cost per run and in a memory that do not grow with their number."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys

import processes
import pytest
from drivers import ONE_THREAD
from scene import HERE, report


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.timeout(1500)
def test_four_thousand_runs_cost_as_much_each_as_a_few(mark: str) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "many.py"), "4000"],
        capture_output=True,
        text=True,
        env=os.environ | ONE_THREAD | {processes.MARK: mark},
        timeout=1400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    report("none: 4,000 runs that compute nothing", **found)
    assert (found["ended"], found["doubled"]) == (4000, 0)
    costs, sizes = found["ms_per_run_by_tenth"], found["resident_mb"]
    assert statistics.median(costs[5:]) < 1.5 * statistics.median(costs[:5]) + 5, costs
    assert statistics.median(costs) < 200, "workers are reused"
    assert sizes[-1] - sizes[len(sizes) // 10] < 60, sizes


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.timeout(400)
def test_gpus_are_shared_as_declared(mark: str) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "gpus.py")],
        capture_output=True,
        text=True,
        env=os.environ | ONE_THREAD | {processes.MARK: mark},
        timeout=380,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    refused, *seen = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert "a run asks for 5 GPUs, and no node has more than 4" in refused["refused"]
    assert len(seen) == 12, "every run once"
    for run in seen:
        arm = run["run"].partition("-")[0]
        assert run["gpus"] == {"half": 1.0 if run["run"] == "half-0" else run["gpus"], "whole": 1.0, "none": 0.0}[arm]
        assert run["sees"] == "" if arm == "none" else run["sees"] in "0123", (
            "CPU runs see no GPU, others the one given"
        )
    assert next(run["gpus"] for run in seen if run["run"] == "half-0") == 1.0, "out of memory: a larger share"
    for run in seen:
        if run["sees"]:
            beside = [
                other for other in seen if other["sees"] == run["sees"] and other["from"] <= run["from"] < other["to"]
            ]
            assert sum(other["gpus"] for other in beside) <= 1.0, "no GPU is given away twice"
