"""Search dimensions: the ranges over which a component's options may be searched.

A plugin declares them as ``search_space = {"channels": Integer(16, 1024, log=True)}``; the search turns
them into Optuna distributions. The three kinds and their fields follow Optuna's vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Categorical:
    """One of `choices` (plain JSON values)."""

    choices: tuple[str | int | float | bool | None, ...]

    def __post_init__(self) -> None:
        if len(set(map(repr, self.choices))) < 2:
            raise ValueError(f"a categorical dimension needs two different choices; got {self.choices}")


@dataclass(frozen=True)
class Integer:
    """An integer in [low, high], on a logarithmic scale where `log`."""

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        _check_range(self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Real:
    """A real number in [low, high], on a logarithmic scale where `log`."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        _check_range(self.low, self.high, log=self.log)


Dimension = Categorical | Integer | Real


def _check_range(low: float, high: float, *, log: bool) -> None:
    if not low < high:
        raise ValueError(f"a range needs low < high; got {low} and {high}")
    if log and low <= 0:
        raise ValueError(f"a logarithmic range needs low > 0; got {low}")
