"""The overall error rate of repeated looks, and the constant level that keeps it at alpha.

Paired differences are tested by t tests after planned numbers of pairs (the looks), each at the same level α*. The
level α* is the constant for which the probability that any look rejects a true null hypothesis is alpha. This is
Pocock's (1977) design, with the constant for t statistics instead of normal statistics; with five pairs, the two
constants differ noticeably. The constant is computed here for any looks; it is neither looked up nor simulated.

Let r = mean · √n / √(sum of squares about 0), so t = r · √(n-1) / √(1-r²). Divide the n differences by the root of
their sum of squares. Under the null hypothesis, the result is a uniformly distributed point on a sphere, and r is the
point's coordinate along (1, ..., 1). The values of r at successive looks are a Markov chain. Given r after N pairs, the
point is uniform on the rest of the sphere, and r after the first n pairs depends on two independent quantities. The
first is the coordinate y that distinguishes the first n pairs from the other m = N - n. The second is the share B ~
Beta((n-1)/2, (m-1)/2) of the first n pairs in the remaining sum of squares. Consider the probability that no look up to
the k-th rejects, as a function of r at that look. It follows from the same probability at the previous look by
integration over y and B.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.polynomial import chebyshev, legendre
from scipy import special

from analysis.looks.root import root

Numbers = npt.NDArray[np.float64]
_NODES_R = 16
_NODES = 10
"""Number of nodes, in y and in B, per square root of the number of pairs; the densities narrow with that root. Twice as
many nodes change every error rate by less than 2e-7.
"""


@cache
def _gauss(count: int) -> tuple[Numbers, Numbers]:
    """Return the nodes and weights of the Gauss-Legendre rule on [-1, 1]."""
    nodes, weights = legendre.leggauss(count)
    return np.asarray(nodes), np.asarray(weights)


@cache
def _constant(looks: tuple[int, ...], alpha: float) -> float:
    return root(lambda level: overall_error(looks, level) - alpha, alpha / len(looks), alpha, xtol=1e-10)


def constant(pairs: Sequence[int], alpha: float = 0.05) -> float:
    """Return α*: the level of each look for which the overall error rate across all looks is `alpha`."""
    looks = tuple(pairs)
    return alpha if len(looks) == 1 else _constant(looks, alpha)


_EXACT, _KNOTS = 48, 14
"""With more than `_EXACT` alphas, constants are interpolated between `_KNOTS` exact constants."""


def constants(pairs: Sequence[int], alphas: Sequence[float]) -> dict[float, float]:
    """Return `constant` for each alpha.

    Holm's procedure assigns each of many arms its own level. The logarithm of the constant is a smooth function of log
    alpha, so a polynomial through a few exact values is accurate for all levels.
    """
    every = sorted(set(alphas))
    if len(every) <= _EXACT or len(pairs) == 1:
        return {alpha: constant(pairs, alpha) for alpha in every}
    low, high = math.log(every[0]), math.log(every[-1])
    places = np.cos((2 * np.arange(_KNOTS) + 1) * np.pi / (2 * _KNOTS))
    exact = [constant(pairs, math.exp((low + high + place * (high - low)) / 2)) for place in places]
    fit = chebyshev.chebfit(places, np.log(exact), _KNOTS - 1)
    at = (2 * np.log(every) - low - high) / (high - low)
    return dict(zip(every, np.exp(chebyshev.chebval(at, fit)).tolist(), strict=True))


@lru_cache(maxsize=4096)
def _overall(looks: tuple[int, ...], levels: tuple[float, ...]) -> float:
    cuts = [cut_of(n, level) for n, level in zip(looks, levels, strict=True)]
    accepted = NEVER_READ
    for (n, total), before, after in zip(pairwise(looks), cuts, cuts[1:], strict=False):
        accepted = after_look(accepted, n, total, before, after)
    return rejected(accepted, looks[-1], cuts[-1])


def rejected(accepted: Numbers, total: int, cut: float) -> float:
    """Return the probability that the look at `total` pairs or an earlier look rejects a true null hypothesis.

    Parameters
    ----------
    accepted : result of `after_look` for this look.
    cut : |r| beyond which this look rejects, in (0, 1).
    """
    nodes, weights = _gauss(64)
    x = (nodes + 1) / 2
    density = (1 - (cut * x) ** 2) ** ((total - 3) / 2) / _beta(0.5, (total - 1) / 2)
    return 1 - float((_value(accepted, x) * density * weights).sum() * cut)


def error_of(pairs: Sequence[int], levels: Sequence[float]) -> float:
    """Return the probability that any look has a two-sided p-value of at most its own level if the true mean is 0.

    Parameters
    ----------
    pairs : increasing numbers of pairs, at least 3 each.
    levels : one level per look, from 0 to 1.

    Raises
    ------
    ValueError: the number of levels differs from the number of looks.
    """
    if len(pairs) != len(levels):
        raise ValueError(f"give a level for each of the {len(pairs)} looks; got {len(levels)}")
    if max(levels) > _CERTAIN:
        return 1.0
    read = [(n, float(level)) for n, level in zip(pairs, levels, strict=True) if level > NEGLIGIBLE]
    found = _overall(*zip(*read, strict=True)) if len(read) > 1 else 0.0
    return float(min(1.0, sum(levels), max(*levels, found)))


def overall_error(pairs: Sequence[int], level: float) -> float:
    """Return the probability that any look has a two-sided p-value of at most `level` if the true mean is 0."""
    looks = tuple(pairs)
    if len(looks) == 1 or not 0 < level < 1:
        return level
    if level > _CERTAIN:
        return 1.0
    # Rounding at tiny levels must not make the result smaller than the error rate of one look or larger than the sum
    # over all looks.
    return float(min(1.0, len(looks) * level, max(level, _overall(looks, (float(level),) * len(looks)))))


_CERTAIN = 1 - 1e-7
"""If a look's level is above this, the overall error rate is 1 to within 1e-7, and the look may reject for any |r|."""
NEGLIGIBLE = 1e-12
"""A look with at most this level is ignored in the overall error rate, to which it contributes almost nothing."""
NEVER_READ = np.ones(1)
"""Probability, before the first look, that no look has rejected: Chebyshev coefficients in (r / cut)², on [0, 1] mapped
to [-1, 1].
"""


def cut_of(n: int, level: float) -> float:
    """Return the |r| beyond which a look at n pairs rejects."""
    t = float(special.stdtrit(n - 1, 1 - level / 2))
    return t / math.sqrt(t * t + n - 1)


def _value(coefficients: Numbers, share: Numbers) -> Numbers:
    """Return the probability that no look has rejected if |r| is this share of its cut."""
    return np.asarray(chebyshev.chebval(2 * share**2 - 1, coefficients))


def after_look(accepted: Numbers, n: int, total: int, before: float, after: float) -> Numbers:
    """Return the probability that no look up to the look at n pairs has rejected, as a function of r at the next look.

    Arrays are [r, y, B]; y covers the interval in which, for some B, |r| after n pairs is below its cut.

    Parameters
    ----------
    accepted : the same probability for the looks before n, as a function of r after n pairs: coefficients like those of
        `NEVER_READ`.
    total : number of pairs at the next look.
    before, after : |r| beyond which the looks at n and at `total` pairs reject; r is needed up to the second.
    """
    m = total - n
    places = np.cos((2 * np.arange(_NODES_R) + 1) * np.pi / (2 * _NODES_R))
    r = after * np.sqrt((places + 1) / 2)[:, None, None]
    rest = 1 - r**2
    along, across = np.sqrt(n / total) * r, np.sqrt(m / total * rest)
    odds = 1 / before**2 - 1
    # (along + across · y)² · odds = rest · (1 - y²) at the limits of the interval.
    square, half = across**2 * odds + rest, along * across * odds
    root = np.sqrt(np.maximum(half**2 - square * (along**2 * odds - rest), 0.0))
    count = math.ceil(_NODES * math.sqrt(total))
    nodes, weights = _gauss(count)
    angle: npt.NDArray[Any] = nodes[None, :, None] * np.pi / 2  # y = center + radius · sin is smooth at the limits
    y = (root * np.sin(angle) - half) / square
    inside = np.maximum(1 - y**2, 0.0)  # rounding can move y beyond ±1 if a look has a tiny level
    mass = root / square * np.cos(angle) * np.pi / 2 * weights[None, :, None] * inside ** ((total - 4) / 2)
    mass = mass / _beta(0.5, (total - 2) / 2)
    sums, left = along + across * y, rest * inside
    if m == 1:  # B is 1
        seen = np.abs(sums) / np.sqrt(sums**2 + left)
        return _fitted(places, (_value(accepted, np.minimum(seen / before, 1.0)) * mass).sum(axis=(1, 2)))
    # The substitution B = 1 - s² removes the root from the density at its upper limit.
    nodes, weights = _gauss(count)
    farthest = np.sqrt(np.clip(1 - sums**2 * odds / left, 0.0, 1.0))
    s = farthest * (nodes + 1) / 2
    share = 1 - s**2
    seen = np.abs(sums) / np.sqrt(sums**2 + left * share)
    density = 2 * s ** (m - 2) * share ** ((n - 3) / 2) / _beta((n - 1) / 2, (m - 1) / 2)
    inner = _value(accepted, np.minimum(seen / before, 1.0)) * density * weights * farthest / 2
    return _fitted(places, (inner.sum(axis=2, keepdims=True) * mass).sum(axis=(1, 2)))


def _fitted(places: Numbers, values: Numbers) -> Numbers:
    return np.asarray(chebyshev.chebfit(places, values, len(places) - 1))


def _beta(a: float, b: float) -> float:
    return math.exp(math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b))
