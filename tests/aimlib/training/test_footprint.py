"""A run's peak memory use is compared with the sizes of its tensors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import AIM, data_set, quick, run_config
from torch import nn

from aimlib.training.footprint import Footprint, begin_on_gpu, on_cpu, on_gpu, runs_per_device
from aimlib.training.timing import StepTimer

CPU = torch.device("cpu")
BATCH, WIDTH = 64, 512
FLOAT = 4


def chain() -> nn.Sequential:
    """Return dense layers with known activations, in which no tensor is cast, padded or transposed."""
    layers = [nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4)]
    return nn.Sequential(*(part for layer in layers for part in (layer, nn.Sigmoid())))


@pytest.mark.parametrize(("momentum", "states"), [(0.0, 0), (0.9, 1)])
def test_the_memory_of_a_training_step_is_the_sum_of_its_tensors(momentum: float, states: int) -> None:
    """The peak is at the end of the backward pass: weights, optimizer state, gradients of all weights, and one
    activation's gradient.
    """
    network = chain()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=momentum)
    x = torch.ones(BATCH, WIDTH)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        network(x).sum().backward()
        optimizer.step()

    step()
    found = on_cpu([step], network, optimizer)
    assert found is not None
    weights, activations = 4 * WIDTH * WIDTH * FLOAT, BATCH * WIDTH * FLOAT
    expected = weights * (2 + states) + activations
    assert expected <= found.allocated <= expected + 64, "the sum and its gradient take up a few more bytes"
    assert found.reserved is None
    assert found == on_cpu([step], network, optimizer), (
        "memory is accounted for, not sampled, so it is the same every time"
    )


def test_the_peak_is_that_of_the_largest_call_and_not_a_sum() -> None:
    network = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

    def take(megabytes: int) -> None:
        for _ in range(3):
            torch.ones(megabytes * 2**20, dtype=torch.uint8)

    found = on_cpu([lambda: take(8), lambda: take(32), lambda: take(2)], network, optimizer)
    assert found is not None
    assert 32 * 2**20 <= found.allocated < 33 * 2**20


def footprint(**changes: Any) -> Footprint:
    found = StepTimer(run_config(**changes), data_set(train=64, test=16), CPU, threads=1).memory()
    assert found is not None
    return found


def test_the_memory_of_configurations_can_be_measured() -> None:
    small, large = footprint(training__batch_size=8), footprint(training__batch_size=24)
    assert large.allocated > 1.5 * small.allocated
    assert footprint(model=AIM).allocated > footprint().allocated, "network memory needs RAM"
    wide = {"backbone": {"name": "mlp", "widths": [512]}}
    by = {name: footprint(model=wide, training__optimizer=name).allocated for name in ("sgd", "adam")}
    weights = (64 * 512 + 512 * 3) * FLOAT
    assert by["sgd"] > 3 * weights, "weights, gradients, momentum"
    more = by["adam"] - by["sgd"]
    assert weights < more < 3.1 * weights, "Adam needs one more tensor per weight, and two for the layer being updated"


def test_measuring_memory_affects_neither_timings_nor_random_streams() -> None:
    timer = StepTimer(run_config(), data_set(), CPU, threads=1)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = timer.memory()
    train_seconds, evaluate_seconds = timer.measure(0.2)
    assert train_seconds > 0 < evaluate_seconds
    assert timer.memory() == first
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow  # starts a process that imports torch, only to check for a message of the profiler
def test_measuring_prints_nothing() -> None:
    """The profiler's own messages do not appear on the user's screen."""
    code = (
        f"import sys; sys.path[:0] = {[str(p) for p in Path(__file__).parents[:2]]!r}\n"
        "import test_footprint as t; print(t.footprint().allocated > 0)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (found.stdout, found.stderr) == ("True\n", "")


def test_on_a_gpu_the_memory_is_the_value_that_torch_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    device, made = torch.device("cuda", 0), []
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda device, name=name: made.append(name))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: made.append("empty_cache"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 100)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 120)
    monkeypatch.setattr(torch.cuda, "init", lambda: made.append("init"))
    begin_on_gpu(device)
    assert made == ["init", "synchronize", "empty_cache", "reset_peak_memory_stats"]
    made.clear()
    assert on_gpu([lambda: made.append("step"), lambda: made.append("evaluation")], device) == Footprint(100, 120)
    assert made == ["step", "evaluation", "synchronize"], "what a graph capture reserved earlier is included"


GIB = 2**30


@pytest.mark.parametrize(
    ("peak", "total", "headroom", "runs"),
    [
        (3 * GIB, 24 * GIB, 0.1, 7),
        (3 * GIB, 24 * GIB, 0.0, 8),
        (10 * GIB, 24 * GIB, 0.1, 2),
        (13 * GIB, 24 * GIB, 0.1, 1),
        (23 * GIB, 24 * GIB, 0.1, 1),
        (25 * GIB, 24 * GIB, 0.1, 0),
        (GIB, 0, 0.1, 0),
    ],
)
def test_the_number_of_runs_per_device_is_computed(peak: int, total: int, headroom: float, runs: int) -> None:
    assert runs_per_device(peak, total, headroom) == runs


@quick
@given(st.integers(1, 2**45), st.integers(0, 2**45), st.floats(0, 0.99))
def test_the_computed_number_of_runs_fits_and_one_more_would_not(peak: int, total: int, headroom: float) -> None:
    runs = runs_per_device(peak, total, headroom)
    assert runs * peak <= total
    if runs > 1:
        assert runs * peak <= total * (1 - headroom) * (1 + 1e-9)
    assert (runs + 1) * peak > total * (1 - headroom) * (1 - 1e-9)


@pytest.mark.parametrize("given_values", [(0, 1, 0.1), (1, -1, 0.1), (1, 1, 1.0), (1, 1, -0.1)])
def test_impossible_values_are_refused(given_values: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="not the memory of a run on a device"):
        runs_per_device(*given_values)
