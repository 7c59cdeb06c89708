"""When a verdict is allowed, and at which level: at planned looks, or after any number of pairs."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from analysis.wording import number_format

FEWEST_PAIRS = 5
"""Minimum number of pairs for a verdict."""
MOST_PAIRS = 1000
"""Maximum number of pairs after which a study without planned looks can have a verdict."""
ANY = "any"
"""The value of `looks` in a study in which a verdict is allowed after any number of pairs."""
MIXTURE_WIDTH = 1.25
"""Default standard deviation of the standardized effects that a confidence sequence assumes.

With 1.25, a verdict needs fewer pairs than with .5 or 2.5 (docs/calibration.md). With at most .833, the interval after
5 pairs is unbounded at .05.
"""
CONSTANT = "constant"
SPENDINGS = (CONSTANT, "obrien_fleming", "lan_demets_pocock", "lan_demets_obrien_fleming")
"""Names of the designs for `spending`."""
_SYNONYMS = {"pocock": CONSTANT}


def spending_of(name: object) -> str:
    """Return the design that a name refers to; ``pocock`` means ``constant``, which is Pocock's design for t tests.

    Raises
    ------
    ValueError: there is no design with this name; the message lists the designs.
    """
    if isinstance(name, str) and (found := _SYNONYMS.get(name, name)) in SPENDINGS:
        return found
    close = difflib.get_close_matches(str(name), [*SPENDINGS, *_SYNONYMS], 1)
    meant = f", perhaps {close[0]}" if close else ""
    raise ValueError(f"give one of {', '.join([*SPENDINGS, *_SYNONYMS])}{meant}; got {name!r}")


@dataclass(frozen=True)
class Looks:
    """When a verdict is allowed, and at which level.

    Attributes
    ----------
    pairs : increasing numbers of pairs, at least 5 each.
    alpha : overall error rate across all looks, including the further block.
    further_block : number of pairs in an optional block after the last look; 0: no such block. With a block, half of
        alpha is spent on the looks and half on the block, which is tested with all pairs.
    spending : how alpha is spent across the looks; see `analysis.looks.spending`.
    mixture_width : None: the looks were planned. A number: a verdict is allowed after any number of pairs, based on the
        confidence sequence in `analysis.looks.anytime` with this g; see `at_any_time`.
    """

    pairs: tuple[int, ...]
    alpha: float = 0.05
    further_block: int = 0
    spending: str = CONSTANT
    mixture_width: float | None = None

    def __post_init__(self) -> None:
        if not self.pairs or list(self.pairs) != sorted(set(self.pairs)) or self.pairs[0] < FEWEST_PAIRS:
            raise ValueError(
                f"looks must be increasing numbers of pairs, at least {FEWEST_PAIRS} each; got {self.pairs}"
            )
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha must be between 0 and 1; got {self.alpha!r}")
        if self.further_block < 0:
            raise ValueError(f"further_block must not be negative; got {self.further_block}")
        object.__setattr__(self, "spending", spending_of(self.spending))
        if self.mixture_width is not None:
            self._check_any_time(self.mixture_width)

    def _check_any_time(self, width: float) -> None:
        if not 0 < width < math.inf:
            raise ValueError(f"mixture_width must be a positive number; got {width!r}")
        if self.further_block or self.spending != CONSTANT:
            raise ValueError(
                "looks: any cannot be combined with further_block or spending, which are for planned looks; remove them"
            )

    @classmethod
    def at_any_time(cls, mixture_width: float | None = None, alpha: float = 0.05) -> Looks:
        """Return looks after any number of pairs from 5 to 1,000, with one overall error rate.

        Parameters
        ----------
        mixture_width : g of the confidence sequence; None: the default, 1.25.
        """
        width = MIXTURE_WIDTH if mixture_width is None else float(mixture_width)
        return cls(tuple(range(FEWEST_PAIRS, MOST_PAIRS + 1)), alpha, mixture_width=width)

    @property
    def anytime(self) -> bool:
        """Whether a verdict is allowed after any number of pairs."""
        return self.mixture_width is not None

    @property
    def planned(self) -> bool:
        """Whether all looks were planned and have the same level, as in studies from earlier versions."""
        return not self.anytime and self.spending == CONSTANT

    @property
    def stored(self) -> list[int] | dict[str, Any]:
        """The form in which a plan contains `pairs`, `spending` and `mixture_width`: a list if there are only `pairs`.

        Earlier versions, which only know a list, refuse a plan with an object here and therefore cannot misread it.
        """
        if self.anytime:
            return {ANY: {"mixture_width": self.mixture_width}}
        return list(self.pairs) if self.planned else {"pairs": list(self.pairs), "spending": self.spending}

    @cached_property
    def numbers(self) -> tuple[int, ...]:
        """Numbers of pairs after which a verdict is allowed, including the end of the further block."""
        return self.pairs + ((self.pairs[-1] + self.further_block,) if self.further_block else ())

    @cached_property
    def levels(self) -> tuple[float, ...]:
        """Level of the test at each of `numbers`; 0 if the interval is unbounded."""
        return self.levels_at(self.alpha)

    @property
    def unbounded(self) -> int:
        """The largest of `numbers` for which the interval is unbounded; 0 if there is none."""
        return max((n for n, level in zip(self.numbers, self.levels, strict=True) if level == 0), default=0)

    def levels_at(self, alpha: float) -> tuple[float, ...]:
        """Return the levels at `numbers` for which the overall error rate is `alpha`, as Holm's steps require."""
        if self.anytime:
            return self._levels_at_any_time(alpha)
        share = alpha / 2 if self.further_block else alpha
        return self._levels_of_looks(share) + ((share,) if self.further_block else ())

    def _levels_of_looks(self, share: float) -> tuple[float, ...]:
        # Reading a plan must not import scipy.
        if self.spending == CONSTANT:
            from analysis.looks.sequential import constant  # noqa: PLC0415

            return (constant(self.pairs, share),) * len(self.pairs)
        from analysis.looks.spending import levels  # noqa: PLC0415

        return levels(self.pairs, share, self.spending)

    def _levels_at_any_time(self, alpha: float) -> tuple[float, ...]:
        from analysis.looks.anytime import levels  # noqa: PLC0415

        return tuple(levels(self.pairs, alpha, self.mixture_width or 0.0).tolist())

    def levels_of(self, alphas: Sequence[float]) -> dict[float, tuple[float, ...]]:
        """Return `levels_at` for each alpha; for very many alphas, levels are interpolated without loss of accuracy."""
        if not self.planned:
            return {alpha: self.levels_at(alpha) for alpha in dict.fromkeys(alphas)}
        from analysis.looks.sequential import constants  # noqa: PLC0415

        halves = 2 if self.further_block else 1
        known = constants(self.pairs, [alpha / halves for alpha in dict.fromkeys(alphas)])
        last = 1 if self.further_block else 0
        return {
            alpha: (known[alpha / halves],) * len(self.pairs) + (alpha / halves,) * last
            for alpha in dict.fromkeys(alphas)
        }

    def level_to_plan_with(self, pairs: int) -> float:
        """Return the level that represents all looks in a power calculation with the given number of pairs.

        This is the common level if all looks share one. Otherwise, it is the level of the last planned look, or the
        level after this number of pairs if a verdict is allowed after any number.
        """
        if self.anytime:
            return self.levels[self.numbers.index(min(max(pairs, FEWEST_PAIRS), MOST_PAIRS))]
        return self.levels[0] if self.planned else self.levels[len(self.pairs) - 1]

    @property
    def text(self) -> str:
        """When and at which level a verdict is allowed: ``after 5, 8 and 12 pairs, each at the 97.87 % level``."""
        if self.anytime:
            return f"after any number of pairs (at least {FEWEST_PAIRS})"
        first, last = number_format.level(self.levels[0]), number_format.level(self.levels[-1])
        each = "each " if len(self.pairs) > 1 else ""
        at = f"{each}at the {first} level"
        if self.spending != CONSTANT and len(self.pairs) > 1:
            several = [number_format.level(level).removesuffix(" %") for level in self.levels[: len(self.pairs)]]
            at = f"at the {number_format.listing(several)} % levels"
        said = f"after {number_format.listing([str(number) for number in self.pairs])} pairs, {at}"
        if self.further_block:
            said += f", and once more after {self.numbers[-1]} pairs, including the further block, at the {last} level"
        return said

    def reached(self, pairs: int) -> tuple[int, ...]:
        """Return the looks for which the given number of pairs is sufficient."""
        return tuple(number for number in self.numbers if number <= pairs)

    def p_value(self, p_values: Sequence[float]) -> float:
        """Return the joint p-value of a sequence of looks: the smallest overall alpha at which any look rejects.

        Parameters
        ----------
        p_values : p-values of the paired t tests at the first, second, ... of `numbers`; NaN if a look has none.
        """
        if self.anytime:
            from analysis.looks.anytime import p_value  # noqa: PLC0415

            return p_value(p_values, self.pairs[: len(p_values)], self.mixture_width or 0.0)
        regular, further = p_values[: len(self.pairs)], p_values[len(self.pairs) :]
        known = {place: p for place, p in enumerate(regular) if not math.isnan(p)}
        found = [self._p_of_looks(known)] if known else []
        found += [p for p in further if not math.isnan(p)]
        if not found:
            return math.nan
        return min(1.0, (2 if self.further_block else 1) * min(found))

    def _p_of_looks(self, known: Mapping[int, float]) -> float:
        """Return the joint p-value of the looks before the further block, from the known p-values by position."""
        if self.spending == CONSTANT:
            from analysis.looks.sequential import overall_error  # noqa: PLC0415

            return overall_error(self.pairs, min(known.values()))  # the error rate increases with the level
        from analysis.looks.spending import overall_p  # noqa: PLC0415

        return overall_p(self.pairs, known, self.spending)


def looks_from(stored: object, alpha: float = 0.05, further_block: int = 0) -> Looks:
    """Return the looks in a plan; see `Looks.stored`.

    Raises
    ------
    ValueError: the value does not describe looks.
    """
    if isinstance(stored, Mapping):
        if set(stored) == {ANY} and isinstance(stored[ANY], Mapping) and set(stored[ANY]) == {"mixture_width"}:
            if further_block:
                raise ValueError("looks after any number of pairs cannot have a further_block")
            return Looks.at_any_time(stored[ANY]["mixture_width"], alpha)
        if set(stored) == {"pairs", "spending"}:
            return Looks(_numbers(stored["pairs"]), alpha, further_block, spending_of(stored["spending"]))
    return Looks(_numbers(stored), alpha, further_block)


def _numbers(stored: object) -> tuple[int, ...]:
    if not isinstance(stored, (list, tuple)) or any(type(number) is not int for number in stored):
        raise ValueError(f"looks must be a list of numbers of pairs; got {stored!r}")
    return tuple(stored)
