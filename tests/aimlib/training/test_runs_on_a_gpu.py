"""Complete runs on a simulated GPU: torch's Python code down to C functions, with captured steps and prefetching."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pretended_cuda import PretendedCuda
from tiny_runs import AIM, data_set, run_config, without_clock

from aimlib.testing.cuda_graphs import RecordedGraph, cuda_graphs_on_cpu
from aimlib.training.loaders import PrefetchingLoader
from aimlib.training.loop import Outcome, train
from aimlib.training.steps import proof
from aimlib.training.timing import StepTimer

GPU, SECOND, CPU = torch.device("cuda"), torch.device("cuda", 1), torch.device("cpu")
KINDS: dict[str, dict[str, Any]] = {
    "adam": {"model": AIM},
    "as run": {
        "training__optimizer": {"name": "adam", "epsilon_on": "uncorrected", "epsilon": 1e-7},
        "training__augmentation": {"rotation": 0.1, "horizontal_flip": 0.5, "contrast": 0.1},
    },
    "sgd": {"model": {**AIM, "carry": {}}, "training__optimizer": "sgd", "training__precision": "bfloat16"},
}


@pytest.fixture
def cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedCuda]:
    """Simulate two GPUs on which graphs can be captured; they are also simulated in the prefetching thread."""
    monkeypatch.setenv("AIM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(proof, "_known", {})
    pretended, real = PretendedCuda(), PrefetchingLoader._load
    pretended.install(monkeypatch)

    def load(self: PrefetchingLoader, indices: Any) -> Any:
        with pretended.placing():
            return real(self, indices)

    monkeypatch.setattr(PrefetchingLoader, "_load", load)
    with cuda_graphs_on_cpu():
        monkeypatch.setattr(torch.cuda, "default_generators", (torch.default_generator,) * 2)
        yield pretended


def trained(cuda: PretendedCuda, name: str, device: torch.device, **training: Any) -> tuple[Outcome, list[str]]:
    notices: list[str] = []
    config = run_config(**{"training__batch_size": 4, "training__epochs": 2, **KINDS[name], **training})
    with cuda.placing():
        return train(config, data_set(train=24, test=9), device=device, on_notice=notices.append), notices


def numbers(outcome: Outcome) -> dict[str, Any]:
    """Return the values that must not depend on where the images are kept or on how steps are computed."""
    aside = ("step", "data_on", "peak_device_bytes")
    return {name: value for name, value in without_clock(outcome).items() if name not in aside}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "adam" else pytest.mark.slow) for name in KINDS]
)
def test_a_run_is_captured_wherever_its_images_are_kept(name: str, cuda: PretendedCuda) -> None:
    on_device, notices = trained(cuda, name, GPU)
    assert (on_device.step, on_device.data_on, notices) == ("graph", "device", [])
    on_host, notices = trained(cuda, name, GPU, training__data_on="host")
    assert (on_host.step, on_host.data_on, notices) == ("graph", "host", [])
    eager, _ = trained(cuda, name, GPU, training__step="eager")
    assert numbers(on_device) == numbers(on_host) == numbers(eager)


def test_a_step_is_captured_on_the_device_of_its_run(cuda: PretendedCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch captures operations on the current device. If this is not the run's device, nothing would be captured."""
    current: list[int] = []
    real = RecordedGraph.capture_begin
    monkeypatch.setattr(
        RecordedGraph,
        "capture_begin",
        lambda self, *of, **how: (current.append(cuda.current), real(self, *of, **how))[1],
    )
    outcome, _ = trained(cuda, "adam", SECOND, training__step="graph")
    assert (outcome.step, current, cuda.current) == ("graph", [1], 0)


def test_measured_memory_includes_the_steps_before_a_capture(
    cuda: PretendedCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch's peak values are reset once, before any allocation, because a run's limit must include the warm-up."""
    done: list[str] = []
    real, reset = RecordedGraph.capture_begin, torch.cuda.reset_peak_memory_stats
    monkeypatch.setattr(
        RecordedGraph, "capture_begin", lambda self, *of, **how: (done.append("capture"), real(self, *of, **how))[1]
    )
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: (done.append("reset"), reset(device))[1])
    with cuda.placing():
        timer = StepTimer(
            run_config(training__batch_size=4), data_set(train=24, test=9), torch.device("cuda", 0), threads=1
        )
        timer.measure(0.1, most=2)
        timer.memory()
    assert done.count("reset") == 1
    assert done.index("reset") < done.index("capture")
