"""Simulated rates, and the bands in which they must lie."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from analysis.looks import Looks

DELTA, REPORTED = 1.0, 4.92
LOOKS = Looks((5, 8, 12))


@dataclass(frozen=True)
class Rate:
    """A rate with the band in which it must lie.

    Attributes
    ----------
    name : what was counted.
    value : share of the repetitions.
    repetitions : number of repetitions.
    low, high : the band without Monte Carlo error; a value that is outside by more than four standard errors is a
        fault.
    """

    name: str
    value: float
    repetitions: int
    low: float = 0.0
    high: float = 1.0

    @property
    def error(self) -> float:
        """Monte Carlo standard error."""
        return float(np.sqrt(max(self.value * (1 - self.value), 1 / self.repetitions) / self.repetitions))

    @property
    def holds(self) -> bool:
        """Return whether the rate is inside its band."""
        return self.low - 4 * self.error <= self.value <= self.high + 4 * self.error


@dataclass(frozen=True)
class Table:
    """A table on the page.

    Attributes
    ----------
    columns, rows : as texts.
    rates : the rates that have bands.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    rates: tuple[Rate, ...] = field(default=())
