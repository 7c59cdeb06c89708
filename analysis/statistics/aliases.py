"""What a contrast of arms measures in addition to its own effect: aliases, computed only from the arms and levels.

The model contains a mean, main effects and two-way interactions, with effects averaged over the levels of the other
factors. Interactions of three or more factors are assumed to be zero. An effect is an alias of a contrast if it changes
the contrast's expectation. This applies to any design, balanced or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Term = tuple[int, ...]
"""Positions of an effect's factors: one for a main effect, two for an interaction."""
_ZERO = 1e-9


class Model:
    """The columns for every effect, with one row per arm.

    Parameters
    ----------
    settings : the level of every factor, by arm.
    number : number of factors.
    """

    def __init__(self, settings: Mapping[str, Sequence[str]], number: int) -> None:
        self.arms = list(settings)
        self.levels = [list(dict.fromkeys(setting[at] for setting in settings.values())) for at in range(number)]
        main = [_coded([setting[at] for setting in settings.values()], self.levels[at]) for at in range(number)]
        self.columns: dict[Term, Floats] = {(at,): columns for at, columns in enumerate(main)}
        for one, two in combinations(range(number), 2):
            products = main[one][:, :, None] * main[two][:, None, :]
            self.columns[one, two] = products.reshape(len(self.arms), -1)
        self._all = np.hstack([np.empty((len(self.arms), 0)), *self.columns.values()])
        self._ends = np.cumsum([columns.shape[1] for columns in self.columns.values()])
        self._mains = np.hstack([np.ones((len(self.arms), 1)), *main])
        self._inverse = np.linalg.pinv(self._mains)

    def aliases(self, weights: Mapping[str, float], own: Term) -> list[Term]:
        """Return the effects other than `own` that change the expectation of a contrast with these weights."""
        vector = np.array([weights.get(arm, 0.0) for arm in self.arms])
        share = np.abs(vector @ self._all)
        parts = np.split(share, self._ends[:-1])
        return [
            term
            for term, part in zip(self.columns, parts, strict=True)
            if term != own and part.max(initial=0.0) > _ZERO
        ]

    def main(self, at: int, level: str, reference: str) -> dict[str, float] | None:
        """Return least-squares weights that compare two levels in a model of main effects; None if not estimable."""
        first = 1 + sum(len(levels) - 1 for levels in self.levels[:at])
        codes = _coded([level, reference], self.levels[at])
        inverse = self._inverse[first : first + codes.shape[1]]
        weights = (codes[0] - codes[1]) @ inverse
        change = weights @ self.columns[at,]
        own = float(change @ (codes[0] - codes[1]) / 2) if len(self.levels[at]) == 2 else 1.0
        if abs(own / 2) < _ZERO or np.abs(change).max() < _ZERO:
            return None
        scale = own / 2 if len(self.levels[at]) == 2 else 1.0
        return self._by_arm(weights / scale)

    def interaction(self, one: int, two: int, first: str, second: str) -> dict[str, float] | None:
        """Return the weights for the difference of differences between two factors with two levels each.

        None if the arms do not separate this interaction from the mean and the main effects.
        """
        if len(self.levels[one]) != 2 or len(self.levels[two]) != 2:
            return None
        product = self.columns[one, two][:, 0]
        if np.abs(product @ self._mains).max() > _ZERO:
            return None
        sign = _coded([first], self.levels[one]).item() * _coded([second], self.levels[two]).item()
        return self._by_arm(4 * sign * product / len(product))

    def _by_arm(self, weights: Floats) -> dict[str, float]:
        return {arm: float(weight) for arm, weight in zip(self.arms, weights, strict=True)}

    def parallel(self, one: Term, two: Term) -> bool:
        """Return whether two effects have the same column, up to sign, and cannot be separated in this design."""
        first, second = self.columns[one], self.columns[two]
        return first.shape == second.shape and bool(
            np.allclose(first, second, atol=_ZERO) or np.allclose(first, -second, atol=_ZERO)
        )


def _coded(labels: Sequence[str], levels: Sequence[str]) -> Floats:
    """Return sum-to-zero codes: -1 and 1 for two levels; in general, one column fewer than there are levels."""
    codes = np.vstack([np.full(len(levels) - 1, -1.0), np.eye(len(levels) - 1)])
    return codes[[levels.index(label) for label in labels]]
