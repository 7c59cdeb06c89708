"""Simulated rates, and the bands in which they must lie."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from analysis.looks import Looks

DELTA, REPORTED = 1.0, 4.92
LOOKS = Looks((5, 8, 12))


@dataclass(frozen=True)
class Rate:
    """One rate with the band in which it must lie.

    Attributes
    ----------
    name : the outcome that was counted.
    value : share of the repetitions with this outcome.
    repetitions : number of simulated repetitions.
    low, high : limits of the band, before allowing for Monte Carlo error; a value more than four standard errors
        outside the band is a fault.
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
        """Return whether the rate is in its band, allowing for Monte Carlo error."""
        return self.low - 4 * self.error <= self.value <= self.high + 4 * self.error


@dataclass(frozen=True)
class Table:
    """A table on the page.

    Attributes
    ----------
    columns, rows : headings and cells, as text.
    rates : the rates in the table that have a band.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    rates: tuple[Rate, ...] = field(default=())
