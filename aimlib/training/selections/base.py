"""The base class of all selection rules, which choose the epoch to report for a run."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

from aimlib.component import ComponentConfig
from aimlib.errors import PluginError, counted
from aimlib.records import EPOCHS
from aimlib.registry import selections


class SelectionConfig(ComponentConfig):
    """Options for a selection rule."""

    monitors_validation: ClassVar[bool] = False
    """Whether it uses the validation accuracy."""


class Selection(ABC):
    """Base class of the `aimlib.selections` plugins.

    Attributes
    ----------
    oracle : whether the rule uses test data; results are then marked wherever they are shown. The term is from
        DomainBed (Gulrajani and Lopez-Paz, 2021).
    """

    Config = SelectionConfig
    oracle: ClassVar[bool] = False

    def __init__(self, config: SelectionConfig) -> None:
        self.config = config

    @abstractmethod
    def select(self, epochs: Sequence[Mapping[str, Any]]) -> int:
        """Return the number (from 1) of the epoch to report; each epoch is a mapping as in `aimlib.records.EPOCHS`."""


def first_best(epochs: Sequence[Mapping[str, Any]], column: str) -> int:
    """Return the first epoch with the highest value of `column`."""
    return max(range(len(epochs)), key=lambda i: (epochs[i][column], -i)) + 1


def choose(rule: ComponentConfig, epochs: Sequence[Mapping[str, Any]]) -> int:
    """Return the number (from 1) of the epoch that a rule selects.

    Raises
    ------
    PluginError: the rule returned something other than the number of an epoch.
    """
    answer: Any = cast("Selection", selections.create(rule)).select(epochs)
    try:
        number = operator.index(answer)
    except TypeError:
        number = 0
    if not 1 <= number <= len(epochs):
        given = repr(answer) if answer is None or isinstance(answer, float | int) else f"a {type(answer).__name__}"
        raise PluginError(
            f"{selections.described(rule.name)}: select() returned {given} for a run of "
            f"{counted(len(epochs), 'epoch')}; make it return the number of one of these epochs, with 1 for the first"
        )
    return number


_SHARES = (0.5, 0.7, 0.6)
"""Accuracies of the epochs with which a rule is tried; neither the first nor the last epoch is the best."""


def refuse_unusable_selection(rule: ComponentConfig, *, validation: bool) -> None:
    """Try a rule on the curves of short runs, because any run may end early.

    Parameters
    ----------
    validation : whether there are validation images; otherwise, validation measures are null.

    Raises
    ------
    PluginError: the rule selects no epoch, or it uses test measures without `oracle`, so results would not be marked.
    """
    for length in range(1, len(_SHARES) + 1):
        if not validation:
            _refuse_missing_validation(rule, length)
        chosen = choose(rule, _curve(length, _SHARES, validation=validation))
        others = _SHARES[length - 1 :: -1], [1 - share for share in _SHARES]
        if not selections.get(rule.name).oracle and any(
            choose(rule, _curve(length, test, validation=validation)) != chosen for test in others
        ):
            raise PluginError(
                f"{selections.described(rule.name)}: select() depends on test measures; use other measures, or set "
                f"`oracle = True` in the class, so that every result is marked"
            )


def _refuse_missing_validation(rule: ComponentConfig, length: int) -> None:
    """Refuse a rule that fails only because the validation measures are null."""
    try:
        choose(rule, _curve(length, _SHARES, validation=False))
    except (TypeError, ValueError) as error:
        choose(rule, _curve(length, _SHARES, validation=True))  # a rule that always fails keeps its own error
        raise PluginError(
            f"{selections.described(rule.name)}: select() needs validation measures, which are None because "
            f"training.validation_fraction is 0; increase it, or choose a different rule"
        ) from error


def _curve(length: int, test: Sequence[float], *, validation: bool) -> list[dict[str, Any]]:
    """Return the rows of a run whose test measures follow `test`, and whose other measures follow `_SHARES`."""
    rows = []
    for number in range(length):
        row: dict[str, Any] = {}
        for column in EPOCHS:
            share = test[number] if column.name.startswith("test_") else _SHARES[number]
            row[column.name] = share if "accuracy" in column.name else 1 - share
            if column.name.startswith("validation_") and not validation:
                row[column.name] = None
        rows.append(row | {"epoch": number + 1, "learning_rate": 0.1, "seconds": 1.0})
    return rows
