"""In fine-tuned runs, frozen layers do not change, the optimizer uses the right rates, the average is evaluated, and
runs can be resumed."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import AIM, SMALL, data_set, run_config, without_clock
from torch import Tensor

from aimlib.errors import StoreError
from aimlib.training import checkpointing
from aimlib.training.loop import Paused, train
from aimlib.training.run import Run
from aimlib.training.steps.snapshot import same_bits
from aimlib.training.tuning.average import WeightAverage
from aimlib.training.tuning.config import AverageConfig

FREEZE = {"freeze": [{"layers": ["conv1", "bn1"]}, {"layers": "layer1", "epochs": 1}]}
EMA = {"ema": {"decay": 0.9}}
RATES = {"learning_rates": {"layers": "fc", "scale": 10.0}, "layer_decay": 0.5}
MODELS = {"baseline": {"backbone": SMALL}, "memory": AIM}
CPU = torch.device("cpu")


def run_of(tuning: dict[str, Any] | None, model: str = "baseline", **changes: Any) -> Run:
    given = {} if tuning is None else {"training__fine_tuning": tuning}
    return Run(run_config(model=MODELS[model], **given, **changes), data_set(), CPU)


def state(run: Run) -> dict[str, Tensor]:
    return copy.deepcopy(run.network.state_dict())


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_frozen_layers_keep_their_values_and_running_statistics_until_their_epoch(model: str, optimizer: str) -> None:
    run = run_of(FREEZE, model, training__optimizer={"name": optimizer, "weight_decay": 0.01})
    prefix = "network." if model == "memory" else ""
    start = state(run)
    run.epoch()
    first = state(run)
    run.epoch()
    second = state(run)
    frozen = [name for name in start if name.removeprefix(prefix).startswith(("conv1.", "bn1."))]
    later = [name for name in start if name.removeprefix(prefix).startswith("layer1.") and "counter" not in name]
    frozen = [name for name in frozen if not name.endswith("read_weight")]
    later = [name for name in later if not name.endswith("read_weight")]
    assert len(frozen) == 6
    assert all(same_bits(start[name], second[name]) for name in frozen)
    assert all(same_bits(start[name], first[name]) for name in later)
    assert not any(torch.equal(first[name], second[name]) for name in later if "bias" not in name)
    assert not torch.equal(start[f"{prefix}layer2.0.bn1.running_mean"], first[f"{prefix}layer2.0.bn1.running_mean"])


def test_unfrozen_layers_begin_with_a_new_step_count() -> None:
    options = {"name": "adam", "epsilon_on": "uncorrected"}
    run = run_of(FREEZE, training__optimizer=options)
    run.epoch()
    run.epoch()
    steps = {
        name: int(run.optimizer.state[parameter]["step"])
        for name, parameter in run.network.named_parameters()
        if parameter in run.optimizer.state
    }
    assert steps["fc.weight"] == 2 * steps["layer1.0.conv1.weight"]
    assert "conv1.weight" not in steps


def test_group_rates_follow_the_schedule() -> None:
    run = run_of(RATES, training__schedule="cosine", training__epochs=4)
    run.epoch()
    scales = {group["lr_scale"] for group in run.optimizer.param_groups if group["params"]}
    assert scales == {10.0, 0.5, 0.25, 0.125}
    assert len({group["lr"] / group["lr_scale"] for group in run.optimizer.param_groups}) == 1


def test_the_average_follows_its_definition() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    for warmup in (True, False):
        average = WeightAverage(network, AverageConfig(decay=0.3, warmup=warmup))
        wanted = {name: value.clone().double() for name, value in network.state_dict().items()}
        for step in range(1, 6):
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.add_(torch.randn_like(parameter))
            network(torch.randn(4, 2))
            average.add(network)
            decay = min(0.3, (1 + step) / (10 + step)) if warmup else 0.3
            for name, value in network.state_dict().items():
                wanted[name] = wanted[name] * decay + value * (1 - decay) if value.is_floating_point() else value
        for name, value in average.network.state_dict().items():
            torch.testing.assert_close(value.double(), wanted[name].double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_the_average_is_evaluated_and_kept_and_does_not_affect_training(model: str) -> None:
    averaged, plain = run_of(EMA, model), run_of(None, model)
    averaged.keep = "last"
    for run in (averaged, plain):
        run.epoch()
        run.epoch()
    one, other = state(averaged), state(plain)
    assert all(same_bits(one[name], other[name]) for name in one)
    assert averaged.history[-1]["train_loss"] == plain.history[-1]["train_loss"]
    assert averaged.history[-1]["test_loss"] != plain.history[-1]["test_loss"]
    assert averaged.average is not None
    kept = averaged.kept_network(diverged=False)
    assert kept is not None
    assert kept.state is not None
    assert all(same_bits(kept.state[name], value) for name, value in averaged.average.network.state_dict().items())
    _, test = averaged.evaluate()
    assert np.array_equal(test.predictions, averaged.predictions[-1])


def test_without_options_a_run_is_bitwise_identical_to_earlier_runs() -> None:
    plain, idle = run_of(None), run_of({"learning_rates": {"layers": "*", "scale": 1.0}})
    for run in (plain, idle):
        run.epoch()
    assert all(same_bits(state(plain)[name], value) for name, value in state(idle).items())


@pytest.mark.parametrize(
    "tuning", [FREEZE, EMA, RATES, {**FREEZE, **EMA, **RATES}], ids=["freeze", "ema", "rates", "all"]
)
@pytest.mark.parametrize("model", MODELS)
def test_a_run_interrupted_after_every_part_is_bitwise_identical(
    tmp_path: Path, model: str, tuning: dict[str, Any]
) -> None:
    config = run_config(
        model=MODELS[model],
        training__fine_tuning=tuning,
        training__optimizer={"name": "adam"},
        training__selection="best_validation",
    )
    whole = train(config, data_set(), keep="best")
    pauses = 0
    while True:
        try:
            found = train(
                config, data_set(), keep="best", run_id="r", checkpoint_directory=tmp_path, pause=lambda: True
            )
            break
        except Paused:
            pauses += 1
    assert pauses > 10
    one, other = without_clock(whole), without_clock(found)
    for each in (one, other):
        network = each.pop("network")
        each["network"] = {name: value.tolist() for name, value in network["state"].items()}
    assert one == other


def test_a_checkpoint_has_an_average_only_if_the_run_has_one(tmp_path: Path) -> None:
    for name, tuning, wanted in (("ema", EMA, checkpointing.WITH_LATER_PARTS), ("rates", RATES, checkpointing.FORMAT)):
        config = run_config(training__fine_tuning=tuning)
        with pytest.raises(Paused):
            train(config, data_set(), run_id="r", checkpoint_directory=tmp_path / name, pause=lambda: True)
        stored = torch.load(tmp_path / name / checkpointing.FILE, weights_only=True)
        assert stored["format"] == wanted
        assert ("average" in stored) == (name == "ema")
    with pytest.raises(StoreError, match="does not fit the network of this run"):
        train(run_config(training__fine_tuning=EMA), data_set(), run_id="r", checkpoint_directory=tmp_path / "rates")


def test_runs_with_frozen_layers_take_eager_steps() -> None:
    assert run_of(FREEZE).step_name == "eager"
