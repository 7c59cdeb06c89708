"""Rehearse all steps of `make gpu` with small networks on this CPU, so that mistakes do not waste time on a card."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from bench.gpu.catalogue import STEPS
from bench.harness import ROOT

OF_MAKE = ("MAKEFLAGS", "GNUMAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")
VARIABLES = ("STEPS", "DEVICE", "RESULTS", "MINUTES", "PHOTOS", "BREEDS", "SHARE", "OUT")


def _environment():
    """Return this process's environment without the variables that `make` passes to its child processes."""
    return {name: value for name, value in os.environ.items() if name not in (*OF_MAKE, *VARIABLES)}


def make(*options, **env):
    command = ["make", *options, "DEVICE=cpu", f"PYTHON={sys.executable}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=_environment() | env)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_step_passes_without_a_gpu(step, tmp_path):
    done = make("gpu", f"STEPS={step.number}", f"RESULTS={tmp_path}")
    found = json.loads((tmp_path / f"gpu-{step.name}.rehearsal.json").read_text())
    missing = [name for name in step.needs if importlib.util.find_spec(name) is None]
    wanted = ("SKIPPED", f"not installed: {', '.join(missing)}") if missing else ("PASS", "")
    assert (found["status"], found["reason"]) == wanted, done.stdout
    assert done.returncode == 0
    assert (found["rehearsal"], found["card"]) == (True, {})
    assert missing or found["expected"] or found["rows"], "it says something"
    assert not (ROOT / "bench" / "results" / f"gpu-{step.name}.rehearsal.json").exists()


def test_the_given_python_is_used_unchanged(monkeypatch):
    """No environment is created and nothing is installed, because a compute node has no network connection.

    Variables of a `make` that runs the tests have no effect.
    """
    for name, value in {"MAKEFLAGS": "w", "GNUMAKEFLAGS": "-w", "MAKELEVEL": "1", "RESULTS": "there"}.items():
        monkeypatch.setenv(name, value)
    told = subprocess.run(
        ["make", "-n", "gpu", "gpu-study", f"PYTHON={sys.executable}", "STEPS=1-2", "PHOTOS=here"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env=_environment(),
    ).stdout
    lines = [line for line in told.splitlines() if line.strip()]
    wanted = [f"{sys.executable} -m bench.gpu --steps 1-2", f"{sys.executable} -m bench.gpu.study --photos here"]
    assert [line.rstrip() for line in lines] == wanted
