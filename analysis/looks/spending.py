"""How the overall error rate is spent across the looks: designs with a constant level, or with lower levels at first.

The looks are paired t tests with increasing degrees of freedom. A design is a rule for their two-sided levels. Like the
constant level, the levels that keep the overall error rate at alpha are computed by integration for t statistics
(`sequential`).

* ``constant``: every look has the same level (Pocock, 1977, who defines his design for t tests by that level).
* ``obrien_fleming``: the look after n of N pairs has the level of the normal quantile c √(N / n) (O'Brien and Fleming,
  1979), with the c for which the overall error rate is alpha. Levels are used in place of critical values, as Jennison
  and Turnbull (2000, section 11.3) do for t tests.
* ``lan_demets_pocock``, ``lan_demets_obrien_fleming``: the part of alpha that is spent after n of N pairs is a function
  of n / N (Lan and DeMets, 1983): alpha ln(1 + (e - 1) n / N), and twice the one-sided 2 - 2 Φ(z(1 - alpha / 4) / √(n /
  N)).

With many pairs, the critical values are those published for normal statistics; a test compares them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import pairwise

import numpy as np
from scipy import special

from analysis.looks.root import root
from analysis.looks.sequential import NEGLIGIBLE, NEVER_READ, Numbers, after_look, constant, cut_of, error_of, rejected

_XTOL = 1e-10
_TRIED = 8
"""Number of levels that are tried as the limits of a bracket."""
_BEYOND = 1.01
"""How far the limits of a bracket are moved outward, because rounding determines the sign at the exact limits."""
_PRECISE = 1e-7
"""Smaller error rates are not integrated: a look's level is then the error rate it spends, as if no earlier look
rejects.
"""


def levels(pairs: Sequence[int], alpha: float, spending: str) -> tuple[float, ...]:
    """Return the level of each look for which the overall error rate is `alpha`.

    Parameters
    ----------
    pairs : increasing numbers of pairs, at least 3 each; the last one is N.
    spending : name of a design; see above.

    Raises
    ------
    KeyError: there is no design with this name.
    """
    looks = tuple(pairs)
    return (alpha,) if len(looks) == 1 else _DESIGNS[spending](looks, alpha)


def _constant(looks: tuple[int, ...], alpha: float) -> tuple[float, ...]:
    return (constant(looks, alpha),) * len(looks)


def _of_quantile(looks: tuple[int, ...], quantile: float) -> tuple[float, ...]:
    """Return O'Brien and Fleming's levels; the last level corresponds to the given normal quantile."""
    return tuple(2 * float(special.ndtr(-quantile * math.sqrt(looks[-1] / n))) for n in looks)


@lru_cache(maxsize=1024)
def _obrien_fleming(looks: tuple[int, ...], alpha: float) -> tuple[float, ...]:
    low, high = (-float(special.ndtri(alpha / (2 * tests))) for tests in (1 / _BEYOND, _BEYOND * len(looks)))
    quantile = root(lambda c: error_of(looks, _of_quantile(looks, c)) - alpha, low, high, xtol=_XTOL)
    return _of_quantile(looks, quantile)


def _spent_like_pocock(share: float, alpha: float) -> float:
    return alpha * math.log1p((math.e - 1) * share)


def _spent_like_obrien_fleming(share: float, alpha: float) -> float:
    return 4 * float(special.ndtr(special.ndtri(alpha / 4) / math.sqrt(share)))


def _spent(looks: tuple[int, ...], alpha: float, spending: str) -> list[float]:
    """Return the joint error rate of all looks up to each look."""
    function = _SPENT[spending]
    return [function(n / looks[-1], alpha) for n in looks[:-1]] + [alpha]


@lru_cache(maxsize=1024)
def _lan_demets(looks: tuple[int, ...], alpha: float, spending: str) -> tuple[float, ...]:
    earlier: _Earlier | None = None
    before, found = 0.0, list[float]()
    for number, spent in zip(looks, _spent(looks, alpha, spending), strict=True):
        found.append(_level(earlier, number, spent, spent - before))
        if found[-1] > NEGLIGIBLE:
            cut = cut_of(number, found[-1])
            accepted = NEVER_READ if earlier is None else after_look(earlier[0], earlier[1], number, earlier[2], cut)
            earlier = accepted, number, cut
        before = spent
    return tuple(found)


_Earlier = tuple[Numbers, int, float]
"""The last look: the probability that no look up to it has rejected, from `after_look`; its number of pairs; its cut.
"""


def _level(earlier: _Earlier | None, number: int, spent: float, now: float) -> float:
    """Return the level of a look that, with earlier looks, spends the error rate `spent`; its own share is `now`.

    The level is at least `now`, which would be needed if earlier looks never rejected, and at most `spent`.
    """
    if earlier is None:
        return now
    accepted, pairs, before = earlier

    def surplus(level: float) -> float:
        cut = cut_of(number, level)
        return rejected(after_look(accepted, pairs, number, before, cut), number, cut) - spent

    if spent < _PRECISE or surplus(spent) <= 0:
        return now
    # The bracket is sought from above: at levels so low that hardly any outcome after the previous look can reach them,
    # rounding determines the sign.
    tried = pairwise(np.geomspace(spent, now, _TRIED).tolist())
    low, high = next(((low, high) for high, low in tried if surplus(low) < 0), (now, now))
    return now if low == high else root(surplus, low, high, xtol=_XTOL)


_SPENT: dict[str, Callable[[float, float], float]] = {
    "lan_demets_pocock": _spent_like_pocock,
    "lan_demets_obrien_fleming": _spent_like_obrien_fleming,
}
_DESIGNS: dict[str, Callable[[tuple[int, ...], float], tuple[float, ...]]] = {
    "constant": _constant,
    "obrien_fleming": _obrien_fleming,
    **{name: partial(_lan_demets, spending=name) for name in _SPENT},
}


def overall_p(pairs: Sequence[int], p_values: Mapping[int, float], spending: str) -> float:
    """Return the smallest overall error rate at which any look rejects.

    Parameters
    ----------
    p_values : two-sided p-value of the paired t test, by the place of its look, from 0.
    spending : a design other than ``constant``.
    """
    looks = tuple(pairs)
    if len(looks) == 1:
        return p_values[0]
    if spending == "obrien_fleming":
        quantiles = [-special.ndtri(p / 2) * math.sqrt(looks[at] / looks[-1]) for at, p in p_values.items()]
        return error_of(looks, _of_quantile(looks, float(max(quantiles))))
    return min(_error_at(looks, spending, at, p) for at, p in p_values.items())


_LEAST, _MIDDLE, _MOST, _KNOTS, _PARTS = 1e-4, 0.3, 0.98, 32, 50
"""Between the error rates `_LEAST` and `_MIDDLE`, levels are interpolated from `_KNOTS` exact levels and inverted at
`_PARTS` points between any two. Between `_MIDDLE` and `_MOST`, they are interpolated linearly.
"""


@lru_cache(maxsize=64)
def _interpolated(looks: tuple[int, ...], spending: str) -> tuple[Numbers, Numbers]:
    """Return the logarithms of increasing error rates [error] and of the corresponding levels [look, error].

    The polynomials are cubic Hermite polynomials, which confine a kink to one interval. A kink occurs where the level
    of an early look becomes too small to be integrated.
    """
    knots, large = np.linspace(math.log(_LEAST), math.log(_MIDDLE), _KNOTS), np.linspace(_MIDDLE, _MOST, 12)[1:]
    exact = _logarithms(looks, np.exp(knots), spending).T
    slopes, part = np.gradient(exact, axis=1)[:, :, None], np.arange(_PARTS) / _PARTS
    low, high = exact[:, :-1, None], exact[:, 1:, None]
    smooth = part**2 * (3 - 2 * part)
    bends = part * (1 - part) ** 2 * slopes[:, :-1] - part**2 * (1 - part) * slopes[:, 1:]
    dense = ((1 - smooth) * low + smooth * high + bends).reshape(len(looks), -1)
    known = np.hstack([dense, exact[:, -1:], _logarithms(looks, large, spending).T])
    places = (knots[:-1, None] + part * (knots[1] - knots[0])).ravel()
    errors = np.concatenate([places, knots[-1:], np.log(large)])
    # Levels increase with the error rate except for rounding, which must not make the inversion ambiguous.
    return errors, np.maximum.accumulate(known, axis=1)


def _logarithms(looks: tuple[int, ...], errors: Numbers, spending: str) -> Numbers:
    """Return the logarithms of levels, [error, look]; levels below 1e-300 are replaced by 1e-300."""
    return np.log(np.maximum([levels(looks, float(error), spending) for error in errors], 1e-300))


def _error_at(looks: tuple[int, ...], spending: str, place: int, p_value: float) -> float:
    """Return the overall error rate at which the level of the look at this place equals the p-value."""
    errors, known = _interpolated(looks, spending)
    logarithm = math.log(max(p_value, 1e-300))
    if logarithm > known[place, -1]:
        return 1.0
    if logarithm >= known[place, 0]:
        return float(np.exp(np.interp(logarithm, known[place], errors)))
    return _small_error(looks, spending, place, p_value)


def _small_error(looks: tuple[int, ...], spending: str, place: int, p_value: float) -> float:
    """Return the overall error rate if it is too small to be integrated: a look's level is then what it spends."""

    def surplus(logarithm: float) -> float:
        spent = [0.0, *_spent(looks, math.exp(logarithm), spending)]
        return math.log(max(spent[place + 1] - spent[place], 1e-300)) - math.log(max(p_value, 1e-300))

    low, high = -250.0, math.log(_LEAST)
    if surplus(high) <= 0:
        return _LEAST
    return math.exp(low) if surplus(low) >= 0 else math.exp(root(surplus, low, high, xtol=1e-9))
