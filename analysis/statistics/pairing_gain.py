"""What pairing by seed saved: the variance of a difference between unpaired runs, compared with paired runs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.statistics.distributions import normal_quantile, t_quantile
from analysis.statistics.interval import IDENTICAL

_MOST_SEEDS = 1_000_000


@dataclass(frozen=True)
class Pairing:
    """How much less paired differences vary than unpaired differences.

    Attributes
    ----------
    n : number of complete pairs.
    treatment, control : variances of the two arms, s_A² and s_B², in the squared unit of the differences (pp²).
    paired : variance of the paired differences, s_d² = s_A² + s_B² - 2 r s_A s_B.
    correlation, lower, upper : correlation r between the arms over seeds, with Fisher's 95 % interval; NaN with fewer
        than 4 pairs.
    level : confidence level at which `unpaired_seeds` compares the intervals, 1 - alpha.
    unpaired_seeds : number of seeds per arm at which the interval for unpaired runs would be as short as the paired
        interval, computed with Welch's t and Satterthwaite's degrees of freedom. None if no number is large enough
        because all pairs have the same difference.
    """

    n: int
    treatment: float
    control: float
    paired: float
    correlation: float
    lower: float
    upper: float
    level: float
    unpaired_seeds: int | None

    @property
    def unpaired(self) -> float:
        """Variance of the difference between two unpaired runs, s_A² + s_B²."""
        return self.treatment + self.control

    @property
    def saved(self) -> float:
        """Share of the variance that pairing removes, 1 - s_d² / (s_A² + s_B²); negative if pairing adds variance."""
        return 1 - self.paired / self.unpaired if self.unpaired > 0 else float("nan")


def pairing_gain(treated: npt.ArrayLike, control: npt.ArrayLike, alpha: float = 0.05) -> Pairing | None:
    """Return what pairing saved; None with fewer than three pairs, or if an arm has the same value for every seed.

    Parameters
    ----------
    treated, control : values of both arms by seed, in the unit of the differences.
    alpha : 1 minus the level at which half-widths are compared; 0, as for an unbounded interval, is replaced by .05.
    """
    x, y = np.asarray(treated, dtype=float), np.asarray(control, dtype=float)
    if len(x) < 3 or min(x.std(ddof=1), y.std(ddof=1)) < IDENTICAL:
        return None
    level = alpha or 0.05
    one, other, paired = (float(v.var(ddof=1)) for v in (x, y, x - y))
    r = float(np.corrcoef(x, y)[0, 1])
    half = float(t_quantile(1 - level / 2, len(x) - 1)) * math.sqrt(paired / len(x))
    seeds = _seeds_for(half, one, other, level) if math.sqrt(paired) >= IDENTICAL else None
    return Pairing(len(x), one, other, paired, r, *correlation_interval(r, len(x)), 1 - level, seeds)


def correlation_interval(r: float, n: int) -> tuple[float, float]:
    """Return Fisher's 95 % interval for a correlation, tanh(atanh r ± 1.96 / √(n - 3)); NaN with fewer than 4 pairs."""
    if n < 4:
        return float("nan"), float("nan")
    centre, margin = math.atanh(min(max(r, -1 + 1e-12), 1 - 1e-12)), float(normal_quantile(0.975)) / math.sqrt(n - 3)
    return math.tanh(centre - margin), math.tanh(centre + margin)


def _seeds_for(half: float, one: float, other: float, alpha: float) -> int | None:
    """Return the smallest number of seeds per arm for which the half-width of Welch's interval is at most `half`."""
    low, high = 1, 2
    while _welch(high, one, other, alpha) > half:
        low, high = high, 2 * high
        if high > _MOST_SEEDS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _welch(middle, one, other, alpha) <= half else (middle, high)
    return high


def _welch(seeds: int, one: float, other: float, alpha: float) -> float:
    freedom = (seeds - 1) * (one + other) ** 2 / (one**2 + other**2)
    return float(t_quantile(1 - alpha / 2, freedom)) * math.sqrt((one + other) / seeds)


def pairing_table(found: Pairing) -> pd.DataFrame:
    """Return one row with the numbers from `Pairing`."""
    row = {
        "n": found.n,
        "variance_treatment": found.treatment,
        "variance_control": found.control,
        "variance_unpaired": found.unpaired,
        "variance_paired": found.paired,
        "saved": found.saved,
        "correlation": found.correlation,
        "correlation_lower": found.lower,
        "correlation_upper": found.upper,
        "unpaired_seeds": found.unpaired_seeds,
    }
    return pd.DataFrame([row]).astype({"unpaired_seeds": "Int64"})
