"""The base of all selection rules: which epoch of a run is reported."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from aimlib.component import ComponentConfig


class SelectionConfig(ComponentConfig):
    """Options of a selection rule."""

    monitors_validation: ClassVar[bool] = False
    """Whether it uses the validation accuracy."""


class Selection(ABC):
    """Base of the family `aimlib.selections`.

    Attributes
    ----------
    oracle : whether the rule uses test data; such a result is marked wherever it is shown. The name is
        DomainBed's (Gulrajani and Lopez-Paz, 2021).
    """

    Config = SelectionConfig
    oracle: ClassVar[bool] = False

    def __init__(self, config: SelectionConfig) -> None:
        self.config = config

    @abstractmethod
    def select(self, epochs: Sequence[Mapping[str, Any]]) -> int:
        """Return the number (from 1) of the epoch to report, given one mapping of `aimlib.records.EPOCHS` per epoch."""


def first_best(epochs: Sequence[Mapping[str, Any]], column: str) -> int:
    """Return the first epoch in which `column` is at its highest."""
    return max(range(len(epochs)), key=lambda i: (epochs[i][column], -i)) + 1
