"""Schedules with torch's names have the same rates as torch's schedules in every step, even after a warm-up."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_runs import data_set, run_config
from torch.optim import lr_scheduler

from aimlib.errors import ConfigError
from aimlib.registry import schedules
from aimlib.training.loop import train
from aimlib.training.schedules.base import Schedule

RATE, EPOCHS, STEPS = 0.3, 12, 5


def ours(*, epochs: int = EPOCHS, steps: int = STEPS, **options: Any) -> Schedule:
    config = schedules.parse(options)
    made: Schedule = schedules.get(config.name)(config, RATE, epochs)
    made.prepare(steps)
    return made


Theirs = Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]


def theirs(build: Theirs, steps: int) -> list[float]:
    """Return torch's rates after each of a number of steps."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], RATE)
    scheduler, rates = build(optimizer), []
    for _ in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return rates


BY_EPOCH: list[tuple[dict[str, Any], Theirs]] = [
    ({"name": "step", "step_size": 3, "gamma": 0.5}, lambda o: lr_scheduler.StepLR(o, 3, 0.5)),
    ({"name": "multi_step", "milestones": [2, 7]}, lambda o: lr_scheduler.MultiStepLR(o, [2, 7])),
    ({"name": "exponential", "gamma": 0.9}, lambda o: lr_scheduler.ExponentialLR(o, 0.9)),
    (
        {"name": "linear", "start_factor": 0.5, "end_factor": 0.1, "total_iters": 8},
        lambda o: lr_scheduler.LinearLR(o, 0.5, 0.1, 8),
    ),
    ({"name": "linear", "end_factor": 0.2}, lambda o: lr_scheduler.LinearLR(o, 1.0, 0.2, EPOCHS)),
    ({"name": "polynomial", "total_iters": 9, "power": 2.0}, lambda o: lr_scheduler.PolynomialLR(o, 9, 2.0)),
    (
        {"name": "cosine_warm_restarts", "T_0": 2, "T_mult": 2, "eta_min": 0.01},
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2, 2, 0.01),
    ),
    ({"name": "cosine_warm_restarts", "T_0": 3}, lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3)),
]


@pytest.mark.parametrize(("options", "build"), BY_EPOCH)
def test_rates_at_the_start_of_epochs_match_torch(options: dict[str, Any], build: Theirs) -> None:
    schedule = ours(**options)
    assert [schedule.rate(epoch) for epoch in range(EPOCHS)] == pytest.approx(
        theirs(build, EPOCHS), rel=1e-9, abs=1e-15
    )


@pytest.mark.parametrize("name", ["linear", "polynomial"])
def test_rates_between_epochs_match_torch_with_a_step_after_every_batch(name: str) -> None:
    count = EPOCHS * STEPS
    build: Theirs = {
        "linear": lambda o: lr_scheduler.LinearLR(o, 1.0, 0.0, count),
        "polynomial": lambda o: lr_scheduler.PolynomialLR(o, count, 1.0),
    }[name]
    rates = [ours(name=name).rate(step / STEPS) for step in range(count)]
    assert rates == pytest.approx(theirs(build, count), rel=1e-9, abs=1e-12)


def test_warm_restarts_with_fractional_epochs_match_torch() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], RATE)
    scheduler, schedule = (
        lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 2, 2),
        ours(name="cosine_warm_restarts", T_0=2, T_mult=2),
    )
    for step in range(EPOCHS * STEPS):
        scheduler.step(step / STEPS)
        assert schedule.rate(step / STEPS) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(
    ("pct_start", "strategy", "three"),  # with three phases but no rise, torch divides by zero
    [*itertools.product([0.25, 0.3, 0.5], ["cos", "linear"], [False, True]), (0.0, "cos", False)],
)
def test_one_cycle_equals_torchs_schedule_in_every_step(pct_start: float, strategy: Any, three: bool) -> None:
    options = {"pct_start": pct_start, "anneal_strategy": strategy, "three_phase": three, "div_factor": 10.0}
    count = EPOCHS * STEPS
    expected = theirs(
        lambda o: lr_scheduler.OneCycleLR(o, RATE, total_steps=count, cycle_momentum=False, **options), count - 1
    )
    schedule = ours(name="one_cycle", **options)
    assert [schedule.rate(step / STEPS) for step in range(count - 1)] == pytest.approx(expected, rel=1e-9, abs=1e-15)
    assert schedule.rate((count - 1) / STEPS) == pytest.approx(RATE / 10 / 1e4)


@pytest.mark.parametrize(("options", "build"), BY_EPOCH[:4])
def test_after_a_warm_up_the_schedule_starts_from_its_beginning(options: dict[str, Any], build: Theirs) -> None:
    def sequence(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        warmup = lr_scheduler.LinearLR(optimizer, 0.1, 1.0, 3)
        return lr_scheduler.SequentialLR(optimizer, [warmup, build(optimizer)], [3])

    schedule = ours(name="warmup", warmup_epochs=3, start_factor=0.1, schedule=options)
    expected = theirs(sequence, EPOCHS)
    assert [schedule.rate(epoch) for epoch in range(3)] == pytest.approx(expected[:3], rel=1e-9)
    alone = ours(**options)
    assert [schedule.rate(time) for time in (3, 4.2, 7)] == [alone.rate(time) for time in (0, 4.2 - 3, 4)]
    if options["name"] != "linear":  # torch's SequentialLR begins a LinearLR at its end factor
        assert [schedule.rate(epoch) for epoch in range(3, EPOCHS)] == pytest.approx(expected[3:], rel=1e-9)


def test_a_warm_up_shortens_the_next_schedule_and_keeps_the_rate_without_one() -> None:
    following = ours(name="warmup", warmup_epochs=4, schedule="polynomial")
    alone = ours(name="polynomial", epochs=EPOCHS - 4)
    assert [following.rate(4 + time) for time in (0, 3, 7.5)] == [alone.rate(time) for time in (0, 3, 7.5)]
    plain = ours(name="warmup", warmup_epochs=4, start_factor=0.0)
    assert [plain.rate(time) for time in (0, 2, 4, 9)] == pytest.approx([0, RATE / 2, RATE, RATE])
    cycle = ours(name="warmup", warmup_epochs=2, schedule="one_cycle")
    assert cycle.rate(5.4) == ours(name="one_cycle", epochs=EPOCHS - 2).rate(3.4)


def test_plateau_after_a_warm_up_needs_validation_images_and_counts_epochs_from_then() -> None:
    options = {"name": "warmup", "warmup_epochs": 2, "schedule": {"name": "plateau", "patience": 1}}
    with pytest.raises(ConfigError, match="validation_fraction is 0, but schedule 'warmup' needs validation images"):
        run_config(training__schedule=options, training__validation_fraction=0.0)
    schedule = ours(**options)
    for _ in range(4):
        schedule.after_epoch(0.5)  # two warm-up epochs, the first best epoch, and one epoch without a rise
    assert schedule.rate(4) == pytest.approx(RATE * 0.1)


def test_runs_follow_the_schedule_in_every_step() -> None:
    config = run_config(training__schedule={"name": "one_cycle"}, training__epochs=3)
    outcome = train(config, data_set())
    steps = 4  # 27 training images in batches of 8
    expected = ours(name="one_cycle", epochs=3, steps=steps)
    rates = [expected.rate(epoch + (steps - 1) / steps) * 0.05 / RATE for epoch in range(3)]
    assert [row["learning_rate"] for row in outcome.epochs] == pytest.approx(rates)
