"""Arms ordered by their means, and arms that the pairs do not distinguish from the first arm."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.statistics.ranking import COLUMNS, ranking


@pytest.fixture
def values():
    rng = np.random.default_rng(0)
    seeds = rng.normal(0, 3, 8)[:, None]  # shared by all arms of a seed, so that pairs are more precise than means
    means = np.array([70.0, 72.0, 71.95, 60.0])
    return pd.DataFrame(means + seeds + rng.normal(0, 0.3, (8, 4)), columns=["a", "b", "c", "d"])


def test_arms_are_sorted_from_the_highest_mean_to_the_lowest(values):
    found = ranking(values)
    assert list(found) == list(COLUMNS)
    assert found["arm"].tolist() == values.mean().sort_values(ascending=False).index.tolist()
    assert found["rank"].tolist() == [1, 2, 3, 4]
    assert found["mean"].tolist() == pytest.approx(sorted(values.mean(), reverse=True))


def test_the_distance_from_the_first_arm_has_a_paired_t_interval_at_the_divided_level(values):
    found = ranking(values, alpha=0.06).set_index("arm")
    first = found.index[0]
    for arm in found.index[1:]:
        known = stats.ttest_rel(values[first], values[arm]).confidence_interval(1 - 0.06 / 6)
        assert (found["behind_lower"][arm], found["behind_upper"][arm]) == pytest.approx((known.low, known.high))
        assert found["tied"][arm] == (known.low <= 0)
    assert found["alpha"].unique().tolist() == [0.01]


def test_arms_that_pairs_do_not_distinguish_are_tied_with_the_first_arm(values):
    assert ranking(values).set_index("arm")["tied"].to_dict() == {"b": True, "c": True, "a": False, "d": False}


def test_a_pair_with_a_missing_run_is_left_out(values):
    values.loc[0, "a"] = np.nan
    row = ranking(values).set_index("arm").loc["a"]
    assert (row["n"], row["pairs"]) == (7, 7)
    assert row["behind"] == pytest.approx((values["b"] - values["a"]).mean())


def test_equal_means_share_a_rank():
    found = ranking(pd.DataFrame({"a": [1.0, 2.0], "b": [2.0, 1.0], "c": [0.0, 0.0]}))
    assert found["rank"].tolist() == [1, 1, 3]


@pytest.mark.parametrize("table", [{}, {"a": [np.nan, np.nan]}, {"a": [1.0]}, {"a": [1.0], "b": [2.0]}])
def test_with_few_values_there_is_no_interval_and_no_arm_is_distinguished(table):
    found = ranking(pd.DataFrame(table))
    assert found["behind_lower"].isna().all()
    assert found["tied"].all()


@pytest.mark.parametrize("studies", [100, pytest.param(400, marks=pytest.mark.slow)])
def test_the_best_arm_is_tied_with_the_first_arm_at_the_stated_rate(studies):
    rng = np.random.default_rng(1)
    kept = 0
    for _ in range(studies):
        values = pd.DataFrame(rng.normal(0, 1, (10, 12)) + np.linspace(0, 1, 12))
        values.columns = [str(name) for name in values]
        found = ranking(values).set_index("arm")
        kept += bool(found["tied"]["11"])
    assert kept / studies >= 0.95
