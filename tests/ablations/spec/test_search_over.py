"""`search.over` in the notation of other tools: the message shows how to write it here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_study import changed, write

from ablations.spec.study import read_study
from aimlib.errors import ConfigError

RATE = "training.optimizer.learning_rate"


def over(folder: Path, value: Any) -> Any:
    document = changed({"search": {"vary": "aim", "trials": 2, "over": value}})
    return read_study(write(folder, document)).spec.search.over  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "value",
    [
        {RATE: [0.1, 0.2]},
        {RATE: {"values": [0.1, 0.2]}},
        {RATE: {"type": "choice", "choices": [0.1, 0.2]}},
        [{RATE: [0.1, 0.2]}],
        [{"name": RATE, "type": "choice", "values": [0.1, 0.2]}],
        [{"name": RATE, "values": [0.1, 0.2]}],
        {"aim": {RATE: [0.1, 0.2]}},
    ],
)
def test_values_are_shown_as_levels_of_a_grid_and_as_a_factor(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        over(tmp_path, value)
    (message,) = caught.value.problems
    assert "search.over: " in message
    assert f"over: [{RATE}]" in message
    assert f"levels: {{{RATE}: [0.1, 0.2]}}" in message
    assert f"factors: {{{RATE}: [0.1, 0.2]}}" in message


@pytest.mark.parametrize(
    "value",
    [
        {RATE: {"min": 1e-4, "max": 1e-1}},
        {RATE: {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}},
        {RATE: "loguniform(1e-4, 1e-1)"},
        [{"name": RATE, "type": "range", "bounds": [1e-4, 1e-1]}],
    ],
)
def test_ranges_are_said_to_follow_from_the_components(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ConfigError, match=r"search.over: .*ranges come from their components' search spaces") as caught:
        over(tmp_path, value)
    assert f"over: [{RATE}]" in str(caught.value)


@pytest.mark.parametrize("value", [3, {}, [3], [None], {"aim": 3}, {"aim": "model.update"}, [[RATE]]])
def test_what_is_no_list_of_key_paths_is_refused_with_an_example(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ConfigError, match=r"search.over: .*give a .*key path.*e.g. \[model.update"):
        over(tmp_path, value)


def test_one_path_is_a_list_of_one(tmp_path: Path) -> None:
    assert over(tmp_path, RATE) == (RATE,)
