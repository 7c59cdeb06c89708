"""Spot checks: a repeated step does not change the run, and computing errors are found."""

from __future__ import annotations

import functools
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from planted_errors import WHERE, errors
from test_checkpoint_manager import At, disturb
from test_graph_steps import AUGMENTATION, QUICK_AND_SLOW, kind
from tiny_runs import AIM, MEMORY, SMALL, data_set, run_config, without_clock
from torch import nn

from aimlib.config import RunConfig
from aimlib.errors import ComputingError
from aimlib.registry import backbones, controls, memories, updates
from aimlib.testing.cuda_graphs import cuda_graphs_on_cpu
from aimlib.training.loop import Outcome, Paused, train
from aimlib.training.run import Run
from aimlib.training.spot_checks import SpotBudget, SpotChecks, host_room
from aimlib.training.steps import proof
from aimlib.training.steps.exchange import State

ADAM = {"training__optimizer": {"name": "adam", "learning_rate": 1e-3}}


def everywhere() -> SpotBudget:
    """Return a budget with which every step is repeated."""
    return SpotBudget(math.inf)


def numbers(outcome: Outcome) -> dict[str, Any]:
    return {key: value for key, value in without_clock(outcome).items() if key not in ("step", "spot_checks")}


# Effects of a check

DEEP = {"widths": [4, 4, 4, 4]}
VGG = {"widths": [2, 2, 2, 2, 2], "dense": [4, 4]}
NETWORKS: dict[str, tuple[int, dict[str, Any]]] = {
    "small_resnet": (8, {"backbone": SMALL}),
    "small_se_resnet": (8, {"backbone": {"name": "small_se_resnet", "widths": [4, 4, 8]}}),
    "mlp": (
        8,
        {
            "backbone": {"name": "mlp", "widths": [9, 7]},
            "memory": {"name": "dense_ones", "channels": 5, "inputs": 3},
            "placement": "every_layer",
            "update": "gated",
        },
    ),
    "resnet50": (32, {**AIM, "backbone": {"name": "resnet50", **DEEP}}),
    "resnet50_keras": (32, {**AIM, "backbone": {"name": "resnet50_keras", "widths": [4, 4], "blocks": [1, 1]}}),
    "vgg16": (32, {**AIM, "backbone": {"name": "vgg16", **VGG}}),
    "vgg16_bn": (32, {**AIM, "backbone": {"name": "vgg16_bn", **VGG, "dropout": 0.5}}),
    "torchvision": (32, {"backbone": {"name": "torchvision", "architecture": "squeezenet1_1"}}),
    **{f"memory {name}": (8, {**AIM, "memory": {**MEMORY, "name": name}}) for name in ("conv_ones", "parameter")},
    "memory dense_ones": (8, {**AIM, "memory": {"name": "dense_ones", "channels": 4, "inputs": 3}}),
    "memory noise": (8, {**AIM, "memory": {**MEMORY, "name": "noise", "per": "image"}}),
    **{f"update {name}": (8, {**AIM, "update": name}) for name in ("attention", "conv_sigmoid", "gated", "residual")},
    "carry": (8, {**AIM, "carry": {"decay": 0.8, "share": 0.4}}),
    **{f"control {name}": (8, {**AIM, "control": name}) for name in ("frozen_memory", "permuted_memory")},
    "control position_bias": (8, {**AIM, "update": None, "control": "position_bias"}),
}


def test_these_tests_cover_every_shipped_backbone_memory_and_update() -> None:
    names = {name.rpartition(" ")[2] for name in NETWORKS}
    wider = {"matched_parameters", "matched_multiply_adds"}  # controls that change only widths
    shipped = {name for family in (backbones, memories, updates, controls) for name in family.names()}
    assert shipped - wider - names == set()


DEEP_ONES = ("resnet50", "resnet50_keras", "vgg16", "vgg16_bn", "torchvision")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in DEEP_ONES else []) for name in NETWORKS
    ],  # these take seconds each
)
def test_repeating_every_step_does_not_change_results_for_any_network(name: str) -> None:
    size, model = NETWORKS[name]
    changes = {"training__epochs": 1, "training__augmentation": AUGMENTATION, **ADAM}
    config, data = run_config(model=model, **changes), data_set(train=24, test=9, size=size, channels=3)
    plain, checked = train(config, data), train(config, data, spot_budget=everywhere())
    assert numbers(checked) == numbers(plain)
    assert (plain.spot_checks, checked.spot_checks) == (None, 3)


@pytest.mark.parametrize("name", QUICK_AND_SLOW)
def test_repeating_every_step_does_not_change_results_for_any_kind_of_run(name: str) -> None:
    config, data = kind(name, training__epochs=2, training__step="eager")
    plain, checked = train(config, data), train(config, data, spot_budget=everywhere())
    assert numbers(checked) == numbers(plain)
    assert checked.spot_checks == 2 * 5


@pytest.mark.parametrize("name", QUICK_AND_SLOW)
def test_a_captured_step_is_replayed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(proof, "_known", {})
    with cuda_graphs_on_cpu():
        config, data = kind(name, training__epochs=2)
        plain, checked = train(config, data), train(config, data, spot_budget=everywhere())
    assert (checked.step, checked.spot_checks) == ("graph", 2 * 5)
    assert numbers(checked) == numbers(plain)


@pytest.mark.slow  # torch.compile takes seconds for every network
def test_a_compiled_step_is_repeated() -> None:
    config, data = run_config(model={**AIM, "carry": {}}, training__step="compiled", **ADAM), data_set()
    plain, checked = train(config, data), train(config, data, spot_budget=everywhere())
    assert numbers(checked) == numbers(plain)
    assert checked.spot_checks


def test_a_checked_run_that_is_paused_everywhere_is_bitwise_identical(tmp_path: Path) -> None:
    config, data = kind("fused adamw, permuted memory", training__epochs=1)
    plain, attempts = train(config, data), At(2, 3, 5)
    pauses = 0
    while True:
        try:
            outcome = train(
                config, data, run_id="run", checkpoint_directory=tmp_path, pause=attempts, spot_budget=everywhere()
            )
            break
        except Paused:
            pauses += 1
            disturb()
    assert pauses == 3
    assert numbers(outcome) == numbers(plain)


class Odd(torch.optim.SGD):
    """An optimizer with all kinds of state: numbers, lists, tensors that share memory, and an option that changes."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            group["taken"] = group.get("taken", 0) + 1
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    both = torch.zeros(2, parameter.numel())
                    state |= {"both": both, "half": both[1], "count": 0, "norms": []}
                state["count"] += 1
                state["half"].add_(parameter.grad.flatten(), alpha=1 / (state["count"] + group["taken"]))
                state["both"].mul_(0.9)
                state["norms"].append(parameter.grad.norm())
                parameter.data.add_(state["half"].view_as(parameter), alpha=-group["lr"])
                parameter.data.sub_(state["norms"][0] * 1e-3)
        self.state["all"] = {"taken": torch.tensor(float(self.param_groups[0]["taken"]))}


class Replacing(nn.Module):
    """A network that replaces its buffer in every step, and draws from all generators."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 3)
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layer(x_BCHW.flatten(1)) + self.mean
        if self.training:
            drawn = float(np.random.rand()) + random.random()
            self.mean = 0.9 * self.mean.detach() + 0.1 * drawn * logits.detach().mean(0) + 0.01 * torch.rand(3)
        return logits


def test_third_party_optimizers_and_layers_are_unchanged() -> None:
    def trained(budget: SpotBudget | None) -> tuple[list[float], dict[str, Any], dict[str, Any]]:
        run = Run(run_config(), data_set(), torch.device("cpu"))
        torch.manual_seed(0)
        run.network = run.computation.network = Replacing()
        run.optimizer = run.computation.optimizer = Odd(run.network.parameters(), lr=0.01)
        if budget is not None:
            run.spot_checks = SpotChecks(budget, run.device, None, lambda _: None)
        for _ in range(2):
            run.epoch()
        assert run.spot_checks is None or run.spot_checks.made > 4
        return [row["train_loss"] for row in run.history], run.network.state_dict(), run.optimizer.state_dict()

    plain, checked = trained(None), trained(everywhere())
    assert repr(plain) == repr(checked)


def test_exchanging_the_state_twice_restores_everything() -> None:
    config, data = kind("momentum, cosine with warm-up, carry, augmentation")
    run = Run(config, data, torch.device("cpu"))
    batch = run.training[:4]
    run.network.train()
    start = State(run.computation)
    run.step(batch, 1)
    after, now = State(run.computation), State(run.computation)
    assert start.differences()
    present = start.exchange()
    assert now.differences(), "the run has not begun"
    present.exchange()
    assert after.differences() == []


# Errors that a check detects


@functools.cache
def undisturbed(epochs: int) -> dict[str, Any]:
    return numbers(train(short(epochs), data_set(), spot_budget=None))


def short(epochs: int) -> RunConfig:
    return run_config(model=AIM, training__epochs=epochs, **ADAM)


def attempt(epochs: int, folder: Path) -> Outcome:
    return train(
        short(epochs),
        data_set(),
        run_id="run",
        checkpoint_directory=folder,
        checkpoint_share=math.inf,
        spot_budget=everywhere(),
    )


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("wrong", [7, 8], ids=["first computation", "second computation"])
def test_a_flipped_bit_is_detected_and_the_next_attempt_has_the_right_results(
    where: str, wrong: int, tmp_path: Path
) -> None:
    """Each of the 4 steps in an epoch is computed twice, so computations 7 and 8 are those of the fourth step."""
    with errors(where, lambda number: number == wrong) as planted:
        with pytest.raises(
            ComputingError, match=r"step 4 of epoch 1 was computed twice.*differ in \d+ value"
        ) as raised:
            attempt(1, tmp_path)
        assert str(raised.value).endswith("3 of 3 further repetitions agreed, so the device's error was transient")
        assert not raised.value.never_repeats
        outcome = attempt(1, tmp_path)
    assert planted == [wrong]
    assert numbers(outcome) == undisturbed(1)


def test_after_an_error_in_the_second_epoch_the_run_continues_from_the_first_checkpoint(tmp_path: Path) -> None:
    with errors("gradient", lambda number: number == 13):
        with pytest.raises(ComputingError, match="step 3 of epoch 2"):
            attempt(2, tmp_path)
        outcome = attempt(2, tmp_path)
    assert outcome.attempts == 2
    assert numbers(outcome) == undisturbed(2)


def test_an_error_in_a_step_that_is_not_checked_leads_to_wrong_results() -> None:
    """This shows that the errors that these tests simulate change results."""
    with errors("parameter", lambda number: number == 2):
        wrong = train(short(1), data_set())
    assert numbers(wrong) != undisturbed(1)


def test_an_image_that_is_read_incorrectly_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    from aimlib.training import loaders

    read, calls = loaders.load_batch, [0]

    def once_wrong(*arguments: Any) -> Any:
        pixels, labels = read(*arguments)
        calls[0] += 1
        if calls[0] == 3:
            pixels[0, 0, 0, 0] ^= 1
        return pixels, labels

    monkeypatch.setattr(loaders, "load_batch", once_wrong)
    with pytest.raises(ComputingError, match="input 1"):
        train(run_config(), data_set(), spot_budget=everywhere())


def test_a_loss_that_is_not_finite_is_an_outcome_and_not_a_computing_error() -> None:
    config = run_config(training__optimizer={"name": "sgd", "learning_rate": 1e30})
    plain, checked = train(config, data_set()), train(config, data_set(), spot_budget=everywhere())
    assert plain.status == checked.status == "diverged"
    assert numbers(plain) == numbers(checked)


def test_a_step_that_draws_from_its_own_generator_is_detected() -> None:
    """Neither a spot check nor a checkpoint restores a layer's own generator."""
    own = torch.Generator().manual_seed(0)

    def noise(_: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (inputs[0] + torch.rand(inputs[0].shape, generator=own),)

    run = Run(run_config(), data_set(), torch.device("cpu"))
    run.network.register_forward_pre_hook(noise)
    run.spot_checks = SpotChecks(everywhere(), run.device, None, lambda _: None)
    with pytest.raises(
        ComputingError, match="3 further repetitions differed as well, so this step is not repeatable"
    ) as raised:
        run.epoch()
    assert raised.value.never_repeats


# Cost of checks


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def simulated(budget: SpotBudget, steps: int, seconds: float, cost: float, clock: Clock) -> tuple[int, float]:
    """Take steps that last `seconds`, some of which are checked, which takes `cost`; return the number of checks and
    the time that the checks took."""
    checks = SpotChecks(budget, torch.device("cpu"), None, lambda _: None, clock)
    spent = 0.0
    for _ in range(steps):
        if checks.is_due():
            clock.now += cost
            checks.made += 1
            checks._charge(cost)
            spent += cost
        clock.now += seconds
    return checks.made, spent


@pytest.mark.parametrize("cost", [1.5, 2.5, 10.0, 60.0])
def test_checks_take_the_configured_share_of_the_time(cost: float) -> None:
    clock, seconds = Clock(), 0.1
    made, spent = simulated(SpotBudget(), 100_000, seconds, cost * seconds, clock)
    assert spent <= 0.005 * clock.now + cost * seconds, "at most one check too early"
    assert spent >= 0.8 * 0.005 * clock.now - 2 * cost * seconds
    assert made > 1


def test_short_runs_in_a_process_share_its_budget() -> None:
    """None of the runs is long enough to earn the time for a check on its own."""
    clock, budget = Clock(), SpotBudget()
    found = [simulated(budget, 50, 0.01, 0.02, clock) for _ in range(200)]
    assert sum(spent for _, spent in found) <= 0.005 * clock.now + 0.02
    assert 10 <= sum(made for made, _ in found) <= 30
    assert max(made for made, _ in found) <= 2


def test_an_expensive_check_is_followed_by_a_longer_interval() -> None:
    clock, budget = Clock(), SpotBudget()
    checks = SpotChecks(budget, torch.device("cpu"), None, lambda _: None, clock)
    due = []
    for number in range(200_000):
        if checks.is_due():
            due.append(number)
            cost = 0.5 if len(due) == 1 else 0.01
            clock.now += cost
            checks._charge(cost)
        clock.now += 0.01
    assert due[1] - due[0] > 5 * (due[3] - due[2])


def test_a_share_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="must be greater than 0"):
        SpotBudget(0.0)


# Memory


def test_a_check_is_skipped_while_its_copy_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SpotChecks, "_room", lambda _: 1000)
    notices: list[str] = []
    config = run_config(model=AIM)
    outcome = train(config, data_set(), spot_budget=everywhere(), on_notice=notices.append)
    assert outcome.spot_checks == 0
    assert len(notices) == 1, "only once per run"
    assert "spot checks are skipped while there is not enough memory: a copy of its state needs" in notices[0]
    assert numbers(outcome) == numbers(train(config, data_set()))


@pytest.mark.parametrize("failing", [5, 6], ids=["first computation", "second computation"])
def test_a_step_that_runs_out_of_memory_because_of_the_copy_runs_without_it(
    failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory runs out in the backward pass, when buffers have already changed."""
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    config, calls = run_config(model={**AIM, "carry": {}}, **ADAM), [0]
    plain = train(config, data_set())
    backward = torch.Tensor.backward

    def full(self: torch.Tensor, *arguments: Any, **options: Any) -> None:
        calls[0] += 1
        if calls[0] == failing:
            raise torch.OutOfMemoryError("CUDA out of memory")
        backward(self, *arguments, **options)

    monkeypatch.setattr(torch.Tensor, "backward", full)
    notices: list[str] = []
    outcome = train(config, data_set(), spot_budget=everywhere(), on_notice=notices.append)
    assert numbers(outcome) == numbers(plain)
    assert outcome.spot_checks == 2 * 4 - 1
    assert len(notices) == 1


@pytest.mark.parametrize(
    ("current", "inactive", "expected"), [(600, 0, 400), (600, 100, 500), (2000, 0, 0)], ids=["free", "cache", "full"]
)
def test_a_hosts_free_memory_is_the_smaller_of_the_machines_and_the_containers(
    current: int, inactive: int, expected: int, tmp_path: Path
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:       3 kB\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert host_room(tmp_path / "meminfo", tmp_path) == 3072
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text(f"{current}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {inactive}\nactive_file 0\n")
    assert host_room(tmp_path / "meminfo", tmp_path) == expected
    assert host_room(tmp_path / "none", tmp_path / "none") is None
