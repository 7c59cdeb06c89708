"""The robust intervals for the gated comparisons, and where they contradict the t interval.

Robust intervals never affect the verdict.
"""

from __future__ import annotations

from analysis.statistics.comparison import Comparison
from analysis.statistics.robust import RobustReading, robust_reading
from analysis.statistics.verdict import Verdict, decide


def robust_of(comparison: Comparison) -> RobustReading | None:
    """Return the robust interval for the pairs of the deciding look, at the level of that look.

    None without a verdict, or if the t interval is unbounded, as is possible with looks after any number of pairs.
    """
    if not (comparison.verdict.decided and comparison.interval.bounded):
        return None
    return robust_reading(comparison.deciding_pairs["difference"], comparison.interval.alpha)


def robust_verdict(comparison: Comparison, reading: RobustReading) -> Verdict:
    """Return the verdict that the robust interval would lead to."""
    gain = next(iter(comparison.reported.values()), comparison.otherwise)
    return decide(
        reading.lower,
        reading.upper,
        comparison.interval.sd,
        reading.n,
        comparison.delta,
        gain,
        unit=comparison.measure.difference,
        lower_is_better=comparison.measure.lower_is_better,
        procedure=comparison.procedure,
    )


def contradiction(comparison: Comparison, reading: RobustReading) -> str:
    """Return a sentence on how the robust interval contradicts the t interval; empty if it does not.

    The intervals contradict each other about 0 if only the robust interval excludes 0. They also do if only the t
    interval excludes 0 and the robust center lies outside the t interval. They contradict each other about the verdict
    if both would stop the study, but with different verdicts. A robust interval that is merely longer is not a
    contradiction: with 5 pairs, the interval for the trimmed mean is nearly twice as long as the t interval. If a
    longer interval counted as a contradiction, up to 41 % of studies with normally distributed runs would have a
    caution.
    """
    found, measure = comparison.interval, comparison.measure
    by_t = found.lower > 0 or found.upper < 0
    other = robust_verdict(comparison, reading)
    if reading.excludes_zero and not by_t:
        said = "excludes 0, but the t interval does not"
    elif by_t and not reading.excludes_zero and not found.lower <= reading.estimate <= found.upper:
        said = "does not exclude 0, but the t interval does, and the robust center lies outside the t interval"
    elif comparison.verdict.stops and other.stops and other.kind != comparison.verdict.kind:
        said = f"would lead to the verdict “{other.text}”"
    else:
        return ""
    ends = measure.in_unit(measure.interval(reading.lower, reading.upper, comparison.limits))
    return (
        f"{comparison.name}: the interval for the {reading.words}, which does not affect the verdict, {said} "
        f"({measure.points(reading.estimate)}, {ends}, {reading.n} pairs)."
    )
