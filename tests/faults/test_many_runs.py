"""Of thousands of runs in one session, each is computed once, and neither the cost per run nor memory use grows."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import processes
import pytest
from drivers import ONE_THREAD
from kinds import record
from scene import HERE
from tiny_study import rows


def long_session(folder: Path, runs: int) -> dict[str, Any]:
    """Return the RAM and the files used by a session that computes many runs in its own process."""
    done = subprocess.run(
        [sys.executable, str(HERE / "long_session.py"), str(runs), str(folder)],
        capture_output=True,
        text=True,
        env=os.environ | ONE_THREAD,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert (found["open"], found["failed"]) == (0, 0)
    assert len({row["run_id"] for row in rows(folder / "out")}) == len(rows(folder / "out")) == runs
    return found


def assert_nothing_grows(found: dict[str, Any], megabytes: float) -> None:
    first, *_, last = found["samples"][1:]
    for name in ("descriptors", "threads", "temporary"):
        assert last[name] <= first[name] + 2, (name, [sample[name] for sample in found["samples"]])
    assert last["resident_mb"] - first["resident_mb"] < megabytes, [each["resident_mb"] for each in found["samples"]]


@pytest.mark.slow  # 280 runs
def test_the_memory_of_a_session_does_not_depend_on_the_number_of_runs(tmp_path: Path) -> None:
    found = long_session(tmp_path, 280)
    assert_nothing_grows(found, 40)
    assert sum(found["after"]["files"].values()) < 20, (
        f"run files must be compacted and their locks removed: {found['after']}"
    )


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_runs_do_not_take_more_memory_than_a_few_runs(tmp_path: Path) -> None:
    found = long_session(tmp_path, 10_000)
    assert_nothing_grows(found, 150)
    files = [sum(sample["files"].values()) for sample in found["samples"]]
    assert max(files) < 2 * 256 + 120, files
    record("10,000 runs", "in one process", injected=0, runs=10_000, lost=0, doubled=0, wrong=0)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.timeout(1500)
def test_the_cost_per_run_does_not_grow_up_to_ten_thousand_runs(mark: str) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "many.py"), "10000"],
        capture_output=True,
        text=True,
        env=os.environ | ONE_THREAD | {processes.MARK: mark},
        timeout=1400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["ended"], found["doubled"]) == (10_000, 0)
    costs, sizes = found["ms_per_run_by_tenth"], found["resident_mb"]
    assert statistics.median(costs[5:]) < 1.5 * statistics.median(costs[:5]) + 5, costs
    assert statistics.median(costs) < 200, "workers are reused"
    assert sizes[-1] - sizes[len(sizes) // 10] < 150, sizes
    for name in ("descriptors", "threads"):
        assert found[name][-1] <= found[name][len(sizes) // 10] + 10, found[name]
    record("10,000 runs", "on Ray", injected=0, runs=10_000, lost=0, doubled=found["doubled"], wrong=0)


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
    assert len(seen) == 12, "every run exists once"
    for run in seen:
        arm = run["run"].partition("-")[0]
        assert run["gpus"] == {"half": 1.0 if run["run"] == "half-0" else run["gpus"], "whole": 1.0, "none": 0.0}[arm]
        assert run["sees"] == "" if arm == "none" else run["sees"] in "0123", (
            "CPU runs do not see a GPU, and other runs see only their own"
        )
    assert next(run["gpus"] for run in seen if run["run"] == "half-0") == 1.0, (
        "after running out of memory, the run gets a larger share"
    )
    for run in seen:
        if run["sees"]:
            beside = [
                other for other in seen if other["sees"] == run["sees"] and other["from"] <= run["from"] < other["to"]
            ]
            assert sum(other["gpus"] for other in beside) <= 1.0, "no GPU is assigned twice"
