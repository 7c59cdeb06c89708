"""The benchmarks of networks and of the training loop run for every case."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench import networks

ROOT = Path(__file__).parents[2]
CASES = [
    f"{name}, {size} px, {p}"
    for name, size in (("resnet50", 128), ("small_resnet", 64))
    for p in ("float32", "bfloat16")
]
ARMS = ("every_layer", "every_layer, conv_sigmoid")
STEPS = ("baseline", *ARMS, *(f"{arm}, concatenated" for arm in ARMS))
PARTS = {
    "training_step": ("forward", "backward", "optimizer"),
    "step_memory": ("weights, gradients, moments", "kept for the backward pass"),
}


def answer(module: str) -> list[str]:
    """Return the output lines of a quick measurement."""
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{module}", "--quick"], cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def rows(lines: list[str], case: str, subject: str) -> list[str]:
    return [line for line in lines if line.startswith(case) and f"  {subject}  " in line and "rounds)" in line]


def goals(lines: list[str], case: str) -> list[str]:
    return [line for line in lines if line.startswith(("met", "NOT MET")) and case in line]


@pytest.mark.slow
@pytest.mark.parametrize(("module", "of_a_case"), [("training_step", 4), ("step_memory", 2)])
def test_steps_are_measured(module: str, of_a_case: int) -> None:
    lines = answer(module)
    for case in CASES:
        assert all(len(rows(lines, case, subject)) == 1 for subject in STEPS)
        assert len(goals(lines, case)) == of_a_case
        for part in PARTS[module]:
            assert all(len(rows(lines, case, f"{subject}: {part}")) == 1 for subject in ("baseline", *ARMS))


def test_recomputed_updates_are_bitwise_identical() -> None:
    """This includes running statistics, which must be updated only once per batch."""
    case = replace(networks.cases(quick=True)[2], size=32)
    found = []
    for subject in (networks.ARMS[1], networks.RECOMPUTED):
        step = networks.step(case, subject, torch.device("cpu"))
        for _ in range(2):
            assert min(step.take()) > 0
        gradients = [parameter.grad for parameter in step.network.parameters()]
        found.append([*step.network.state_dict().values(), *gradients])
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)


@pytest.mark.slow
@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("timm", "lightning")),
    reason="rivals are not installed here",
)
def test_loops_are_measured() -> None:
    lines = answer("training_loop")
    for case in CASES:
        for subject in ("aim", "timm", "torchvision reference", "Lightning"):
            assert len(rows(lines, case, subject)) == 1
        assert len(goals(lines, case)) == 1
