"""Filtering, grouping and pairing of runs are compared with plain pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic_study import ARMS, FakeStudy, write_study

import analysis
from aimlib.errors import UsageError
from analysis.reading.query import select, summarise


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    study = FakeStudy(ARMS, list(range(4)), status={("aim", 3): "failed"})
    return analysis.load(write_study(tmp_path_factory.mktemp("query"), study, np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (["arm=aim"], lambda t: t["arm"] == "aim"),
        (["arm == aim", "seed>=2"], lambda t: (t["arm"] == "aim") & (t["seed"] >= 2)),
        (["seed!=1"], lambda t: t["seed"] != 1),
        (["arm=aim,frozen", "seed<1"], lambda t: t["arm"].isin(["aim", "frozen"]) & (t["seed"] < 1)),
        (["test_accuracy>0.16"], lambda t: t["test_accuracy"] > 0.16),
        (["test_accuracy<=0.16"], lambda t: t["test_accuracy"] <= 0.16),
        (["selection_oracle=no"], lambda t: ~t["selection_oracle"].astype(bool)),
        (["status!=finished,diverged"], lambda t: t["status"] == "failed"),
        (["started_at>2024-05-01T13:30"], lambda t: t["started_at"] > pd.Timestamp("2024-05-01T13:30", tz="UTC")),
        (["epochs_run>=6"], lambda t: (t["epochs_run"] >= 6).fillna(False)),
        ([], lambda t: t["seed"] >= 0),
    ],
)
def test_selections_agree_with_pandas(results, where, expected):
    runs = results.runs
    before = runs.copy(deep=True)
    pd.testing.assert_frame_equal(select(runs, where), runs[expected(runs)].reset_index(drop=True))
    pd.testing.assert_frame_equal(runs, before)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("arms=aim", "did you mean 'arm'"),
        ("arm", "expected an operator"),
        ("seed>=two", "'two' cannot be read as int64"),
        ("selection_oracle=perhaps", "cannot be read as boolean"),
        ("started_at>yesterdayish", "cannot be read as datetime"),
    ],
)
def test_impossible_conditions_are_refused(results, condition, message):
    with pytest.raises(UsageError, match=message):
        select(results.runs, [condition])


def test_summarise_groups_by_arm(results):
    table = summarise(results.runs, ["arm", "role"])
    assert list(table) == ["arm", "role", "runs", "n", "mean", "sd", "lower", "upper"]
    assert list(table["arm"]) == [arm.name for arm in ARMS]
    aim = table.set_index("arm").loc["aim"]
    values = results.runs.query("arm == 'aim'")["test_accuracy"].dropna()
    assert (aim["runs"], aim["n"]) == (4, 3)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    np.testing.assert_allclose(
        [aim["mean"], aim["sd"], aim["lower"], aim["upper"]], [values.mean(), values.std(), low, high]
    )


def test_summarise_handles_a_different_column_and_no_rows(results):
    assert summarise(results.runs, ["status"], "parameters")["n"].sum() == len(results.runs)
    empty = summarise(results.runs.iloc[:0], ["arm"])
    assert empty.empty
    assert list(empty.dtypes.astype(str)) == ["str", "int64", "int64", "float64", "float64", "float64", "float64"]


@pytest.mark.parametrize(
    ("by", "value", "message"),
    [
        ([], "test_accuracy", "at least one"),
        (["amr"], "test_accuracy", "did you mean 'arm'"),
        (["arm"], "host", "not numbers"),
    ],
)
def test_impossible_summaries_are_refused(results, by, value, message):
    with pytest.raises(UsageError, match=message):
        summarise(results.runs, by, value)


def test_compare_pairs_runs_by_seed(results):
    pairs = results.compare("aim", "baseline")
    wide = results.runs.pivot_table(index="seed", columns="arm", values="test_accuracy").reindex(range(4))
    np.testing.assert_allclose(pairs["difference"], 100 * (wide["aim"] - wide["baseline"]))
    assert list(pairs["treatment_status"]) == ["finished"] * 3 + ["failed"]


def test_compare_refuses_runs_that_it_cannot_pair(results):
    with pytest.raises(UsageError, match="did you mean 'aim'"):
        results.compare("aimm", "baseline")
    with pytest.raises(UsageError, match="unknown column"):
        results.compare("aim", "baseline", by="sead")
    with pytest.raises(UsageError, match="more than one run"):
        results.compare("aim", "baseline", by="status")


def test_the_requested_statistics_are_in_the_requested_order(results):
    values = results.runs.query("arm == 'aim'")["test_accuracy"].dropna()
    table = summarise(results.runs, ["arm"], statistics=["se", "median", "n", "min", "max", "ci"]).set_index("arm")
    assert list(table) == ["se", "median", "n", "min", "max", "lower", "upper"]
    expected = [values.sem(), values.median(), 3, values.min(), values.max()]
    np.testing.assert_allclose(table.loc["aim"].to_numpy(dtype=float)[:5], expected)
    with pytest.raises(UsageError, match="did you mean 'median'"):
        summarise(results.runs, ["arm"], statistics=["medain"])


def test_a_summary_is_sorted_by_its_own_columns(results):
    table = summarise(results.runs, ["arm"], sort=["-n", "mean"])
    assert list(table["n"]) == sorted(table["n"], reverse=True)
    equal = table[table["n"] == table["n"].max()]
    assert equal["mean"].is_monotonic_increasing
    with pytest.raises(UsageError, match="unknown column 'meen'"):
        summarise(results.runs, ["arm"], sort=["meen"])


def test_where_selects_runs_and_does_not_change_the_frame(results):
    frame = results.where("arm == aim and seed < 2")
    assert list(frame["seed"]) == [0, 1]
    assert set(frame["arm"]) == {"aim"}
    pd.testing.assert_frame_equal(frame, select(results.runs, ["arm=aim", "seed<2"]))


@pytest.mark.parametrize("statistic", ["mean", "n", "median", "max"])
def test_a_pivot_matches_pandas(results, statistic):
    table = results.pivot("seed", "arm", statistic=statistic)
    function = {"n": "count"}.get(statistic, statistic)
    expected = results.runs.pivot_table(
        index="seed", columns="arm", values="test_accuracy", aggfunc=function, dropna=False
    )
    np.testing.assert_allclose(table[expected.columns].loc[expected.index], expected)
    assert table.index.name == "seed"
    assert table.columns.name == "arm"


def test_a_pivot_by_one_factor_has_one_column(results):
    table = results.pivot("arm")
    assert list(table.columns) == ["test_accuracy"]
    expected = results.runs.groupby("arm")["test_accuracy"].mean()
    np.testing.assert_allclose(table["test_accuracy"].loc[expected.index], expected)


def test_impossible_pivots_are_refused(results):
    with pytest.raises(UsageError, match="only once"):
        results.pivot("arm", ["seed", "arm"])
    with pytest.raises(UsageError, match="two numbers"):
        results.pivot("arm", "seed", statistic="ci")
    with pytest.raises(UsageError, match="did you mean 'arm'"):
        results.pivot("amr", "seed")


def test_a_single_column_statistic_or_order_need_not_be_a_list(results):
    listed = summarise(results.runs, ["arm"], statistics=["mean"], sort=["-mean"])
    pd.testing.assert_frame_equal(summarise(results.runs, "arm", statistics="mean", sort="-mean"), listed)


def test_a_condition_that_is_not_a_string_is_refused(results):
    for given in (None, 3, True, b"seed==0", {"seed": 0}):
        with pytest.raises(UsageError, match="a condition must be text, not "):
            results.where(given)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda runs: summarise(runs, ["arm", "seed", "arm"]), "by: arm is given twice; remove one"),
        (lambda runs: summarise(runs, "arm", statistics=["mean", "mean"]), "statistics: mean is given twice"),
    ],
)
def test_a_table_never_has_two_columns_with_the_same_name(results, call, message):
    with pytest.raises(UsageError, match=message):
        call(results.runs)
