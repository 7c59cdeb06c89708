"""One look at one comparison: tests and prediction intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from scipy import stats

from analysis.calibration.rates import Rate, Table
from analysis.statistics.bootstrap import bca_interval, percentile_interval, resampling_weights

_RESAMPLES = 999
Test = Callable[[npt.NDArray[np.float64], np.random.Generator], npt.NDArray[np.bool_]]


def _t(x: npt.NDArray[np.float64], _: np.random.Generator) -> npt.NDArray[np.bool_]:
    return np.asarray(stats.ttest_1samp(x, 0, axis=1).pvalue < 0.05)


def _z(x: npt.NDArray[np.float64], _: np.random.Generator) -> npt.NDArray[np.bool_]:
    z = x.mean(axis=1) * np.sqrt(x.shape[1]) / x.std(axis=1, ddof=1)
    return np.asarray(2 * stats.norm.sf(np.abs(z)) < 0.05)


def _sign_flip(x: npt.NDArray[np.float64], _: np.random.Generator) -> npt.NDArray[np.bool_]:
    n = x.shape[1]
    signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    rejected = []
    for part in _chunks(x, 2000):
        sums = np.abs(part @ signs.T)
        rejected.append((sums >= np.abs(part.sum(axis=1, keepdims=True)) - 1e-9).mean(axis=1) < 0.05)
    return np.concatenate(rejected)


def _bootstrapped(interval: Callable[..., tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]) -> Test:
    def test(x: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.bool_]:
        rejected = []
        for part in _chunks(x, 500):  # resamples are shared only within a chunk
            low, high = interval(part, resampling_weights(x.shape[1], _RESAMPLES, rng))
            rejected.append((low > 0) | (high < 0))
        return np.concatenate(rejected)

    return test


def _chunks(x: npt.NDArray[np.float64], size: int) -> Iterator[npt.NDArray[np.float64]]:
    for start in range(0, len(x), size):
        yield x[start : start + size]


def single_looks(rng: np.random.Generator, repetitions: int) -> Table:
    """Return the type I error rates of several tests at one look."""
    tests: dict[str, Test] = {
        "t": _t,
        "z": _z,
        "sign-flip": _sign_flip,
        "percentile bootstrap": _bootstrapped(percentile_interval),
        "BCa bootstrap": _bootstrapped(bca_interval),
    }
    rows, rates = [], []
    for n in (3, 5, 10):
        x = rng.standard_normal((repetitions, n))
        found = {name: float(test(x, rng).mean()) for name, test in tests.items()}
        rows.append((str(n), *(f"{value:.3f}" for value in found.values())))
        rates.append(Rate(f"type-I error of t, n = {n}", found["t"], repetitions, 0.05, 0.05))
        rates.append(
            Rate(f"bootstrap interval is too short to decide, n = {n}", found["BCa bootstrap"], repetitions, 0.07)
        )
        if n < 6:
            rates.append(Rate(f"sign-flip cannot reject, n = {n}", found["sign-flip"], repetitions, 0, 0))
    note = (
        "The two-sided error rate of one look at the nominal level .05, for normal differences with mean 0. It shows "
        "why only the t interval decides."
    )
    return Table("Type-I error of one look", note, ("n", *tests), tuple(rows), tuple(rates))


def predictions(rng: np.random.Generator, repetitions: int) -> Table:
    """Return how often a prediction interval contains the difference of one further pair."""
    rows, rates = [], []
    for n in (5, 8, 12):
        x = rng.standard_normal((repetitions, n + 1))
        known, further = x[:, :n], x[:, n]
        margin = stats.t.ppf(0.975, n - 1) * known.std(axis=1, ddof=1) * np.sqrt(1 + 1 / n)
        covered = float((np.abs(further - known.mean(axis=1)) <= margin).mean())
        rows.append((str(n), f"{covered:.3f}"))
        rates.append(Rate(f"prediction interval, n = {n}", covered, repetitions, 0.95, 0.95))
    note = (
        "The share of prediction intervals, with the nominal level .95, that contain the difference of one further "
        "pair. The reported pair of runs is such a further pair."
    )
    return Table("Prediction of one further pair", note, ("n", "coverage"), tuple(rows), tuple(rates))
