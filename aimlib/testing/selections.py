"""Conformance tests for selection rules."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from aimlib.records import EPOCHS
from aimlib.registry import selections
from aimlib.testing.conformance import Conformance
from aimlib.testing.tiny_training import assert_reproducible
from aimlib.training.selections.base import choose


class SelectionConformance(Conformance):
    """Tests for a selection rule, which must select an epoch of every run, using only the measures that it declares.

    Attributes
    ----------
    lengths : numbers of epochs of the runs in the tests; several, because a run may end early.
    curves : number of runs of each length.
    """

    registry = selections
    lengths: ClassVar[tuple[int, ...]] = (1, 2, 3, 5, 8)
    curves: ClassVar[int] = 6

    def test_it_selects_an_epoch_of_every_run(self) -> None:
        """The test covers all lengths, and runs in which all epochs are equal."""
        for rows in self._runs():
            assert 1 <= choose(self.config(), rows) <= len(rows)
            assert 1 <= choose(self.config(), [{**rows[0], "epoch": row["epoch"]} for row in rows]) <= len(rows)

    def test_it_depends_on_the_run_alone(self) -> None:
        """The same run always gives the same epoch, and the run is not modified."""
        for rows in self._runs():
            before = copy.deepcopy(rows)
            assert choose(self.config(), rows) == choose(self.config(), copy.deepcopy(before))
            assert rows == before

    def test_test_measures_decide_only_where_it_is_an_oracle(self) -> None:
        """Rules that use test measures must set `oracle = True`, so that results state this; other rules must not."""
        changed = [
            choose(self.config(), rows) != choose(self.config(), _mirrored(rows, "test_")) for rows in self._runs()
        ]
        assert any(changed) == selections.get(self.name).oracle

    def test_it_needs_validation_images_only_where_it_says_so(self) -> None:
        """Without `monitors_validation`, the rule selects an epoch even if there are no validation measures."""
        if self.config().monitors_validation:  # type: ignore[attr-defined]
            return
        for rows in self._runs():
            without = [_without(row, "validation_") for row in rows]
            try:
                chosen = choose(self.config(), without)
            except Exception as error:
                raise AssertionError(
                    f"it fails if validation measures are null ({error}); if it needs them, write `class "
                    f"Config(SelectionConfig): monitors_validation: ClassVar[bool] = True` in it"
                ) from error
            assert chosen == choose(self.config(), rows)

    def test_runs_have_the_same_bits_when_they_are_interrupted(self) -> None:
        """A run is trained, then repeated, and then resumed after every step."""
        assert_reproducible({"selection": {"name": self.name, **self.options}})

    def _runs(self) -> Iterator[list[dict[str, Any]]]:
        """Yield runs with random measures, as one row of `aimlib.records.EPOCHS` per epoch."""
        draw = np.random.default_rng(0)
        for epochs in self.lengths:
            for _ in range(self.curves):
                yield [
                    {column.name: float(draw.uniform()) for column in EPOCHS} | {"epoch": number}
                    for number in range(1, epochs + 1)
                ]


def _mirrored(rows: list[dict[str, Any]], prefix: str) -> list[dict[str, Any]]:
    """Return the rows with 1 − value in the columns that begin with `prefix`, so the best epoch becomes the worst."""
    return [{name: 1 - value if name.startswith(prefix) else value for name, value in row.items()} for row in rows]


def _without(row: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name: None if name.startswith(prefix) else value for name, value in row.items()}
