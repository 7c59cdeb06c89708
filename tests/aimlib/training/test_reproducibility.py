"""A run neither depends on earlier runs in its process nor affects later ones."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import AIM, data_set, restored_registries, run_config, without_clock
from torch import nn

from aimlib.registry import backbones
from aimlib.training.loop import Paused, train
from aimlib.training.reproducibility import reproducible

VICTIM: dict[str, Any] = {
    "model": {**AIM, "update": {"name": "attention"}},
    "training__augmentation": {"rotation": 0.1, "contrast": 0.2},
}
_open: list[Any] = []


def contaminate() -> None:
    """Change everything that a careless plugin might change."""
    backends = torch.backends
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_float32_matmul_precision("medium")
    torch.set_grad_enabled(False)
    for mode in (torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16)):
        mode.__enter__()
        _open.append(mode)
    for kind in ("cpu", "cuda"):
        torch.set_autocast_enabled(kind, True)
        torch.set_autocast_dtype(kind, torch.float32)
    torch.set_autocast_cache_enabled(False)
    torch.manual_seed(666)
    np.random.seed(666)
    random.seed(666)
    np.random.set_bit_generator(np.random.PCG64(666))
    np.seterr(all="raise")
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    backends.cudnn.benchmark = backends.cudnn.deterministic = True
    backends.cudnn.enabled = backends.cudnn.allow_tf32 = False
    backends.cuda.matmul.allow_tf32 = True
    if hasattr(backends.cudnn, "conv"):  # these settings contradict the older switches, which can no longer be read
        backends.cuda.matmul.fp32_precision = backends.cudnn.conv.fp32_precision = "ieee"
        for operation in (backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn):
            operation.fp32_precision = "bf16"
        backends.fp32_precision = "bf16"
    backends.mkldnn.enabled, backends.mkldnn.deterministic = False, True
    if backends.opt_einsum.is_available():
        backends.opt_einsum.enabled = False
    backends.cuda.enable_flash_sdp(False)
    backends.cuda.enable_math_sdp(False)
    backends.cuda.enable_mem_efficient_sdp(False)
    backends.cuda.enable_cudnn_sdp(False)
    torch.set_num_threads(2)
    torch.autograd.set_detect_anomaly(True, check_nan=False)
    torch.set_flush_denormal(True)
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":16:8"
    os.environ["AIM_TEST_ADDED"] = "1"
    os.environ["AIM_TEST_CHANGED"] = "after"
    os.environ.pop("AIM_TEST_REMOVED", None)
    os.chdir(tempfile.gettempdir())
    warnings.simplefilter("error")


def state() -> dict[str, Any]:
    """Return the global state, without using the code under test."""
    backends = torch.backends
    operations: list[Any] = []
    if hasattr(backends.cudnn, "conv"):
        operations += [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn]
        operations += [backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn, backends]
    nesting = torch.autocast_increment_nesting()
    torch.autocast_decrement_nesting()
    return {
        "dtype": str(torch.get_default_dtype()),
        "device": str(torch.empty(0).device),
        "matmul": torch.get_float32_matmul_precision(),
        "tf32": (backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32),
        "precision": [operation.fp32_precision for operation in operations],
        "modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "autocast": [
            (torch.is_autocast_enabled(kind), str(torch.get_autocast_dtype(kind))) for kind in ("cpu", "cuda")
        ],
        "autocast cache": (torch.is_autocast_cache_enabled(), nesting),
        "torch": hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest(),
        "numpy": repr(np.random.get_state(legacy=False)),
        "python": random.getstate(),
        "errors": np.geterr(),
        "deterministic": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,
        ),
        "cudnn": (backends.cudnn.enabled, backends.cudnn.deterministic, backends.cudnn.benchmark),
        "mkldnn": (backends.mkldnn.enabled, backends.mkldnn.deterministic),
        "einsum": backends.opt_einsum.is_available() and backends.opt_einsum.enabled,
        "attention": (
            backends.cuda.flash_sdp_enabled(),
            backends.cuda.mem_efficient_sdp_enabled(),
            backends.cuda.math_sdp_enabled(),
            backends.cuda.cudnn_sdp_enabled(),
        ),
        "threads": torch.get_num_threads(),
        "anomaly": (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        "denormals": bool(torch.tensor(1e-310, dtype=torch.float64) * 0.5 == 0),
        "environment": dict(os.environ),
        "directory": Path.cwd(),
        "warnings": list(warnings.filters),
    }


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Register a network that contaminates its process when it is built, in every forward pass, and when it fails."""
    monkeypatch.setenv("AIM_TEST_CHANGED", "before")
    monkeypatch.setenv("AIM_TEST_REMOVED", "before")
    with restored_registries():

        @backbones.register("hostile")
        class Hostile(backbones.get("mlp")):  # type: ignore[misc]
            def build(self, shape: Any) -> nn.Module:
                network = super().build(shape)
                network.register_forward_hook(lambda *_: contaminate())
                return network

        yield
    with reproducible(threads=None, tf32=False):
        _open.clear()  # an inference mode that is never closed restores what it found, which was contaminated
    assert torch.is_grad_enabled()


def run_hostile() -> None:
    """Run the hostile network; its run is expected to fail."""
    with pytest.raises(Exception):  # noqa: B017
        train(run_config(model={"backbone": "hostile"}), data_set())
    assert _open, "it did"


def victim() -> str:
    """Return a hash of all results of a run with memory, attention, augmentation and a schedule."""
    outcome = without_clock(train(run_config(**VICTIM), data_set(), threads=1))
    return hashlib.sha256(json.dumps(outcome, sort_keys=True).encode()).hexdigest()


def test_a_hostile_run_does_not_change_the_process(hostile: None) -> None:
    before = state()
    run_hostile()
    after = state()
    assert {name: after[name] for name in after if after[name] != before[name]} == {}
    assert before["environment"]["AIM_TEST_REMOVED"] == "before"


def test_the_run_after_a_hostile_run_is_bitwise_identical_to_one_in_a_fresh_process(hostile: None) -> None:
    run_hostile()
    folders = [str(folder) for folder in Path(__file__).parents[:2]]
    code = f"import sys; sys.path[:0] = {folders!r}; import test_reproducibility as t; print(t.victim())"
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert victim() == fresh.stdout.strip()


def test_a_run_does_not_depend_on_the_state_of_the_process(hostile: None) -> None:
    """Other code in the process, such as the driver's or a notebook's, may have changed the state."""
    clean = victim()
    with reproducible(threads=None, tf32=False):  # restores everything that this test changes in its process
        contaminate()
        mode = torch.is_inference_mode_enabled(), torch.get_default_device().type, torch.get_default_dtype()
        assert mode == (True, "meta", torch.float64)
        contaminated = victim()
        after = torch.is_inference_mode_enabled(), torch.get_default_device().type, torch.get_default_dtype()
    assert contaminated == clean
    assert after == mode, "the state that was found is restored, however odd it is"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_no_run_reads_memory_before_it_is_written(precision: str) -> None:
    """Filling uninitialized memory with NaN does not change any result, so runs do not read such memory."""
    with restored_registries():

        @backbones.register("filling")
        class Filling(backbones.get("small_resnet")):  # type: ignore[misc]
            initial_values = "rules"

            def build(self, shape: Any) -> nn.Module:
                torch.utils.deterministic.fill_uninitialized_memory = True
                return super().build(shape)

        plain, filling = (
            without_clock(
                train(
                    run_config(
                        model={**VICTIM["model"], "backbone": {**AIM["backbone"], "name": name}},
                        training__augmentation=VICTIM["training__augmentation"],
                        training__precision=precision,
                    ),
                    data_set(channels=3),
                )
            )
            for name in ("small_resnet", "filling")
        )
    assert filling == plain


def test_a_run_that_raises_an_error_does_not_change_the_process_either() -> None:
    before = state()
    torch.manual_seed(5)
    with pytest.raises(Paused):
        train(run_config(), data_set(), threads=2, pause=lambda: True)
    torch.set_rng_state(torch.get_rng_state())
    assert {**state(), "torch": ""} == {**before, "torch": ""}
    expected = torch.rand(2)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(2), expected)


def test_nested_runs_do_not_affect_each_other() -> None:
    with reproducible(threads=2, tf32=True):
        assert torch.get_num_threads() == 2
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.allow_tf32
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        layer = nn.Linear(2, 2)
        layer(torch.ones(1, 2)).sum().backward()  # gradients flow, in float32, on the CPU
        assert layer.weight.grad is not None
        assert layer.weight.grad.dtype == torch.float32
    with reproducible(threads=None, tf32=False):
        assert not torch.backends.cuda.matmul.allow_tf32
        assert not torch.backends.cudnn.allow_tf32


def test_in_older_torch_versions_a_default_device_of_none_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions 2.7 and 2.8 cannot read the default device after it was set to None, as at the end of every run."""
    torch.set_default_device(None)
    context: Any = torch._GLOBAL_DEVICE_CONTEXT
    monkeypatch.setattr(torch, "get_default_device", lambda: context.device_context.device)
    with reproducible(threads=None, tf32=False):
        assert torch.empty(1).device.type == "cpu"
    assert torch.empty(1).device.type == "cpu"


@pytest.mark.parametrize("processes", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_matrix_products_do_not_depend_on_the_process(processes: int) -> None:
    """By default, rounding in MKL depends on the addresses of matrices, for example in the gradient of a
    convolution."""
    with contextlib.redirect_stdout(io.StringIO()) as ours:
        exec(_PRODUCT, {})
    found = {
        subprocess.run([sys.executable, "-c", _PRODUCT], capture_output=True, text=True, check=True).stdout
        for _ in range(processes)
    }
    found.add(ours.getvalue())
    assert len(found) == 1
    assert len(set(found.pop().split())) == 1


_PRODUCT = """
import hashlib, os
import torch
import aimlib.training.reproducibility
draw = torch.Generator().manual_seed(0)
x = torch.randn(1, 1, 7, 7, generator=draw, requires_grad=True)
weight = torch.randn(128, 1, 1, 1, generator=draw)
gradient = torch.randn(1, 128, 7, 7, generator=draw)
for _ in range(3):
    (found,) = torch.autograd.grad(torch.nn.functional.conv2d(x, weight), x, gradient)
    print(hashlib.sha256(found.numpy().tobytes()).hexdigest())
"""
