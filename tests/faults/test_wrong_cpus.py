"""If machines in a session on a real cluster have CPUs that compute wrong results, the other machines continue."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import processes
import pytest
from drivers import ONE_THREAD
from scene import HERE

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray"), pytest.mark.timeout(700)]


@pytest.fixture
def scenario(mark: str) -> Any:
    """Return a function that runs a scenario of `wrong_cpus` and returns its output."""

    def carry_out(name: str) -> dict[str, Any]:
        paths = [str(HERE.parents[1]), str(Path(__file__).parents[1] / "ablations")]
        environment = os.environ | ONE_THREAD | {processes.MARK: mark, "PYTHONPATH": os.pathsep.join(paths)}
        done = subprocess.run(
            [sys.executable, str(HERE / "wrong_cpus.py"), name],
            capture_output=True,
            text=True,
            env=environment,
            timeout=600,
        )
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert len(lines) == 1, done.stderr[-3000:]
        return dict(lines[0])

    return carry_out


def test_a_machine_with_two_errors_is_excluded_and_another_machine_takes_its_runs(scenario: Any) -> None:
    found = scenario("one")
    assert found["nodes"] == [found["first"]] * 12
    assert not found["stopped"]
    assert sum("failed twice and is excluded: computing error" in note for note in found["notes"]) == 1
    assert "1 of 2 nodes are used from now on" in found["notes"]
    assert found["free_afterwards"] == 6.0, "the excluded machine's CPUs are free after the session"


def test_if_all_machines_have_errors_the_session_ends_and_reports_their_names_and_the_open_runs(scenario: Any) -> None:
    found = scenario("all_of_them")
    assert found["nodes"] == []
    assert found["stopped"].startswith("every device that could hold the 4 remaining runs computed wrong results twice")
    assert found["stopped"].count("(node ") == 2
    assert found["free_afterwards"] == 6.0
