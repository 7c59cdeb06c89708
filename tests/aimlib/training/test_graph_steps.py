"""On simulated CUDA graphs, captured steps are bitwise identical to eager steps, regardless of what changes between
steps."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from test_checkpoint_manager import At, disturb
from tiny_runs import AIM, data_set, restored_registries, run_config, without_clock
from torch import Tensor, nn

from aimlib.config import RunConfig
from aimlib.datasets.base import DataSet
from aimlib.errors import UsageError
from aimlib.registry import optimizers
from aimlib.testing.cuda_graphs import RecordedGraph, _Recorder, cuda_graphs_on_cpu, under_way
from aimlib.testing.device_waits import optimizers_on
from aimlib.training import checkpointing
from aimlib.training.loaders import _stream_of_its_own
from aimlib.training.loop import Outcome, Paused, outcome_so_far, train
from aimlib.training.optimizers.base import OptimizerConfig, OptimizerPlugin
from aimlib.training.optimizers.on_device import Rates
from aimlib.training.run import Run
from aimlib.training.steps import proof
from aimlib.training.steps.base import Inputs
from aimlib.training.steps.graph import GraphStep
from aimlib.training.steps.snapshot import Snapshot, same_bits

VGG = {"name": "vgg16_bn", "widths": [2, 2, 2, 2, 2], "dense": [8, 8], "dropout": 0.5}
NOISE = {"name": "noise", "channels": 4, "rows": 2, "columns": 2, "per": "image"}
SLOW_SOURCE = {**AIM, "memory": {**AIM["memory"], "source_lr_scale": 8.0}}
AS_RUN_ADAM = {"name": "adam", "learning_rate": 1e-3, "epsilon": 1e-7, "epsilon_on": "uncorrected"}
AUGMENTATION = {"rotation": 0.1, "translation": 0.1, "horizontal_flip": 0.5, "contrast": 0.1}
DROPS = {"name": "plateau", "patience": 1, "min_delta": 0.9}
KINDS: dict[str, dict[str, Any]] = {
    "momentum, cosine with warm-up, carry, augmentation": {
        "model": {**AIM, "carry": {}},
        "training__optimizer": {"name": "sgd", "momentum": 0.9, "learning_rate": 0.05},
        "training__schedule": {"name": "cosine", "warmup_epochs": 0.5},
        "training__augmentation": AUGMENTATION,
    },
    "as-run adam, plateau drops, its own rate for the source, as-run augmentation": {
        "model": SLOW_SOURCE,
        "training__optimizer": AS_RUN_ADAM,
        "training__schedule": DROPS,
        "training__augmentation": {**AUGMENTATION, "resampling": "each", "contrast_per": "batch", "passes": 2},
    },
    "fused adam as run, plateau": {
        "model": AIM,
        "training__optimizer": {**AS_RUN_ADAM, "fused": True},
        "training__schedule": DROPS,
    },
    "decoupled and uncorrected": {
        "model": AIM,
        "training__optimizer": {**AS_RUN_ADAM, "name": "adamw", "weight_decay": 0.05},
        "training__schedule": "cosine",
    },
    "fused adamw, permuted memory": {
        "model": {**AIM, "control": "permuted_memory"},
        "training__optimizer": {"name": "adamw", "fused": True},
        "training__schedule": "cosine",
    },
    "dropout, noise for every image, bfloat16": {
        "model": {"backbone": VGG, "memory": NOISE, "placement": "every_layer"},
        "training__optimizer": "adamw",
        "training__precision": "bfloat16",
    },
    "frozen memory, contiguous, plain descent, smoothed labels": {
        "model": {**AIM, "control": "frozen_memory"},
        "training__optimizer": {"name": "sgd", "momentum": 0.0, "learning_rate": 0.1},
        "training__schedule": {"name": "warmup", "warmup_epochs": 1, "schedule": "one_cycle"},
        "training__memory_format": "contiguous",
        "training__label_smoothing": 0.1,
    },
    "fine-tuning: rates of layers, average of the weights": {
        "model": {**AIM, "read_init": "zero"},
        "training__optimizer": {"name": "adamw"},
        "training__schedule": "cosine",
        "training__fine_tuning": {
            "learning_rates": {"layers": "fc", "scale": 10.0},
            "layer_decay": 0.5,
            "ema": {"decay": 0.9},
        },
    },
    "balanced cross-entropy": {
        "model": AIM,
        "training__loss": {"name": "cross_entropy", "label_smoothing": 0.1, "weight": "balanced"},
    },
    "transforms and mixed images": {
        "model": AIM,
        "training__augmentation": AUGMENTATION,
        "training__transforms": ["rand_augment", "random_erasing", "mixup_or_cutmix"],
    },
    "focal loss": {"model": AIM, "training__loss": "focal"},
}

QUICK = (
    "as-run adam, plateau drops, its own rate for the source, as-run augmentation",
    "frozen memory, contiguous, plain descent, smoothed labels",
    "fine-tuning: rates of layers, average of the weights",
)
QUICK_AND_SLOW = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in KINDS]
"""The quick cases cover every property of optimizers and schedules; the other cases take another 20 seconds."""


@pytest.fixture(autouse=True)
def graphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AIM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(proof, "_known", {})
    with cuda_graphs_on_cpu():
        yield


def kind(name: str, **changes: Any) -> tuple[RunConfig, DataSet]:
    """Return a run with three epochs, each with four full batches and one incomplete batch, and its data."""
    size = 32 if "dropout" in name else 8
    config = run_config(**{"training__epochs": 3, "training__batch_size": 4, **KINDS[name], **changes})
    return config, data_set(train=24, test=9, size=size)


def numbers(outcome: Outcome) -> dict[str, Any]:
    """Return the parts of an outcome that must not depend on how steps were computed."""
    return {key: value for key, value in without_clock(outcome).items() if key != "step"}


@functools.cache
def eager_outcome(name: str) -> Outcome:
    return train(*kind(name, training__step="eager"))


@pytest.mark.parametrize("name", KINDS)
def test_a_graph_is_bitwise_identical_to_eager_steps(name: str) -> None:
    eager = eager_outcome(name)
    graph = train(*kind(name, training__step="graph"))
    assert (eager.step, graph.step) == ("eager", "graph")
    assert numbers(graph) == numbers(eager)
    if "plateau" in name:
        assert len({row["learning_rate"] for row in graph.epochs}) == 2, "the rate dropped"


@pytest.mark.parametrize("name", QUICK_AND_SLOW)
def test_auto_uses_the_graph_with_the_same_bits_and_run_id_as_eager_steps(name: str) -> None:
    notices: list[str] = []
    config, data = kind(name)
    auto = train(config, data, on_notice=notices.append)
    assert (auto.step, notices) == ("graph", [])
    assert numbers(auto) == numbers(eager_outcome(name))


@pytest.mark.parametrize("name", QUICK_AND_SLOW)
def test_a_captured_run_that_is_paused_everywhere_is_bitwise_identical(name: str, tmp_path: Path) -> None:
    config, data = kind(name, training__epochs=2)
    whole, pauses, attempts = train(config, data), 0, At(*range(1, 40, 3))
    while True:
        try:
            outcome = train(config, data, run_id="run", checkpoint_directory=tmp_path / "run", pause=attempts)
            break
        except Paused:
            pauses += 1
            disturb()
    assert pauses > 3
    assert outcome.step == "graph"
    assert numbers(outcome) == numbers(whole)


def test_a_run_continues_with_the_same_kind_of_step_as_before(tmp_path: Path) -> None:
    """A checkpoint records how steps were computed; a checkpoint without this entry counts as eager."""
    name = "momentum, cosine with warm-up, carry, augmentation"
    config, data = kind(name)
    with pytest.raises(Paused):
        train(config, data, run_id="run", checkpoint_directory=tmp_path, pause=At(3))
    file = tmp_path / checkpointing.FILE
    state = torch.load(file, weights_only=True)
    assert (state["step"], state["format"]) == ("graph", 3)
    eager = {key: value for key, value in state.items() if key not in {"step", "data_on", "peak_device_bytes"}}
    torch.save({**eager, "format": 2}, file)
    outcome = train(config, data, run_id="run", checkpoint_directory=tmp_path)
    assert outcome.step == "eager"
    assert numbers(outcome) == numbers(train(config, data))


def test_an_abandoned_run_reports_its_kind_of_step(tmp_path: Path) -> None:
    config, data = kind("fused adam as run, plateau")
    done: list[Any] = []
    with pytest.raises(Paused):
        train(
            config,
            data,
            run_id="run",
            checkpoint_directory=tmp_path,
            on_epoch=done.append,
            pause=lambda: bool(done),
        )
    pruned = outcome_so_far(config, data, tmp_path, "run", "enough")
    assert (pruned.status, pruned.step, pruned.data_on) == ("pruned", "graph", "host")


def test_incomplete_batches_run_eagerly_and_full_batches_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    replayed: list[tuple[int, str]] = []
    real = RecordedGraph.replay
    monkeypatch.setattr(RecordedGraph, "replay", lambda self: (replayed.append((1, self.error_mode)), real(self))[1])
    config, data = kind("momentum, cosine with warm-up, carry, augmentation", training__step="graph")
    train(config, data)
    assert [number for number, _ in replayed] == [1] * 3 * 4, "18 images: four batches of 4, and one of 2"
    assert {mode for _, mode in replayed} == {"thread_local"}, "a thread may be copying the next batch"


# Graphs that seem to be equal to eager steps, but are not


class _Counting(nn.Module):
    """A layer that multiplies by a Python number that increases with every call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * (1 + 0.01 * (self.calls % 7))


class _Reading(nn.Module):
    """A layer that reads a number from the device."""

    def forward(self, x: Tensor) -> Tensor:
        return x / max(1.0, float(x.detach().abs().max()))


@pytest.fixture
def network_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[nn.Module], None]:
    """Return a function that inserts a module before the network of every run."""
    real = Run._initial_network

    def put(module: nn.Module) -> None:
        monkeypatch.setattr(Run, "_initial_network", lambda self: nn.Sequential(module, real(self)))

    return put


def test_a_python_number_in_a_network_is_detected(network_with: Callable[[nn.Module], None]) -> None:
    network_with(_Counting())
    notices: list[str] = []
    config, data = kind("fused adam as run, plateau")
    outcome = train(config, data, on_notice=notices.append)
    assert outcome.step == "eager"
    assert "it is not bitwise identical to eager steps in losses" in notices[0]
    again: list[str] = []
    assert train(config, data, on_notice=again.append).step == "eager"
    assert again == notices, "reported again, from the record"


def test_a_step_that_reads_from_the_device_runs_eagerly(network_with: Callable[[nn.Module], None]) -> None:
    network_with(_Reading())
    notices: list[str] = []
    config, data = kind("fused adam as run, plateau")
    outcome = train(config, data, on_notice=notices.append)
    assert outcome.step == "eager"
    assert "could not be captured (CUDA error: operation not permitted when stream is capturing" in notices[0]
    assert numbers(outcome) == numbers(train(*kind("fused adam as run, plateau", training__step="eager")))
    with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
        train(*kind("fused adam as run, plateau", training__step="graph"))


def test_a_failed_capture_does_not_change_torch(network_with: Callable[[nn.Module], None]) -> None:
    """Torch before 2.14 treats a failed capture as active, so no memory is released and the next arm's step cannot be
    captured."""
    network_with(_Reading())
    before = torch.cuda.current_stream()
    assert train(*kind("fused adam as run, plateau")).step == "eager"
    assert torch.cuda.current_stream() is before
    assert not under_way.pools
    assert not under_way.holds_generators


def test_a_step_is_not_captured_on_a_stream_that_copies_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch reuses streams of the same priority, and a copy on the capture's stream would be captured."""
    used: list[Any] = []
    real = torch.cuda.stream
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: (used.append(stream), real(stream))[1])
    config, data = kind("fused adam as run, plateau", training__step="graph")
    train(config, data)
    assert len(used) > 1, "warming up, capturing"
    copies = _stream_of_its_own(torch.device("cuda"))
    assert {stream.priority for stream in used}.isdisjoint({copies.priority})  # type: ignore[attr-defined]


def test_a_captured_learning_rate_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rates, "lent", lambda self: nullcontext())
    notices: list[str] = []
    outcome = train(*kind("fused adam as run, plateau"), on_notice=notices.append)
    assert outcome.step == "eager"
    assert "not bitwise identical to eager steps in losses, parameter." in notices[0]


def test_an_optimizer_that_takes_python_numbers_is_never_captured() -> None:
    with restored_registries():

        @optimizers.register("plain")
        class Plain(OptimizerPlugin):
            class Config(OptimizerConfig):
                learning_rate: float = 0.1

            def build(self, parameters: Any) -> torch.optim.Optimizer:
                return torch.optim.SGD(parameters, lr=self.config.learning_rate)

        assert train(run_config(model=AIM, training__optimizer="plain"), data_set()).step == "eager"
        with pytest.raises(UsageError, match=r"training.step: graph: optimizer 'plain' takes its learning rate from P"):
            train(run_config(model=AIM, training__optimizer="plain", training__step="graph"), data_set())


# Proofs and their records


def proven(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list that grows by one with every proof."""
    proofs: list[Any] = []
    real = proof.compare
    monkeypatch.setattr(proof, "compare", lambda *given: (proofs.append(given), real(*given))[1])
    return proofs


def test_a_proof_applies_to_all_seeds_and_other_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proofs = proven(monkeypatch)
    name = "as-run adam, plateau drops, its own rate for the source, as-run augmentation"
    first = train(*kind(name))
    assert train(*kind(name, seed=1)).step == "graph"
    monkeypatch.setattr(proof, "_known", {})  # another process
    again = train(*kind(name))
    assert (len(proofs), numbers(again)) == (1, numbers(first))
    train(*kind(name, training__label_smoothing=0.1))
    assert len(proofs) == 2, "a different arm has its own proof"
    (file, _) = sorted((tmp_path / "cache" / "steps").iterdir())
    assert json.loads(file.read_text())["equal"] is True
    assert not list((tmp_path / "cache" / "steps").glob(".*"))


def test_a_damaged_record_counts_as_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, data = kind("fused adam as run, plateau", training__epochs=1)
    train(config, data)
    (file,) = (tmp_path / "cache" / "steps").iterdir()
    proofs = proven(monkeypatch)
    damaged = [b"", b"{}", b"[1]", b'{"format": 1, "key": "another", "equal": true}', b"\xff"]
    for number, content in enumerate(damaged, start=1):
        file.write_bytes(content)
        monkeypatch.setattr(proof, "_known", {})
        assert train(config, data).step == "graph"
        assert len(proofs) == number, content
        assert json.loads(file.read_text())["key"] == file.stem


def test_a_cache_folder_that_is_not_writable_has_no_other_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("AIM_CACHE_DIR", str(tmp_path / "file"))
    assert train(*kind("fused adam as run, plateau")).step == "graph"


def test_a_recorded_graph_that_can_no_longer_be_captured_runs_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    name, notices = "fused adam as run, plateau", []
    whole = train(*kind(name))

    def refuses(self: GraphStep, inputs: Inputs) -> None:
        raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    monkeypatch.setattr(GraphStep, "capture", refuses)
    outcome = train(*kind(name), on_notice=notices.append)
    assert (outcome.step, numbers(outcome)) == ("eager", numbers(whole))
    assert notices == [
        "training steps run eagerly: the step could not be captured as a CUDA graph (CUDA error: operation failed due "
        "to a previous error during capture)"
    ]


def test_a_graph_that_lacks_memory_is_not_recorded_as_unequal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, notices = "fused adam as run, plateau", []
    eager = train(*kind(name, training__step="eager"))

    def lacks(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory while capturing")

    with monkeypatch.context() as patch:
        patch.setattr(RecordedGraph, "capture_begin", lacks)
        outcome = train(*kind(name), on_notice=notices.append)
    assert (outcome.step, numbers(outcome)) == ("eager", numbers(eager))
    assert len(notices) == 1
    assert "memory" in notices[0]
    assert not (tmp_path / "cache").exists()
    assert train(*kind(name)).step == "graph"


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: out of memory")],
    ids=["allocator", "graph"],
)
def test_a_lack_of_memory_during_a_capture_does_not_rule_out_the_step(
    error: RuntimeError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory can run out in torch's allocator during the capture, so that the end of the capture also fails, or in CUDA
    when it creates the graph."""

    def lacks(self: Any, *_: Any, **__: Any) -> Any:
        if isinstance(error, torch.OutOfMemoryError):
            self.is_invalid = True
            raise error

    def fails(self: RecordedGraph) -> None:
        real(self)
        raise error

    real, notices = RecordedGraph.capture_end, list[str]()
    monkeypatch.setattr(RecordedGraph, "capture_end", fails)
    monkeypatch.setattr(_Recorder, "_refuse", lacks)
    outcome = train(*kind("fused adam as run, plateau"), on_notice=notices.append)
    assert outcome.step == "eager"
    assert ["does not fit into the device's memory" in notice for notice in notices] == [True]
    assert not (tmp_path / "cache").exists()


def test_a_device_error_is_not_mistaken_for_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(RecordedGraph, "replay", fails)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        train(*kind("fused adam as run, plateau"))
    assert not (tmp_path / "cache").exists()


def test_a_proof_does_not_change_the_run() -> None:
    config, data = kind("dropout, noise for every image, bfloat16")
    run = Run(config, data, torch.device("cpu"))
    run.network.train()
    inputs = run.inputs(run.training[:4], 1, None)
    before = Snapshot(run.computation)
    finding, step = proof.compare(run.computation, inputs)
    assert (finding, type(step)) == (proof.Finding(True), GraphStep)
    assert before.differences() == []
    assert [group["lr"] for group in run.optimizer.param_groups] == [1e-3]


def test_snapshots_distinguish_every_bit() -> None:
    config, data = kind("dropout, noise for every image, bfloat16")
    run = Run(config, data, torch.device("cpu"))
    before = Snapshot(run.computation)
    with torch.no_grad():
        next(iter(run.network.parameters())).view(-1)[0].nextafter_(torch.tensor(9.0))
    torch.rand(1)
    (name, generators) = before.differences()
    assert name.startswith("parameter.")
    assert generators == "generators"
    before.put_back()
    assert before.differences() == []
    assert same_bits(torch.tensor([float("nan")]), torch.tensor([float("nan")]))
    assert not same_bits(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert not same_bits(torch.tensor([1.0]), torch.tensor([1.0], dtype=torch.float64))


# Optimizers on a device


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("epsilon_on", ["corrected", "uncorrected"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_adam_on_a_device_follows_the_same_formula_as_on_the_cpu(
    name: str, epsilon_on: str, weight_decay: float
) -> None:
    """Rounding differs, because the learning rate and the bias corrections are in single precision on a device."""
    options = {"name": name, "epsilon_on": epsilon_on, "epsilon": 1e-4, "weight_decay": weight_decay}
    config = optimizers.parse(options)
    ends = []
    for kinds in ((), ("cpu",)):
        weights = nn.Parameter(torch.linspace(-1, 1, 12).view(3, 4))
        if not kinds:
            cpu = pytest.MonkeyPatch()
            cpu.setattr("aimlib.training.optimizers.on_device.DEVICES", set())
        with optimizers_on(*kinds) if kinds else nullcontext():
            optimizer = optimizers.create(config).build([weights])
            rates = Rates(optimizer, weights.device) if kinds else None
            for number in range(6):
                optimizer.param_groups[0]["lr"] = 0.1 / (1 + number)
                weights.grad = torch.sin(weights.detach() * 3 + number)
                if rates:
                    rates.write()
                with rates.lent() if rates else nullcontext():
                    optimizer.step()
        if not kinds:
            cpu.undo()
        ends.append(weights.detach().clone())
        assert optimizer.param_groups[0]["lr"] == 0.1 / 6
        assert optimizer.param_groups[0]["eps"] == 1e-4
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-4, atol=1e-5)


# The simulated graphs are faithful


def captured(work: Callable[[], Tensor]) -> tuple[RecordedGraph, Tensor]:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = work()
    assert isinstance(graph, RecordedGraph)
    return graph, out


def test_a_capture_has_no_lasting_effect() -> None:
    x, drawn = torch.ones(3), torch.get_rng_state()
    graph, out = captured(lambda: x.add_(1).mul(torch.rand(3)))
    assert torch.equal(x, torch.ones(3))
    assert torch.equal(torch.get_rng_state(), drawn)
    expected = 2 * torch.rand(3)
    torch.set_rng_state(drawn)
    graph.replay()
    assert torch.equal(x, torch.full((3,), 2.0))
    assert torch.equal(out, expected)


def test_a_replay_keeps_python_numbers_and_rereads_tensors() -> None:
    number, x, factor = [2.0], torch.ones(2), torch.tensor(3.0)
    graph, out = captured(lambda: x * number[0] * factor)
    number[0] = 100.0
    factor.fill_(5.0)
    graph.replay()
    assert torch.equal(out, torch.full((2,), 10.0))


@pytest.mark.parametrize("wait", [lambda x: x.sum().item(), lambda x: x[x > 0], lambda x: x.nonzero()], ids=range(3))
def test_steps_that_wait_for_the_device_are_not_captured(wait: Callable[[Tensor], Any]) -> None:
    x = torch.ones(2)
    with pytest.raises(RuntimeError, match="a previous error during capture"):
        captured(lambda: wait(x.add_(1)))
    assert torch.equal(x, torch.ones(2))


def test_generators_must_be_registered() -> None:
    mine = torch.Generator().manual_seed(0)
    with pytest.raises(RuntimeError, match="not in capture mode"):
        captured(lambda: torch.rand(2, generator=mine))
