"""If declared GPUs fail during a session on a real cluster, runs continue on the right GPUs, and messages say why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import processes
import pytest
import torch
from drivers import ONE_THREAD
from scene import HERE

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray"), pytest.mark.timeout(700)]


@pytest.fixture
def scenario(mark: str) -> Any:
    """Return a function that runs a scenario of `broken_gpus` and returns its output."""

    def carry_out(name: str) -> dict[str, Any]:
        paths = [str(HERE.parents[1]), str(Path(__file__).parents[1] / "ablations")]
        environment = os.environ | ONE_THREAD | {processes.MARK: mark, "PYTHONPATH": os.pathsep.join(paths)}
        done = subprocess.run(
            [sys.executable, str(HERE / "broken_gpus.py"), name],
            capture_output=True,
            text=True,
            env=environment,
            timeout=600,
        )
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert len(lines) == 1, done.stderr[-3000:]
        return dict(lines[0])

    return carry_out


def left_out(found: dict[str, Any]) -> list[str]:
    return [note for note in found["notes"] if "is excluded" in note]


def assert_never_crowded(found: dict[str, Any]) -> None:
    for run in found["runs"]:
        beside = [
            other["gpus"]
            for other in found["runs"]
            if (other["node"], other["gpu"]) == (run["node"], run["gpu"]) and other["from"] <= run["from"] < other["to"]
        ]
        assert sum(beside) <= 1.0, "no GPU is assigned twice"


def test_after_a_gpu_fails_the_other_gpus_continue(scenario: Any) -> None:
    found = scenario("whole")
    assert set(found["over"].values()) == {"finished"}
    assert len(found["over"]) == 9
    broken = f"{found['first']} 0"
    assert not [run for run in found["runs"] if f"{run['node']} {run['gpu']}" == broken]
    assert {f"{run['node']} {run['gpu']}" for run in found["runs"]} == {f"{found['first']} 1", f"{found['second']} 0"}
    assert found["ends"].count("device_error") == 2, "the GPU is excluded after two errors"
    assert len(left_out(found)) == 1, "reported only once"
    assert found["held"] == {broken: 1.0}, "the placeholder holds only this GPU"
    assert found["free_afterwards"] == 3.0, "placeholders end with the session"
    assert not found["stopped"]
    assert_never_crowded(found)


def test_a_failed_gpu_shared_by_runs_is_occupied_completely(scenario: Any) -> None:
    found = scenario("halves")
    assert set(found["over"].values()) == {"finished"}
    assert {run["node"] for run in found["runs"]} == {found["first"]}
    assert len(left_out(found)) == 1
    assert found["held"] == {f"{found['second']} 0": 1.0}
    assert found["free_afterwards"] == 3.0
    assert_never_crowded(found)


def test_a_fault_that_ends_all_runs_on_a_gpu_counts_once(scenario: Any) -> None:
    found = scenario("together")
    assert found["ends"].count("device_error") == 4
    assert set(found["over"].values()) == {"finished"}
    assert left_out(found) == []
    assert found["held"] == {}


def test_a_session_ends_if_the_remaining_runs_fit_only_on_failed_gpus(scenario: Any) -> None:
    found = scenario("narrow")
    assert {run_id for run_id, state in found["over"].items() if state == "finished"} == {
        f"small-{number}" for number in range(4)
    }
    assert "large-0" not in found["over"], "the run did not cause the failure, so it is not settled"
    assert "every GPU that could hold the 1 remaining run failed twice" in found["stopped"]
    assert f"node {found['first'][:8]}" in found["stopped"]


def test_runs_with_different_shares_are_packed_and_all_finish(scenario: Any) -> None:
    found = scenario("shares")
    assert len(found["runs"]) == 10
    assert set(found["over"].values()) == {"finished"}
    assert_never_crowded(found)


def test_a_study_stops_and_lists_the_gpus_if_all_gpus_failed(scenario: Any) -> None:
    found = scenario("study")
    assert (found["code"], found["open"], found["failed"], found["rows"]) == (1, 4, {}, 0)
    for node, gpu in ((found["first"], 0), (found["first"], 1), (found["second"], 0)):
        assert f"GPU {gpu} of " in found["interrupted"]
        assert f"(node {node[:8]})" in found["interrupted"]
    assert "uncorrectable ECC error" in found["interrupted"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch can use a GPU on this machine")
def test_gpus_that_ray_counts_but_torch_cannot_use_are_refused_before_any_run_starts(scenario: Any) -> None:
    found = scenario("unusable")
    assert "Ray counts 2, and torch can use 0" in found["refused"]
    assert "Ray counts 1, and torch can use 0" in found["refused"]
    assert "Update the driver" in found["refused"]
