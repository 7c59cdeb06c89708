"""The robust readings of the gated comparisons, and where they contradict the t interval.

They never decide the verdict.
"""

from __future__ import annotations

from analysis.statistics.comparison import Comparison
from analysis.statistics.robust import RobustReading, robust_reading
from analysis.statistics.verdict import Verdict, decide


def robust_of(comparison: Comparison) -> RobustReading | None:
    """Return the robust reading of the pairs of the look that decides, at its level.

    Return None without a verdict, or if looks at any number of pairs have an unbounded interval, whose level is 100 %.
    """
    if not (comparison.verdict.decided and comparison.interval.bounded):
        return None
    return robust_reading(comparison.deciding_pairs["difference"], comparison.interval.alpha)


def robust_verdict(comparison: Comparison, reading: RobustReading) -> Verdict:
    """Return what the table of verdicts would read from the robust interval."""
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
    """Return where the robust reading contradicts the t interval, in a sentence; empty where it does not.

    About 0: the robust interval excludes 0 and the t interval does not; or only the t interval excludes 0, and the
    robust center lies outside it. About the verdict: both would stop the study, but with different verdicts. An
    interval that is only longer contradicts nothing: with 5 pairs the interval of the trimmed mean is nearly twice as
    long as the t interval. Without that condition, up to 41 % of studies of normal runs would have a caution.
    """
    found, measure = comparison.interval, comparison.measure
    by_t = found.lower > 0 or found.upper < 0
    other = robust_verdict(comparison, reading)
    if reading.excludes_zero and not by_t:
        said = "excludes 0 and the t interval does not"
    elif by_t and not reading.excludes_zero and not found.lower <= reading.estimate <= found.upper:
        said = "does not exclude 0, and its center lies outside the t interval, which does"
    elif comparison.verdict.stops and other.stops and other.kind != comparison.verdict.kind:
        said = f"would read “{other.text}”"
    else:
        return ""
    ends = measure.in_unit(measure.interval(reading.lower, reading.upper, comparison.limits))
    return (
        f"{comparison.name}: the interval of the {reading.words}, which decides nothing, {said} "
        f"({measure.points(reading.estimate)}, {ends}, {reading.n} pairs)."
    )
