"""How numbers are formatted for readers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.wording import number_format


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.123, 2, "0.12"),
        (168.4, 2, "170"),
        (1234.5, 2, "1,200"),
        (1234.5, 3, "1,230"),
        (-15.26, 3, "−15.3"),
        (9.96, 2, "10"),
        (0.0, 2, "0"),
        (2e-7, 2, "2e−07"),
        (None, 2, "–"),
        (math.inf, 2, "–"),
        (math.nan, 2, "–"),
    ],
)
def test_numbers_are_rounded_to_significant_digits(value: float | None, digits: int, text: str) -> None:
    assert number_format.significant(value, digits) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        ({"name": "stage_only"}, "stage_only"),
        (
            {"name": "conv_ones", "channels": 16, "initial_scale": 1.0, "source_lr_scale": 4.0},
            "conv_ones(channels=16, source_lr_scale=4)",
        ),
        ({"source": "a.pt", "key": None, "prefix": "", "leave_out": ["fc.*"]}, "(source=a.pt, leave_out=[fc.*])"),
        (
            {"freeze": [], "learning_rates": [{"layers": ["a"], "scale": 1.0}], "ema": None},
            "(learning_rates=[(layers=[a], scale=1)])",
        ),
        ({"name": "focal", "alpha": None, "gamma": 0.0}, "focal(alpha=none, gamma=0)"),
        (
            {"name": "image_index", "columns": {"path": "file", "group": None}},
            "image_index(columns=(path=file, group=none))",
        ),
        ({"name": "sgd", "nesterov": False, "momentum": 0}, "sgd(nesterov=false, momentum=0)"),
        ({"crop_scale": 1, "passes": 1}, "(passes=1)"),
    ],
)
def test_the_description_of_an_option_omits_values_without_an_effect(value: object, text: str) -> None:
    assert number_format.option(value) == text


@given(st.floats(1e-4, 1e12), st.integers(1, 6))
def test_significant_digits_agree_with_rounding_and_have_no_exponent(value: float, digits: int) -> None:
    text = number_format.significant(value, digits)
    assert "e" not in text
    assert math.isclose(float(text.replace(",", "")), float(f"{value:.{digits}g}"), rel_tol=1e-14)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.00"),
        (0.5, "0.50"),
        (0.125, "0.125"),
        (1e-6, "0.000001"),
        (2.5e-9, "0.0000000025"),
        (10.0, "10.00"),
        (1 / 3, "0.333333"),
        (-0.001, "−0.001"),
        (math.inf, "–"),
    ],
)
def test_an_exact_number_has_as_many_decimals_as_it_needs(value: float, text: str) -> None:
    assert number_format.exact(value) == text


@given(
    end=st.one_of(st.floats(-20, 20), st.sampled_from([0.004, -0.004, 0.996, 1.004, 0.129, 0.0, 1.0])),
    limits=st.lists(st.sampled_from([0.0, 1.0, -1.0, 0.128, 2.46, 4.92]), max_size=4),
)
def test_written_ends_lie_on_the_same_side_of_a_limit_as_the_ends(end: float, limits: list[float]) -> None:
    digits = number_format.digits_beside([end], limits)
    assert 2 <= digits <= 8
    written = float(number_format.decimal(end, digits).replace(number_format.MINUS, "-"))
    for limit in limits:
        if abs(end - limit) > 1e-7:
            assert (written > limit, written < limit) == (end > limit, end < limit)


def test_ends_away_from_all_limits_keep_their_decimals() -> None:
    assert number_format.digits_beside([-0.36, 1.2], [0.0, 1.0, -1.0]) == 2
    assert number_format.digits_beside([0.0, 1.0], [0.0, 1.0]) == 2, "on a limit"
    assert number_format.digits_beside([0.0004, 0.5], [0.0], 3) == 4
