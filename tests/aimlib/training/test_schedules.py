"""Schedules, early stopping and selection rules are compared with closed forms and with the claim's two logs."""

from __future__ import annotations

import csv
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import quick

import analysis.claims
from aimlib.config import EarlyStoppingConfig
from aimlib.errors import ConfigError
from aimlib.registry import schedules, selections
from aimlib.training.early_stopping import should_stop
from aimlib.training.schedules.base import Schedule
from aimlib.training.selections.base import first_best


def schedule(rate: float, epochs: int, **options: Any) -> Schedule:
    config = schedules.parse(options)
    made: Schedule = schedules.get(config.name)(config, rate, epochs)
    return made


def reported(arm: str) -> list[dict[str, float]]:
    from importlib.resources import files

    lines = files(analysis.claims).joinpath("reported_runs.csv").read_text().splitlines()
    return [{key: float(row[key]) for key in row if key != "arm"} for row in csv.DictReader(lines) if row["arm"] == arm]


@pytest.mark.parametrize(("arm", "changes"), [("resnet50", [28, 37, 40]), ("aim_resnet50", [12, 44])])
def test_plateau_reproduces_every_learning_rate_in_the_logs(arm: str, changes: list[int]) -> None:
    epochs = reported(arm)
    plateau = schedule(1e-3, 50, name="plateau", factor=0.1, patience=3, min_delta=1e-4)
    rates = []
    for number, row in enumerate(epochs):
        rates.append(plateau.rate(number))
        plateau.after_epoch(row["val_accuracy"])
    assert rates == pytest.approx([row["learning_rate"] for row in epochs])
    assert [n + 1 for n in range(1, len(rates)) if rates[n] != rates[n - 1]] == changes


@pytest.mark.parametrize(("arm", "stop", "best"), [("resnet50", 40, 33), ("aim_resnet50", None, 50)])
def test_early_stopping_and_the_best_epoch_match_the_logs(arm: str, stop: int | None, best: int) -> None:
    epochs = reported(arm)
    accuracies = [row["val_accuracy"] for row in epochs]
    config = EarlyStoppingConfig(patience=7, min_delta=1e-3)
    stops = [count for count in range(1, len(accuracies) + 1) if should_stop(config, accuracies[:count])]
    assert stops == ([] if stop is None else [stop])
    assert first_best(epochs, "val_accuracy") == best


def test_cosine_follows_its_closed_form() -> None:
    plain = schedule(0.4, 10, name="cosine")
    for time in (0.0, 1.0, 2.5, 5.0, 9.9):
        assert plain.rate(time) == pytest.approx(0.2 * (1 + math.cos(math.pi * time / 10)))
    assert plain.rate(10.0) == pytest.approx(0.0, abs=1e-12)
    assert plain.rate(11.0) == pytest.approx(0.0, abs=1e-12)


def test_cosine_has_a_warm_up_and_a_floor() -> None:
    warm = schedule(0.4, 10, name="cosine", warmup_epochs=2.0, final_fraction=0.1)
    assert [warm.rate(time) for time in (0.0, 0.5, 1.0, 2.0)] == pytest.approx([0.0, 0.1, 0.2, 0.4])
    assert warm.rate(6.0) == pytest.approx(0.4 * (0.1 + 0.9 * 0.5))
    assert warm.rate(10.0) == pytest.approx(0.04)
    long = schedule(0.4, 2, name="cosine", warmup_epochs=5.0)
    assert [long.rate(time) for time in (0.0, 1.0)] == pytest.approx([0.0, 0.2])


@quick
@given(st.floats(0, 20), st.floats(0, 15), st.floats(0, 1))
def test_cosine_stays_between_its_bounds(time: float, warmup: float, final: float) -> None:
    rate = schedule(1.0, 10, name="cosine", warmup_epochs=warmup, final_fraction=final).rate(time)
    assert (0 if time < warmup else final) - 1e-9 <= rate <= 1 + 1e-9


def test_plateau_waits_lowers_the_rate_and_stops_at_its_floor() -> None:
    plateau = schedule(1.0, 9, name="plateau", factor=0.5, patience=2, min_delta=0.1, min_learning_rate=0.3)
    rates = []
    for accuracy in (0.5, 0.6, 0.55, 0.7, 0.7, 0.7, 0.7, 0.7):  # 0.6 is not a rise of more than 0.1
        plateau.after_epoch(accuracy)
        rates.append(plateau.rate(0.0))
    assert rates == pytest.approx([1, 1, 0.5, 0.5, 0.5, 0.3, 0.3, 0.3])


@pytest.mark.parametrize("options", [{"factor": 1.0}, {"factor": 0.0}, {"patience": 0}, {"min_delta": -0.1}])
def test_plateau_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        schedule(1.0, 9, name="plateau", **options)


@pytest.mark.parametrize(
    ("accuracies", "stops"),
    [
        ([], False),
        ([0.5], False),
        ([0.5, 0.5], False),
        ([0.5, 0.5, 0.5], True),
        ([0.5, 0.55, 0.59], True),  # neither epoch exceeds 0.5 by more than 0.1
        ([0.5, 0.61, 0.5], False),
        ([0.5, 0.5, 0.5, 0.9], True),  # the run had already stopped
    ],
)
def test_early_stopping_counts_epochs_without_improvement(accuracies: list[float], stops: bool) -> None:
    assert should_stop(EarlyStoppingConfig(patience=2, min_delta=0.1), accuracies) is stops


def rows(test: list[float], validation: list[float]) -> list[dict[str, float]]:
    return [{"test_accuracy": a, "validation_accuracy": b} for a, b in zip(test, validation, strict=True)]


@pytest.mark.parametrize(
    ("name", "epoch", "oracle"), [("last_epoch", 5, False), ("best_validation", 2, False), ("best_test", 3, True)]
)
def test_a_rule_selects_the_first_of_equal_epochs_and_declares_whether_it_is_an_oracle(
    name: str, epoch: int, oracle: bool
) -> None:
    history = rows([0.1, 0.2, 0.9, 0.9, 0.3], [0.1, 0.8, 0.5, 0.8, 0.7])
    selection = selections.create(selections.parse(name))
    assert selection.select(history) == epoch
    assert selection.oracle is oracle
