"""The value that a plugin's selection rule returns is either used or refused, and never misinterpreted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from tiny_runs import data_set, restored_registries, run_config

from aimlib.component import ComponentConfig
from aimlib.errors import PluginError
from aimlib.registry import selections
from aimlib.training.loop import train
from aimlib.training.selections import Selection
from aimlib.training.selections.base import choose, refuse_unusable_selection


@pytest.fixture(autouse=True)
def own_registries() -> Iterator[None]:
    with restored_registries():
        yield


def rule(select: Callable[[Any, Any], Any], *, oracle: bool = False) -> ComponentConfig:
    """Register a rule with this method, and return its options."""
    members = {"__module__": "elsewhere", "__qualname__": "Own", "select": select, "oracle": oracle}
    selections.register("own_rule")(type("Own", (Selection,), members))
    return selections.parse("own_rule")


@pytest.mark.parametrize("answer", [0, 3, -1, 1.0, None, "1"])
def test_anything_except_the_number_of_an_epoch_is_refused(answer: object) -> None:
    with pytest.raises(PluginError, match=r"selection rule 'own_rule' .*select\(\) returned .* for a run of 2 epochs"):
        choose(rule(lambda self, epochs: answer), [{}, {}])


def test_integers_from_other_libraries_are_accepted_as_numbers() -> None:
    number = choose(rule(lambda self, epochs: np.int64(2)), [{}, {}])
    assert (number, type(number)) == (2, int)


def test_if_a_rule_selects_none_of_a_runs_epochs_the_error_contains_its_name() -> None:
    rule(lambda self, epochs: len(epochs) - 1 if len(epochs) == 1 else 0)
    with pytest.raises(PluginError, match=r"'own_rule' .*returned 0 for a run of 2 epochs; make it return the number"):
        train(run_config(training__selection="own_rule"), data_set())


def test_a_rule_that_reads_test_measures_must_declare_it() -> None:
    def best(self: Selection, epochs: Any) -> int:
        return 1 + min(range(len(epochs)), key=lambda number: epochs[number]["test_loss"])

    refuse_unusable_selection(rule(best, oracle=True), validation=True)
    with pytest.raises(PluginError, match="depends on test measures; use other measures, or set `oracle = True`"):
        refuse_unusable_selection(rule(best), validation=True)


@pytest.mark.parametrize("name", ["best_test", "best_validation", "last_epoch"])
def test_the_shipped_rules_can_be_used(name: str) -> None:
    refuse_unusable_selection(selections.parse(name), validation=True)


def test_without_validation_images_a_rule_receives_no_validation_measures() -> None:
    seen: list[Any] = []
    refuse_unusable_selection(
        rule(lambda self, epochs: [seen.append(epochs[-1]["validation_loss"]), len(epochs)][1]), validation=False
    )
    assert set(seen) == {None}
