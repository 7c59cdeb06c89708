"""When a verdict may be read, and at which level: the looks of a group-sequential study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from analysis import number_format

FEWEST_PAIRS = 5
"""Number of pairs below which there is no verdict."""


@dataclass(frozen=True)
class Looks:
    """When a verdict may be read, and at which level.

    Attributes
    ----------
    pairs : numbers of pairs, rising, at least 5 each.
    alpha : error of all looks together, the further block's included.
    further_block : pairs of one more block that may follow the last look; 0: none. With one, half of alpha is spent on
        the looks and half on the block, which is tested with all pairs.
    """

    pairs: tuple[int, ...]
    alpha: float = 0.05
    further_block: int = 0

    def __post_init__(self) -> None:
        if not self.pairs or list(self.pairs) != sorted(set(self.pairs)) or self.pairs[0] < FEWEST_PAIRS:
            raise ValueError(f"looks must be rising numbers of pairs, at least {FEWEST_PAIRS} each; got {self.pairs}")
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha must be between 0 and 1; got {self.alpha!r}")
        if self.further_block < 0:
            raise ValueError(f"further_block must not be negative; got {self.further_block}")

    @cached_property
    def numbers(self) -> tuple[int, ...]:
        """Numbers of pairs at which a verdict may be read, the further block's end included."""
        return self.pairs + ((self.pairs[-1] + self.further_block,) if self.further_block else ())

    @cached_property
    def levels(self) -> tuple[float, ...]:
        """Level of the test at each of `numbers`."""
        return self.levels_at(self.alpha)

    def levels_at(self, alpha: float) -> tuple[float, ...]:
        """Return the levels of `numbers` that give all looks together the error `alpha`, as Holm's steps require."""
        from analysis.looks.sequential import constant  # noqa: PLC0415 -- reading a plan must not load scipy

        share = alpha / 2 if self.further_block else alpha
        return (constant(self.pairs, share),) * len(self.pairs) + ((share,) if self.further_block else ())

    def levels_of(self, alphas: Sequence[float]) -> dict[float, tuple[float, ...]]:
        """Return `levels_at` by alpha; of very many alphas interpolated, as accurate as computed."""
        from analysis.looks.sequential import constants  # noqa: PLC0415

        halves = 2 if self.further_block else 1
        known = constants(self.pairs, [alpha / halves for alpha in dict.fromkeys(alphas)])
        last = 1 if self.further_block else 0
        return {
            alpha: (known[alpha / halves],) * len(self.pairs) + (alpha / halves,) * last
            for alpha in dict.fromkeys(alphas)
        }

    @property
    def text(self) -> str:
        """When the verdict is read, and at which level: ``after 5, 8 and 12 pairs, each at the 97.87 % level``."""
        first, last = number_format.level(self.levels[0]), number_format.level(self.levels[-1])
        each = "each " if len(self.pairs) > 1 else ""
        said = (
            f"after {number_format.listing([str(number) for number in self.pairs])} pairs, {each}at the {first} level"
        )
        if self.further_block:
            said += f", and once more after {self.numbers[-1]}, with the further block, at the {last} level"
        return said

    def reached(self, pairs: int) -> tuple[int, ...]:
        """Return the looks for which this many pairs suffice."""
        return tuple(number for number in self.numbers if number <= pairs)

    def p_value(self, p_values: Sequence[float]) -> float:
        """Return the p-value of a sequence of looks: the smallest overall alpha at which one of them rejects.

        Parameters
        ----------
        p_values : of the paired t tests at the first, second, ... of `numbers`; NaN if a look has none.
        """
        from analysis.looks.sequential import overall_error  # noqa: PLC0415

        regular, further = p_values[: len(self.pairs)], p_values[len(self.pairs) :]
        known = [p for p in regular if not math.isnan(p)]
        found = [overall_error(self.pairs, min(known))] if known else []  # it rises with the level
        found += [p for p in further if not math.isnan(p)]
        if not found:
            return math.nan
        return min(1.0, (2 if self.further_block else 1) * min(found))
