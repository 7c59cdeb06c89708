"""Thousands of runs in one session: each once, at a cost per run and in a memory that do not grow with their number."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys

import pytest
from drivers import ONE_THREAD
from scene import HERE, report


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_four_thousand_runs_cost_as_much_each_as_a_few() -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "many.py"), "4000"],
        capture_output=True,
        text=True,
        env=os.environ | ONE_THREAD,
        timeout=1400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    report("none: 4,000 runs that compute nothing", **found)
    assert (found["ended"], found["doubled"]) == (4000, 0)
    costs, sizes = found["ms_per_run_by_tenth"], found["resident_mb"]
    assert statistics.median(costs[5:]) < 1.5 * statistics.median(costs[:5]) + 5, costs
    assert statistics.median(costs) < 200, "workers are reused"
    assert sizes[-1] - sizes[len(sizes) // 10] < 150, sizes
