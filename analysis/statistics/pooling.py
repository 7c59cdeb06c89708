"""Mean differences from several studies: their mean, whether they differ, and partial pooling.

The studies are independent: no run belongs to two studies. There are three estimates, in the order of the assumptions
they need, fewest first:

* the equal-weight mean of these studies, using Welch's standard error with Satterthwaite's degrees of freedom (1946);
* the mean over all settings from which these studies are a sample: random effects with the between-study variance of
  Paule and Mandel (1982) and the interval of Hartung and Knapp (2001) and Sidik and Jonkman (2002);
* partial pooling: the effects are draws from one normal distribution whose spread has a half-normal prior. The
  posterior is integrated on a grid, not sampled (Gelman et al., Bayesian Data Analysis, chapter 5; Benavoli et al. 2017
  for classifiers on several data sets).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft, optimize, stats

from analysis.statistics.interval import Interval

Numbers = npt.NDArray[np.float64]
FEWEST_FOR_A_SAMPLE = 3
"""Minimum number of studies for a mean over all settings; with two, the interval would have one degree of freedom."""
_SPREADS = 48
_PER_ERROR = 24
"""Number of grid points per smallest standard error."""
_MOST_POINTS = 2**16
_EXACT = 0.005
"""Smallest standard error, in multiples of the prior's scale; used for a study without spread."""
_TAILS = 15.0
"""How far the grid extends beyond the outermost estimates, in standard errors and in multiples of the prior's scale."""


@dataclass(frozen=True)
class Heterogeneity:
    """Whether effects differ between studies.

    Attributes
    ----------
    p : p-value of Welch's (1951) test that all true effects are equal, with k - 1 and Satterthwaite-like degrees of
        freedom; NaN if an effect has no spread.
    sd : between-study standard deviation by Paule and Mandel, in the unit of the effects.
    """

    p: float
    sd: float


@dataclass(frozen=True)
class Pooled:
    """The posterior of partially pooled effects.

    Attributes
    ----------
    means, lower, upper : posterior mean and interval limits of the effect in every study, [studies].
    above_zero : probability that the effect in every study exceeds 0, [studies].
    mean, mean_lower, mean_upper : mean effect over all settings, with its interval limits.
    sd, sd_lower, sd_upper : spread of the effects between settings, with its interval limits.
    further : probabilities that the effect in a further setting is below -δ, within ±δ, above δ; they add up to 1.
    further_lower, further_upper : limits between which the effect in a further setting is expected.
    further_above_zero : probability that the effect in a further setting exceeds 0.
    scale : scale of the half-normal prior on the spread.
    """

    means: Numbers
    lower: Numbers
    upper: Numbers
    above_zero: Numbers
    mean: float
    mean_lower: float
    mean_upper: float
    sd: float
    sd_lower: float
    sd_upper: float
    further: tuple[float, float, float]
    further_lower: float
    further_upper: float
    further_above_zero: float
    scale: float


def equal_weight_mean(effects: Sequence[Interval]) -> Interval:
    """Return the equal-weight mean of the effects in these studies, at the level of the first study.

    The result's `n` is the smallest number of pairs in any study, and its `sd` is the standard error × √n. ValueError
    if a study has fewer than two pairs.
    """
    return _around(float(np.mean([each.mean for each in effects])), effects, 1 / len(effects))


def difference(first: Interval, second: Interval) -> Interval:
    """Return the first effect minus the second, with Welch's interval at the level of the first."""
    return _around(first.mean - second.mean, (first, second), 1.0)


def _around(centre: float, effects: Sequence[Interval], weight: float) -> Interval:
    squares = _errors(effects) ** 2
    degrees = np.array([each.n - 1 for each in effects])
    spread = float((squares**2 / degrees).sum())
    freedom = float(squares.sum() ** 2 / spread) if spread > 0 else float(degrees.sum())
    critical = float(stats.t.ppf(1 - effects[0].alpha / 2, freedom))
    error, n = weight * float(np.sqrt(squares.sum())), min(each.n for each in effects)
    return Interval(
        n, centre, error * n**0.5, centre - critical * error, centre + critical * error, effects[0].alpha, critical
    )


def _errors(effects: Sequence[Interval]) -> Numbers:
    """Return the standard error of every effect."""
    if len(effects) < 2 or min(each.n for each in effects) < 2:
        raise ValueError("at least two studies are needed, and two pairs in each")
    return np.array([each.sd / each.n**0.5 for each in effects])


def random_effects_mean(effects: Sequence[Interval]) -> Interval | None:
    """Return the mean over all settings from which these studies are a sample; None with fewer than three studies.

    The result's `n` is the number of studies. The variance of Hartung and Knapp does not have a lower bound, so the
    interval may be shorter than that of `equal_weight_mean`.
    """
    errors = _errors(effects)
    if len(effects) < FEWEST_FOR_A_SAMPLE or not errors.all():
        return None
    means = np.array([each.mean for each in effects])
    weights = 1 / (errors**2 + _between(means, errors))
    centre = float(np.average(means, weights=weights))
    k, alpha = len(effects), effects[0].alpha
    error = float(np.sqrt(np.average((means - centre) ** 2, weights=weights) / (k - 1)))
    critical = float(stats.t.ppf(1 - alpha / 2, k - 1))
    return Interval(k, centre, error * k**0.5, centre - critical * error, centre + critical * error, alpha, critical)


def heterogeneity(effects: Sequence[Interval]) -> Heterogeneity:
    """Return whether the true effects differ between studies."""
    errors, means = _errors(effects), np.array([each.mean for each in effects])
    if not errors.all():
        return Heterogeneity(float("nan"), float(np.std(means, ddof=1)))
    weights, k = 1 / errors**2, len(effects)
    shares = weights / weights.sum()
    off = float((weights * (means - shares @ means) ** 2).sum() / (k - 1))
    uncertain = float(((1 - shares) ** 2 / [each.n - 1 for each in effects]).sum())
    statistic = off / (1 + 2 * (k - 2) / (k**2 - 1) * uncertain)
    p = float(stats.f.sf(statistic, k - 1, (k**2 - 1) / (3 * uncertain)))
    return Heterogeneity(p, float(np.sqrt(_between(means, errors))))


def _between(means: Numbers, errors: Numbers) -> float:
    """Return the between-study variance at which the weighted sum of squares is k - 1 (Paule and Mandel, 1982)."""

    def excess(variance: float) -> float:
        weights = 1 / (errors**2 + variance)
        return float((weights * (means - np.average(means, weights=weights)) ** 2).sum()) - (len(means) - 1)

    if excess(0.0) <= 0:
        return 0.0
    # With this variance, every weight is below 1 / range², so the sum is below k / 4.
    highest = float(np.ptp(means) ** 2)
    return float(optimize.brentq(excess, 0.0, highest, xtol=1e-14 * max(highest, 1.0), rtol=1e-12))


def partial_pooling(effects: Sequence[Interval], delta: float, scale: float) -> Pooled:
    """Return the posterior of the effects, treating them as draws from one normal distribution.

    Given its study, an effect follows Student's t distribution around the study's mean difference (with flat priors on
    its mean and on the logarithm of its seed SD). The distribution's mean has a flat prior, and its spread a
    half-normal prior. With few studies, the prior on the spread has a large influence: compare the results for several
    scales.

    Parameters
    ----------
    delta : smallest effect of interest, in the unit of the effects.
    scale : scale of the half-normal prior on the spread, whose median is .67 × scale.

    Raises
    ------
    ValueError: there are fewer than two studies, or fewer than two pairs in a study; scale or delta is not positive.
    """
    if not (scale > 0 and delta > 0):
        raise ValueError(f"scale and delta must be positive; got {scale!r} and {delta!r}")
    grid = _Grid(effects, scale)
    return grid.posterior(delta, effects[0].alpha)


class _Grid:
    """The posterior on a grid of effects (equally spaced) and spreads (Gauss-Legendre nodes)."""

    def __init__(self, effects: Sequence[Interval], scale: float) -> None:
        means = np.array([each.mean for each in effects])
        errors = np.maximum(_errors(effects), _EXACT * scale)
        margin = _TAILS * max(float(errors.max()), scale)
        self.low, high = float(means.min()) - margin, float(means.max()) + margin
        step = max(min(float(errors.min()), scale) / _PER_ERROR, (high - self.low) / _MOST_POINTS)
        self.values = self.low + step * np.arange(int(np.ceil((high - self.low) / step)) + 1)
        errors = np.maximum(errors, 2 * step)
        degrees = np.array([each.n - 1 for each in effects])
        self.of_data = stats.t.pdf((self.values - means[:, None]) / errors[:, None], degrees[:, None])
        nodes, weights = np.polynomial.legendre.leggauss(_SPREADS)
        self.spreads = 3 * scale * (nodes + 1)
        self.prior = weights * np.exp(-0.5 * (self.spreads / scale) ** 2)
        self.scale = scale
        self._padded = fft.next_fast_len(len(self.values) + int(6 * 6 * scale / step) + 1, real=True)
        frequency = 2 * np.pi * fft.rfftfreq(self._padded, step)
        self._blur = np.exp(-0.5 * (self.spreads[:, None] * frequency) ** 2)

    def blurred(self, densities: Numbers) -> Numbers:
        """Return densities, [spreads or 1, values], convolved with the normal density for every spread."""
        of_frequency = fft.rfft(densities, self._padded, axis=-1) * self._blur
        found: Numbers = fft.irfft(of_frequency, self._padded, axis=-1)[..., : len(self.values)]
        return np.maximum(found, 0.0)

    def posterior(self, delta: float, alpha: float) -> Pooled:
        of_studies = [self.blurred(each[None, :] / each.max()) for each in self.of_data]
        every = np.prod(of_studies, axis=0)  # likelihood of (spread, mean)
        of_spread = self.prior * every.sum(axis=1)
        effects = np.array([self._effect(of_studies, number) for number in range(len(of_studies))])
        further = _whole((self.prior[:, None] * self.blurred(every)).sum(axis=0))
        centre = _whole((self.prior[:, None] * every).sum(axis=0))
        ends = np.array([self._quantiles(each, alpha) for each in effects])
        mean_ends = self._quantiles(centre, alpha)
        sd_ends = _weighted_quantiles(self.spreads, of_spread, alpha)
        below, above = self._above(further, -delta), self._above(further, delta)
        further_ends = self._quantiles(further, alpha)
        return Pooled(
            means=effects @ self.values,
            lower=ends[:, 0],
            upper=ends[:, 1],
            above_zero=np.array([self._above(each, 0.0) for each in effects]),
            mean=float(centre @ self.values),
            mean_lower=mean_ends[0],
            mean_upper=mean_ends[1],
            sd=float(np.average(self.spreads, weights=of_spread)),
            sd_lower=sd_ends[0],
            sd_upper=sd_ends[1],
            further=(1 - below, below - above, above),
            further_lower=further_ends[0],
            further_upper=further_ends[1],
            further_above_zero=self._above(further, 0.0),
            scale=self.scale,
        )

    def _effect(self, of_studies: Sequence[Numbers], number: int) -> Numbers:
        """Return the posterior of the effect in one study: its own data combined with information from the others."""
        others = np.prod([each for at, each in enumerate(of_studies) if at != number], axis=0)
        said = self.blurred(others)
        return _whole(self.of_data[number] * (self.prior[:, None] * said).sum(axis=0))

    def _quantiles(self, masses: Numbers, alpha: float) -> tuple[float, float]:
        below = np.cumsum(masses) - masses / 2
        low, high = np.interp([alpha / 2, 1 - alpha / 2], below, self.values)
        return float(low), float(high)

    def _above(self, masses: Numbers, value: float) -> float:
        below = np.cumsum(masses) - masses / 2
        return float(1 - np.interp(value, self.values, below, left=0.0, right=1.0))


def _whole(masses: Numbers) -> Numbers:
    """Return masses that add up to 1."""
    whole: Numbers = masses / masses.sum()
    return whole


def _weighted_quantiles(values: Numbers, weights: Numbers, alpha: float) -> tuple[float, float]:
    below = (np.cumsum(weights) - weights / 2) / weights.sum()
    low, high = np.interp([alpha / 2, 1 - alpha / 2], below, values)
    return float(low), float(high)


def probability_of_improvement(
    treated: Sequence[Numbers], control: Sequence[Numbers], alpha: float, rng: np.random.Generator, draws: int = 2000
) -> tuple[float, float, float]:
    """Return the probability that a run of the treatment is better than a run of the control, with its interval.

    Each run of the treatment is paired with each run of the control in the same study. The probability is the share of
    these pairs in which the treated run is better, with ties counting half, averaged over the studies (Agarwal et al.
    2021). The interval is a percentile bootstrap that draws seeds within each study; with few seeds, it is too short.

    Parameters
    ----------
    treated, control : values of the paired runs in each study, where higher is better: [studies][seeds].
    """
    better = [
        (one[:, None] > other).astype(float) + 0.5 * (one[:, None] == other)
        for one, other in zip(treated, control, strict=True)
    ]
    found = float(np.mean([each.mean() for each in better]))
    drawn = np.mean([_drawn_means(each, rng, draws) for each in better], axis=0)
    low, high = np.quantile(drawn, [alpha / 2, 1 - alpha / 2])
    return found, float(low), float(high)


def _drawn_means(better: Numbers, rng: np.random.Generator, draws: int) -> Numbers:
    n = len(better)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=draws) / n
    means: Numbers = np.einsum("dn,nm,dm->d", weights, better, weights)
    return means
