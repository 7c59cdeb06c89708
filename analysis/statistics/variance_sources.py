"""Variance by source: how much comes from the split, initial values, order and augmentation, each varied alone.

Bouthillier et al. (2021), Accounting for variance in machine learning benchmarks. A series in which one random stream
follows the seed and the others are fixed is compared with the series in which all streams follow the seed. Intervals
assume normally distributed values that are independent between seeds. The interval for a variance is based on the χ²
distribution. The two series that a share compares have seeds in common, so their values are correlated. The interval
for the share is therefore the exact interval of Pitman (1939) and Morgan (1939), which holds for any correlation. If
the other sources are fixed, the variance depends on their fixed values: it differs from the average variance if sources
interact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from aimlib.config import STREAMS
from analysis.plan import Arm, Plan
from analysis.primary_measure import ACCURACY, PrimaryMeasure
from analysis.statistics.distributions import chi2_quantile, t_quantile
from analysis.statistics.interval import IDENTICAL
from analysis.statistics.paired import complete, paired_differences
from analysis.statistics.planned import fixed_streams, primary_arms

Numbers = npt.NDArray[np.float64]
NOISE = "noise"
_NAMES = {
    "split": "validation split",
    "init": "initial values",
    "order": "image order",
    "augmentation": "augmentation",
    "layers": "random draws in layers",
    NOISE: "noise",
}
_NOTHING = (float("nan"), float("nan"))
WIDEST = 0.75
"""Maximum fraction of the range from 0 to 1 that the interval for a share may cover and still determine the share."""


def source_name(source: str) -> str:
    """Return the name of a source for use in text."""
    return _NAMES.get(source, source)


@dataclass(frozen=True)
class SourceVariance:
    """The variance of a series in which one source varies.

    Attributes
    ----------
    source : a stream from `aimlib.config.STREAMS`; ``noise`` if no stream varies, so only device noise remains.
    n : number of seeds with a value both in this series and in the series in which all sources vary.
    variance, lower, upper : the variance with its interval, in the squared unit of the measure's differences (pp² for
        accuracy).
    share, share_lower, share_upper : share of the variance with all sources varied. Shares need not sum to 1.
    """

    source: str
    n: int
    variance: float
    lower: float
    upper: float
    share: float
    share_lower: float
    share_upper: float

    @property
    def determined(self) -> bool:
        """Whether the seeds determine the share; see `determines`."""
        return determines(self.share_lower, self.share_upper)

    @property
    def worth(self) -> float:
        """Number of runs, varying all sources, whose mean is as certain as that of many runs varying only this source.

        The mean of the many runs keeps the variance from all other sources, which is a fraction 1 - share of the total.
        The number is therefore 1 / (1 - share). The number is infinite for a share of 1 or more.
        """
        return math.inf if self.share >= 1 else 1 / (1 - self.share)


@dataclass(frozen=True)
class Variances:
    """The variance by source for an arm, or for the paired difference between two arms.

    Attributes
    ----------
    of : name of the arm or the difference.
    n, variance, lower, upper : number of seeds, and the variance with its interval, in the series in which all sources
        vary.
    sources : the sources that were varied alone.
    remainder, remainder_lower, remainder_upper : variance with all sources varied, minus the sum over the sources
        (except noise, which every series contains): 0 if sources act additively and none is missing. NaN with fewer
        than two sources.
    """

    of: str
    n: int
    variance: float
    lower: float
    upper: float
    sources: tuple[SourceVariance, ...]
    remainder: float
    remainder_lower: float
    remainder_upper: float


def variance_interval(values: npt.ArrayLike, alpha: float = 0.05) -> tuple[float, float]:
    """Return the 1 - alpha interval for the variance of normal variables, (n-1) s² / χ²; NaN without spread."""
    x = np.asarray(values, dtype=float)
    if len(x) < 2 or x.std(ddof=1) < IDENTICAL:
        return _NOTHING
    total, freedom = (len(x) - 1) * x.var(ddof=1), len(x) - 1
    high, low = chi2_quantile(np.array([1 - alpha / 2, alpha / 2]), freedom)
    return float(total / high), float(total / low)


def ratio_interval(one: npt.ArrayLike, other: npt.ArrayLike, alpha: float = 0.05) -> tuple[float, float]:
    """Return the 1 - alpha interval for the ratio of the variances of two paired normal variables, one / other.

    It is w (K ± √(K² - 1)) with the sample ratio w, K = 1 + 2 (1 - r²) t² / (n - 2), the sample correlation r, and
    Student's t with n - 2 degrees of freedom (Pitman, 1939; Morgan, 1939). NaN with fewer than three pairs or without
    spread.
    """
    x, y = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    if len(x) < 3 or min(x.std(ddof=1), y.std(ddof=1)) < IDENTICAL:
        return _NOTHING
    ratio, r = x.var(ddof=1) / y.var(ddof=1), float(np.corrcoef(x, y)[0, 1])
    wide = _ratio_width(max(0.0, 1 - r**2), len(x), alpha)
    return float(ratio / wide), float(ratio * wide)


def uncorrelated_ratio(n: int, alpha: float = 0.05) -> tuple[float, float]:
    """Return `ratio_interval` for `n` pairs with equal sample variances and no correlation, the widest possible case.

    Parameters
    ----------
    n : number of pairs, at least 3.
    """
    wide = _ratio_width(1.0, n, alpha)
    return 1 / wide, wide


def determines(lower: float, upper: float) -> bool:
    """Return whether an interval determines a share, which must be known and cover at most .75 of the range 0 to 1."""
    return min(upper, 1.0) - min(lower, 1.0) <= WIDEST


@cache
def enough_seeds(alpha: float = 0.05) -> int:
    """Return the smallest number of seeds that determines every share, for any value and any correlation of the series.

    An interval from s / w to s w covers the largest part of the range from 0 to 1, 1 - 1 / w², if its upper limit is 1.
    """
    return next(n for n in count(3) if 1 - uncorrelated_ratio(n, alpha)[0] ** 2 <= WIDEST)


def _ratio_width(unshared: float, n: int, alpha: float) -> float:
    """Return the upper limit of the interval as a multiple of the ratio; `unshared` is 1 - r²."""
    k = 1 + 2 * unshared * float(t_quantile(1 - alpha / 2, n - 2)) ** 2 / (n - 2)
    return k + math.sqrt(k**2 - 1)


def remainder_interval(
    together: npt.ArrayLike, parts: Sequence[npt.ArrayLike], alpha: float = 0.05
) -> tuple[float, float, float]:
    """Return the variance of `together` minus that of each of `parts`, with a conservative 1 - alpha interval.

    The squared distances between every variance's χ² limits and its estimate are added (Zou and Donner, 2008), as for
    independent series. The series with all sources varied is positively correlated with the others, which makes the
    true interval narrower. NaN if there is no interval for the variance of a series, unless that variance is 0.
    """
    x = np.asarray(together, dtype=float)
    of_parts = [np.asarray(part, dtype=float) for part in parts]
    spreads = [part for part in of_parts if part.std(ddof=1) >= IDENTICAL]
    estimate = float(x.var(ddof=1) - sum(part.var(ddof=1) for part in of_parts))
    low, high = variance_interval(x, alpha)
    limits = [(part.var(ddof=1), *variance_interval(part, alpha)) for part in spreads]
    down = (x.var(ddof=1) - low) ** 2 + sum((upper - v) ** 2 for v, _, upper in limits)
    up = (high - x.var(ddof=1)) ** 2 + sum((v - lower) ** 2 for v, lower, _ in limits)
    return estimate, float(estimate - math.sqrt(down)), float(estimate + math.sqrt(up))


def variances(of: str, together: pd.Series, series: Mapping[str, pd.Series], alpha: float = 0.05) -> Variances:
    """Return the variance by source.

    Parameters
    ----------
    of : name of the arm or the difference.
    together : values by seed with all sources varied.
    series : by source, values by seed with only that source varied. Seeds that a series lacks are ignored for that
        source.
    """
    whole = together.dropna()
    found = tuple(_source(name, values.dropna(), whole, alpha) for name, values in series.items())
    parts = [values.dropna().to_numpy(float) for name, values in series.items() if name != NOISE]
    enough = len(parts) > 1 and len(whole) > 1 and all(len(part) > 1 for part in parts)
    remainder = remainder_interval(whole.to_numpy(float), parts, alpha) if enough else (float("nan"), *_NOTHING)
    return Variances(of, len(whole), _variance(whole), *variance_interval(whole, alpha), found, *remainder)


def _source(name: str, values: pd.Series, whole: pd.Series, alpha: float) -> SourceVariance:
    common = values.index.intersection(whole.index)
    one, other = values[common].to_numpy(float), whole[common].to_numpy(float)
    spread = _variance(other)
    share = _variance(one) / spread if spread > IDENTICAL**2 else float("nan")
    of_ratio = ratio_interval(one, other, alpha)
    return SourceVariance(name, len(common), _variance(one), *variance_interval(one, alpha), share, *of_ratio)


def _variance(values: Any) -> float:
    x = np.asarray(values, dtype=float)
    if len(x) < 2:
        return float("nan")
    found = float(x.var(ddof=1))
    return 0.0 if found < IDENTICAL**2 else found


def series_of(plan: Plan) -> dict[str, dict[str, str]]:
    """Return, for every arm whose variance a study measures, the arm that varies each source alone."""
    whole = {_recipe(arm): arm.name for arm in plan.arms if arm.config and not fixed_streams(arm)}
    found: dict[str, dict[str, str]] = {}
    for arm in plan.arms:
        free = [name for name in STREAMS if name not in fixed_streams(arm)]
        if arm.config and fixed_streams(arm) and len(free) < 2 and _recipe(arm) in whole:
            found.setdefault(whole[_recipe(arm)], {})[free[0] if free else NOISE] = arm.name
    return found


def _recipe(arm: Arm) -> str:
    """Return an arm's configuration as text, without seeds."""
    training = {key: value for key, value in (arm.config.get("training") or {}).items() if key != "streams"}
    return repr(sorted({**arm.config, "seed": None, "training": sorted(training.items(), key=repr)}.items(), key=repr))


def variance_sources(
    runs: pd.DataFrame, plan: Plan, measure: PrimaryMeasure = ACCURACY, alpha: float = 0.05
) -> tuple[Variances, ...]:
    """Return the variance by source for every arm with series that vary one source, then for treatment − baseline.

    Parameters
    ----------
    runs : the frame of runs from `Results`, with the measure's column.
    """
    series = series_of(plan)
    found = [
        variances(
            arm, _values(runs, arm, measure), {s: _values(runs, name, measure) for s, name in parts.items()}, alpha
        )
        for arm, parts in series.items()
    ]
    baseline, treatment = primary_arms(plan)
    if baseline in series and treatment in series:
        common = [source for source in series[treatment] if source in series[baseline]]
        parts = {s: _differences(runs, series[treatment][s], series[baseline][s], measure) for s in common}
        whole = _differences(runs, treatment, baseline, measure)
        found.append(variances(measure.difference_name(treatment, baseline), whole, parts, alpha))
    return tuple(found)


def _differences(runs: pd.DataFrame, treatment: str, control: str, measure: PrimaryMeasure) -> pd.Series:
    pairs = complete(paired_differences(runs, treatment, control, value=measure.column, measure=measure))
    return pd.Series(pairs["difference"].to_numpy(float), index=pairs["seed"])


def _values(runs: pd.DataFrame, arm: str, measure: PrimaryMeasure) -> pd.Series:
    """Return an arm's outcomes by seed, in the unit of the measure's differences."""
    pairs = paired_differences(runs, arm, arm, value=measure.column, measure=measure)
    known = pairs[pairs["difference"].notna()]
    return pd.Series(measure.gains(known["treatment"].to_numpy(float), np.zeros(len(known))), index=known["seed"])


def source_table(found: Sequence[Variances]) -> pd.DataFrame:
    """Return one row per source for each arm and difference, followed by all sources together and the remainder."""
    rows: list[tuple[Any, ...]] = []
    for each in found:
        nothing = (float("nan"),) * 3
        rows += [
            (each.of, s.source, s.n, s.variance, s.lower, s.upper, s.share, s.share_lower, s.share_upper)
            for s in each.sources
        ]
        rows.append((each.of, "all", each.n, each.variance, each.lower, each.upper, 1.0, *nothing[:2]))
        rest = (each.remainder, each.remainder_lower, each.remainder_upper)
        rows.append((each.of, "remainder", each.n, *rest, *nothing))
    types: dict[str, Any] = {"of": "str", "source": "str", "n": "int64"} | dict.fromkeys(
        ("variance", "variance_lower", "variance_upper", "share", "share_lower", "share_upper"), "float64"
    )
    return pd.DataFrame(rows, columns=list(types)).astype(types)
