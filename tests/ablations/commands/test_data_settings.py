"""Options of a data set on the command line."""

from __future__ import annotations

import pytest

from ablations.commands.data import parse_settings
from aimlib.errors import UsageError


def test_key_paths_reach_nested_options_as_in_a_study() -> None:
    pairs = ["classes=3", "split.test_fraction=0.3", "split.seed=1"]
    assert parse_settings(pairs) == {"classes": 3, "split": {"test_fraction": 0.3, "seed": 1}}
    assert parse_settings(["split={folds: 5}", "split.fold=1"]) == {"split": {"folds": 5, "fold": 1}}


@pytest.mark.parametrize("pairs", [["a=1", "a=1"], ["a.b=1", "a.b=2"], ["a=1", "a.b=2"], ["a.b=1", "a=2"]])
def test_a_key_given_twice_is_refused(pairs: list[str]) -> None:
    with pytest.raises(UsageError, match="is given twice; give it only once"):
        parse_settings(pairs)
