"""Statistics for paired runs: functions take frames and return frames or small records.

Functions do not keep state or change their input, and every function that draws random numbers takes a
`numpy.random.Generator`. Differences are in percentage points (pp), accuracies are fractions from 0 to 1.
"""

from analysis.statistics.comparison import Comparison, compare_arms
from analysis.statistics.family import Family, compare_all, comparison_table
from analysis.statistics.gates import Gate, conclusion, gates
from analysis.statistics.interval import Interval, compatible, t_interval, t_p_value
from analysis.statistics.multiplicity import holm, holm_levels
from analysis.statistics.outcomes import (
    accuracy_lower_bound,
    baseline_trains,
    failure_table,
    outcomes,
)
from analysis.statistics.paired import complete, paired_differences
from analysis.statistics.seeds_needed import SeedsNeeded, seeds_needed
from analysis.statistics.sensitivity import sensitivity, sign_flip_p
from analysis.statistics.verdict import Verdict, decide

__all__ = [
    "Comparison",
    "Family",
    "Gate",
    "Interval",
    "SeedsNeeded",
    "Verdict",
    "accuracy_lower_bound",
    "baseline_trains",
    "compare_all",
    "compare_arms",
    "comparison_table",
    "compatible",
    "complete",
    "conclusion",
    "decide",
    "failure_table",
    "gates",
    "holm",
    "holm_levels",
    "outcomes",
    "paired_differences",
    "seeds_needed",
    "sensitivity",
    "sign_flip_p",
    "t_interval",
    "t_p_value",
]
