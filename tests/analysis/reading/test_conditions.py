"""Conditions select the same rows as pandas, and errors state the position of a mistake."""

from __future__ import annotations

import contextlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimlib.errors import UsageError
from analysis.reading.conditions import rows_that_meet

FRAME = pd.DataFrame(
    {
        "arm": pd.array(["aim", "aim[a=1,b=2]", "plain arm", "or"], dtype="str"),
        "placement": pd.array(["stage_only", None, "every_layer", "stage_only"], dtype="str"),
        "batch_size": pd.array([20, 50, None, 100], dtype="Int64"),
        "schedule.patience": pd.array([1, 2, 3, 4], dtype="Int64"),
        "rate": [0.1, 0.01, np.nan, 1e-3],
        "other": [0.05, 0.5, 1.0, 1e-3],
        "flip": pd.array([True, False, None, True], dtype="boolean"),
        "at": pd.to_datetime(["2024-05-01", "2024-05-02", "2024-05-03", "2024-05-04"], utc=True),
        "odd name": [1, 2, 3, 4],
        "kind": pd.array(["none", "a", None, "a"], dtype="str"),
        "role": pd.array(["treatment", "other", "other", "baseline"], dtype="str"),
    }
)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("batch_size >= 50", [1, 3]),
        ("batch_size >= 50 and placement == 'stage_only'", [3]),
        ("batch_size>=50 and placement==stage_only", [3]),
        ('placement == "stage_only" or rate < 0.05', [0, 1, 3]),
        ("batch_size < 30 or batch_size > 60 and rate > 1", [0]),
        ("(batch_size < 30 or batch_size > 60) and rate < 0.05", [3]),
        ("not batch_size >= 50", [0, 2]),
        ("not (placement == stage_only or rate == 0.01)", [2]),
        ("placement in (stage_only, every_layer)", [0, 2, 3]),
        ("placement in [stage_only]", [0, 3]),
        ("placement in ('stage_only',)", [0, 3]),
        ("placement not in (stage_only)", [1, 2]),
        ("batch_size in (20, 100)", [0, 3]),
        ("placement == null", [1]),
        ("placement != none", [0, 2, 3]),
        ("placement=null,every_layer", [1, 2]),
        ("batch_size = null", [2]),
        ("kind == none", [0]),
        ("kind = null", [2]),
        ("kind in (none, null)", [0, 2]),
        ("placement in (null, every_layer)", [1, 2]),
        ("rate == nan", [2]),
        ("batch_size != 20", [1, 2, 3]),
        ("flip == true", [0, 3]),
        ("flip = no", [1]),
        ("not flip == true", [1, 2]),
        ("schedule.patience >= 3", [2, 3]),
        ("`odd name` <= 2", [0, 1]),
        ("`odd name` <= 2 AND NOT batch_size == 20", [1]),
        ("rate > other", [0]),
        ("rate == other", [3]),
        ("at > 2024-05-02", [2, 3]),
        ("at >= '2024-05-02' and at < '2024-05-04'", [1, 2]),
        ("arm == 'plain arm'", [2]),
        ("arm=plain arm", [2]),
        ("arm=aim[a=1,b=2]", [1]),
        ("arm == 'aim[a=1,b=2]' or batch_size = 20", [0, 1]),
        ("arm=aim,or", [0, 3]),
        ("arm == 'or'", [3]),
        ("role == aim", [0]),
        ("role=aim,baseline", [0, 3]),
        ("role in (aim, baseline)", [0, 3]),
    ],
)
def test_a_condition_selects_the_rows_that_it_describes(condition, expected):
    met = rows_that_meet(FRAME, condition)
    assert met.dtype == bool
    assert list(FRAME.index[met]) == expected


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("", "expected the name of a column, found the end"),
        ("batch_size", "expected an operator .*found the end"),
        ("batch_size >= ", "expected a value, found the end"),
        ("placement ==", "expected a value, found the end"),
        ("rate >= nan", "null can be compared with == and != only"),
        ("rate > 1 and and flip == true", "expected the name of a column, found 'and'"),
        (None, "a condition must be text, not NoneType"),
        (b"rate > 1", "a condition must be text, not bytes"),
        ("batch_size >= and rate < 1", "'and' cannot be read as Int64|expected"),
        ("batch_siz >= 50 and rate < 1", "did you mean 'batch_size'"),
        ("(batch_size >= 50) rate", "expected 'and', 'or' or the end, found 'rate' at position 20"),
        ("batch_size >= 50 rate", "'50 rate' cannot be read as Int64"),
        ("(batch_size >= 50 and rate < 1", r"expected '\)', found the end"),
        ("batch_size >= fifty and rate < 1", "'fifty' cannot be read as Int64"),
        ("batch_size >= '50' and rate < 1", "without quotes"),
        ("flip == 'true'", "without quotes"),
        ("placement in stage_only or", "expected a list"),
        ("placement in (stage_only", r"expected ',' or '\)'"),
        ("placement in ()", "expected a value"),
        ("placement not stage_only", "expected 'in'"),
        ("rate > null and flip == true", "null can be compared with == and != only"),
        ("rate > `arm`", "cannot be compared with 'arm'"),
        ("placement == 'stage_only", "cannot read"),
        ("__import__('os').system('true')", "unknown column '__import__'|expected an operator"),
        ("@rate > 1 and flip == true", "unknown column '@rate'"),
        ("rate + 1 > 2 and flip == true", "expected an operator .*'[+]'"),
        ("(" * 3000 + "rate > 1" + ")" * 3000, "nested deeper than 50"),
        ("not " * 3000 + "rate > 1", "nested deeper than 50"),
    ],
)
def test_an_invalid_condition_is_refused_and_the_position_of_the_mistake_is_stated(condition, message):
    with pytest.raises(UsageError, match=message):
        rows_that_meet(FRAME, condition)


@pytest.mark.parametrize(
    ("condition", "meant", "expected"),
    [
        ("30 < batch_size < 60", "batch_size > 30 and batch_size < 60", [1]),
        ("flip == true and 30 <= batch_size <= 100", "flip == true and batch_size >= 30 and batch_size <= 100", [3]),
        ("50 <= batch_size", "batch_size >= 50", [1, 3]),
        ("50 == batch_size", "batch_size == 50", [1]),
        ("batch_size between 30 and 60", "batch_size >= 30 and batch_size <= 60", [1]),
        ("batch_size >= 50 && rate < 0.005", "batch_size >= 50 and rate < 0.005", [3]),
        ("batch_size < 30 || rate < 0.005", "batch_size < 30 or rate < 0.005", [0, 3]),
        ("(batch_size >= 50) & (rate < 0.005)", "(batch_size >= 50) and (rate < 0.005)", [3]),
        ("!(batch_size >= 50)", "not (batch_size >= 50)", [0, 2]),
        ("~(batch_size >= 50)", "not (batch_size >= 50)", [0, 2]),
        ("batch_size is null", "batch_size == null", [2]),
        ("placement IS NOT NULL", "placement != null", [0, 2, 3]),
        ("flip is true", "flip == true", [0, 3]),
        ("placement =! stage_only", "placement != stage_only", [1, 2]),
        ("placement in stage_only", "placement in (stage_only)", [0, 3]),
        ("placement === stage_only", "placement == stage_only", [0, 3]),
        ("batch_size <> 20", "batch_size != 20", [1, 2, 3]),
        ("batch_size ≥ 50", "batch_size >= 50", [1, 3]),
        ("placement in {stage_only, every_layer}", "placement in (stage_only, every_layer)", [0, 2, 3]),
        ("batch_size in 20, 50", "batch_size in (20, 50)", [0, 1]),
        ("batch_size == [20, 50]", "batch_size in (20, 50)", [0, 1]),
        ("batch_size > (30)", "batch_size > 30", [1, 3]),
        ("'batch_size' >= 50", "`batch_size` >= 50", [1, 3]),
        ("rate > 5%", "rate > 5e-2", [0]),
        ("batch_size > - 1", "batch_size > -1", [0, 1, 3]),
    ],
)
def test_a_condition_in_a_different_notation_is_refused_and_the_correct_notation_is_shown(condition, meant, expected):
    with pytest.raises(UsageError) as caught:
        rows_that_meet(FRAME, condition)
    assert str(caught.value) == f"condition {condition!r}: this notation is not supported; write {meant}"
    assert list(FRAME.index[rows_that_meet(FRAME, meant)]) == expected


@pytest.mark.parametrize("condition", ["arm == 'a&b", "batch_siz & rate", "batch_size is", "rate > 1 &", "& | ! %"])
def test_a_suggested_condition_is_never_refused_itself(condition):
    with pytest.raises(UsageError) as caught:
        rows_that_meet(FRAME, condition)
    assert "this notation" not in str(caught.value)


numbers = st.integers(-2, 4)
comparisons = st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), numbers)
trees = st.recursive(
    comparisons.map(lambda c: f"{c[0]} {c[1]} {c[2]}"),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda text: f"(not {text})"),
    ),
    max_leaves=8,
)
COMPLETE = pd.DataFrame({"a": [-1, 0, 1, 2, 3], "b": [3, 1, 0, 2, -2]})


@given(trees)
def test_on_columns_without_nulls_a_condition_means_the_same_as_in_pandas(condition):
    expected = COMPLETE.query(condition)
    assert list(COMPLETE.index[rows_that_meet(COMPLETE, condition)]) == list(expected.index)


@given(st.text(max_size=40))
def test_every_text_selects_rows_or_causes_a_clear_error(text):
    with contextlib.suppress(UsageError):
        assert len(rows_that_meet(FRAME, text)) == len(FRAME)
