"""The verdict table: exactly one row applies to every interval, and forbidden statements are never made."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.looks import Looks
from analysis.statistics import Interval, decide, seeds_needed, t_interval
from analysis.statistics.simulation import normal_studies, simulate
from analysis.statistics.verdict import NEVER_REPORTED, OPEN, STOPPING, rules_of

R, DELTA = 4.92, 1.0
ENDS = st.floats(-20, 20)


@pytest.mark.parametrize(
    ("lower", "upper", "kind"),
    [
        (-3, -1.01, "harmful"),
        (-3, -1, "negative, materiality open"),
        (-3, -0.01, "negative, materiality open"),
        (-1, -0.01, "trivially lower"),
        (-3, 0, "no material gain"),
        (0, 0.99, "no material gain"),
        (0.01, 0.99, "trivial gain"),
        (R / 2, R, "holds"),
        (3, 9, "holds"),
        (1, 4.91, "real, smaller than reported"),
        (3, 4, "real, smaller than reported"),
        (0.5, 1, "positive, materiality open"),
        (0.99, 4.91, "positive, materiality open"),
        (0.5, 5, "positive, size open"),
        (2.45, R, "positive, size open"),
        (-0.1, 1, "inconclusive"),
        (-5, 9, "inconclusive"),
        (0, 1, "inconclusive"),
    ],
)
def test_rows_for_studies_in_scope_apply(lower, upper, kind):
    verdict = decide(lower, upper, 1.0, 8, DELTA, R)
    assert verdict.kind == kind
    assert verdict.stops == (kind in STOPPING)
    assert verdict.decided


@pytest.mark.parametrize(
    ("lower", "upper", "kind"),
    [
        (3, 9, "positive, size open"),
        (1, 4, "positive, size open"),
        (0.5, 2, "positive, size open"),
        (-1, -0.5, "trivially lower"),
        (-2, -1.5, "harmful"),
    ],
)
def test_rows_with_r_do_not_apply_out_of_scope(lower, upper, kind):
    assert decide(lower, upper, 1.0, 8, DELTA, None).kind == kind


@pytest.mark.parametrize(
    ("lower", "upper", "kind"),
    [
        (-3, -1.01, "harmful"),
        (-1, 0.99, "no material gain"),
        (0.01, 0.99, "trivial gain"),
        (1, 30, "material gain"),
        (0.99, 30, "positive, size open"),
        (0.01, 1, "positive, size open"),
        (0, 30, "inconclusive"),
    ],
)
def test_rows_without_a_reported_gain_apply(lower, upper, kind):
    verdict = decide(lower, upper, 1.0, 8, DELTA, NEVER_REPORTED)
    assert verdict.kind == kind
    assert verdict.text == kind


def test_without_a_reported_gain_more_seeds_can_establish_a_material_gain():
    found = t_interval([1.5, 2.5, 1.0, 3.0, 2.0], 0.0213)
    needed = seeds_needed(found, DELTA, NEVER_REPORTED)
    assert needed.reachable
    assert needed.more > 0
    assert not seeds_needed(found, DELTA).reachable


@pytest.mark.parametrize(
    ("true", "false_kinds"),
    [(1.0, ("material gain",)), (0.0, ("material gain",)), (1.0, ("trivial gain", "no material gain"))],
)
@pytest.mark.parametrize("sd", [0.5, 1.5])
def test_a_false_verdict_is_as_rare_without_a_reported_gain_as_with_one(true, false_kinds, sd):
    looks = Looks((5, 8, 12))
    drawn = normal_studies(np.random.default_rng(3), 20_000, looks, true, sd)
    assert (
        simulate(drawn, looks, DELTA, NEVER_REPORTED).rate(*false_kinds) <= 0.025 + 3 * (0.025 * 0.975 / 20_000) ** 0.5
    )


def test_a_gain_that_is_larger_than_reported_is_stated():
    assert decide(5, 6, 1.0, 8, DELTA, R).text == "holds, larger than reported"
    assert decide(4.9, 6, 1.0, 8, DELTA, R).text == "holds"


def test_a_rejected_size_of_the_gain_is_stated():
    assert decide(0.5, 2, 1.0, 8, DELTA, R).text.endswith("the reported size is rejected")


def test_the_conditions_before_the_table_are_checked_first():
    assert decide(math.nan, math.nan, math.nan, 1, DELTA, R).kind == "screening only"
    assert decide(3, 9, 1.0, 4, DELTA, R).kind == "screening only"
    assert decide(2, 2, 0.0, 5, DELTA, R).kind == "identical"
    withheld = decide(3, 9, 1.0, 7, DELTA, R, withhold="unbalanced: 1 of 8 pairs incomplete")
    assert withheld.text == "verdict withheld (unbalanced: 1 of 8 pairs incomplete)"
    assert not withheld.decided
    assert not withheld.stops


@pytest.mark.parametrize(
    "arguments",
    [
        (2, 1, 1.0, 5, DELTA, R),
        (math.nan, 1, 1.0, 5, DELTA, R),
        (1, 2, math.nan, 5, DELTA, R),
        (1, 2, 1.0, 5, 0, R),
        (1, 2, 1.0, 5, 3.0, R),
        (1, 2, 1.0, 5, 1.0, 2.0),
    ],
)
def test_impossible_input_is_refused(arguments):
    with pytest.raises(ValueError, match="required"):
        decide(*arguments)


def applying(lower: float, upper: float, r: float | None, procedure: int = 2) -> list[str]:
    """Return an independent copy of the table on the statistics page, in the order of its conditions."""
    harm = [
        (upper < -DELTA, "harmful"),
        (lower >= -DELTA and upper < 0, "trivially lower"),
        (lower < -DELTA <= upper < 0, "negative, materiality open"),
    ]
    rows = [
        *(harm if procedure == 2 else [(upper < 0, "harmful")]),
        (lower <= 0 and upper < DELTA, "no material gain"),
        (lower > 0 and upper < DELTA, "trivial gain"),
        (r is not None and lower >= r / 2 and upper >= r, "holds"),
        (r is not None and lower >= DELTA and upper < r, "real, smaller than reported"),
        (r is not None and 0 < lower < DELTA <= upper < r, "positive, materiality open"),
        (lower > 0, "positive, size open"),
        (True, "inconclusive"),
    ]
    return [kind for applies, kind in rows if applies]


@given(ENDS, ENDS, st.sampled_from([None, R, 2.5]))
def test_every_interval_has_exactly_one_verdict(a, b, r):
    lower, upper = min(a, b), max(a, b)
    verdict = decide(lower, upper, 1.0, 5, DELTA, r)
    assert verdict.kind == applying(lower, upper, r)[0]
    assert (verdict.kind in STOPPING) != (verdict.kind in OPEN)


@given(ENDS, st.floats(0, 5), st.floats(0.1, 10))
def test_the_unit_does_not_change_the_verdict(lower, width, scale):
    here = decide(lower, lower + width, 1.0, 5, DELTA, R)
    there = decide(lower * scale, (lower + width) * scale, scale, 5, DELTA * scale, R * scale)
    near = min(abs(end - edge) for end in (lower, lower + width) for edge in (0, DELTA, R / 2, R))
    assert near < 1e-6 or here.kind == there.kind


def test_every_stopping_and_every_open_verdict_is_in_the_rules_shown():
    table = (*rules_of(), *rules_of(against_reported=False))
    shown = " | ".join(verdict for _, verdict, _ in table)
    assert all(kind in shown for kind in STOPPING | OPEN)
    stopping = {verdict for _, verdict, stops in table if stops == "yes"}
    assert len(stopping) == len(STOPPING)


def interval(mean: float, sd: float, n: int) -> Interval:
    """Return the interval of n values with this mean and SD."""
    base = t_interval([0.0, 1.0] * (n // 2) + [0.5] * (n % 2))
    scaled = [(x - base.mean) / base.sd * sd + mean for x in [0.0, 1.0] * (n // 2) + [0.5] * (n % 2)]
    return t_interval(scaled)


def test_without_a_reported_gain_only_the_rules_that_apply_are_shown():
    kinds = {verdict for _, verdict, _ in rules_of(against_reported=False)}
    assert {"material gain", "positive, size open"} < kinds
    assert not kinds & {"holds (L > r: larger than reported)", "real, smaller than reported"}


def test_the_number_of_seeds_needed_matches_a_manual_search():
    import numpy as np
    from scipy import stats

    found = seeds_needed(interval(1.8, 1.5, 5), DELTA, R)
    sd = 1.5 * np.sqrt(4 / stats.chi2.ppf(0.2, 4))
    for n in range(6, 300):
        half = stats.t.ppf(0.975, n - 1) * sd / np.sqrt(n)
        if 1.8 - half >= DELTA and 1.8 + half < R:
            break
    assert found.more == n - 5
    assert found.text == str(n - 5)


def test_the_number_of_seeds_needed_has_limits():
    assert seeds_needed(t_interval([1.0]), DELTA, R) is None
    assert seeds_needed(interval(1.001, 2.0, 6), DELTA, R).text == "more than 200"
    unreachable = seeds_needed(interval(3.0, 1.0, 6), DELTA, None)
    assert (unreachable.more, unreachable.reachable) == (None, False)
    assert seeds_needed(interval(0.2, 1.0, 6), DELTA, None).more > 0
    assert seeds_needed(interval(3.0, 0.1, 2), DELTA, R).more >= 3, "five pairs are the minimum"


@given(st.floats(-3, 8), st.floats(0.2, 3), st.integers(2, 12))
def test_adding_the_number_of_seeds_needed_ends_the_study(mean, sd, n):
    import numpy as np
    from scipy import stats

    found = seeds_needed(interval(mean, sd, n), DELTA, R)
    if found.more is not None:
        total = n + found.more
        wide = sd * np.sqrt((n - 1) / stats.chi2.ppf(0.2, n - 1))
        half = stats.t.ppf(0.975, total - 1) * wide / np.sqrt(total)
        assert decide(mean - half, mean + half, wide, total, DELTA, R).stops
