"""The spread of paired differences used to plan a study, and how well it is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.statistics.distributions import chi2_quantile

Numbers = npt.NDArray[np.float64]
_NODES = 400


@dataclass(frozen=True)
class Spread:
    """The standard deviation of paired differences.

    Attributes
    ----------
    sd : standard deviation of the differences, in pp or in the unit of the measure; greater than 0.
    freedom : degrees of freedom of the estimate (number of pairs - 1); infinite if the value is assumed to be known.
    """

    sd: float
    freedom: float = math.inf

    def __post_init__(self) -> None:
        if not 0 < self.sd < math.inf or not self.freedom >= 1:
            raise ValueError(f"a spread needs 0 < sd and at least 1 degree of freedom; got {self.sd}, {self.freedom}")

    @property
    def is_known(self) -> bool:
        """Whether the standard deviation is assumed to be exact."""
        return math.isinf(self.freedom)

    def quantile(self, probability: npt.ArrayLike) -> Numbers:
        """Return quantiles of the true standard deviation, s √(f / χ²(1 - probability; f)).

        These are limits of confidence intervals for the true value, and also quantiles of its posterior under the prior
        1/σ.
        """
        p: npt.NDArray[Any] = np.asarray(probability, dtype=float)
        if self.is_known:
            return np.full(p.shape, self.sd)
        return np.asarray(self.sd * np.sqrt(self.freedom / chi2_quantile(1 - p, self.freedom)))

    def interval(self, alpha: float = 0.05) -> tuple[float, float]:
        """Return the limits of the 1 - alpha interval for the true standard deviation."""
        low, high = self.quantile([alpha / 2, 1 - alpha / 2])
        return float(low), float(high)

    @property
    def cautious(self) -> float:
        """Upper limit of the one-sided 80 % interval for the true standard deviation, for planning."""
        return float(self.quantile(0.8))

    @property
    def mean(self) -> float:
        """Posterior mean of the true standard deviation; infinite with 1 degree of freedom."""
        if self.is_known:
            return self.sd
        if self.freedom <= 1:
            return math.inf
        half = self.freedom / 2
        return self.sd * math.exp(math.log(half) / 2 + math.lgamma(half - 0.5) - math.lgamma(half))

    def draws(self, rng: np.random.Generator, studies: int) -> Numbers:
        """Return random draws of the true standard deviation from its posterior, one per simulated study [studies]."""
        if self.is_known:
            return np.full(studies, self.sd)
        return np.asarray(self.sd * np.sqrt(self.freedom / rng.chisquare(self.freedom, studies)))

    def nodes(self) -> tuple[Numbers, Numbers]:
        """Return values of the true standard deviation, with weights for computing a mean over its posterior."""
        if self.is_known:
            return np.array([self.sd]), np.array([1.0])
        places, weights = np.polynomial.legendre.leggauss(_NODES)
        return self.quantile((np.asarray(places) + 1) / 2), np.asarray(weights) / 2
