"""Durations are read and written in the usual notation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations.spec.durations import duration, parse_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30min", 1800), (" 1.5 h ", 5400), ("2 Days", 172_800), (".5h", 1800), ("0s", 0), ("2.min", 120)],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("30", "'30': no unit; use s, min, h or d"),
        ("5m", "the unit 'm' is ambiguous; write 5min"),
        ("5 weeks", "unknown unit 'weeks'"),
        ("-5min", "is not a duration; give a number and a unit"),
        ("soon", "is not a duration"),
        ("", "is not a duration"),
        ("1h30min", "is not a duration"),
        ("9" * 400 + "h", "is too long"),
        ("٣min", "is not a duration"),
    ],
)
def test_an_invalid_duration_is_refused_with_the_right_notation(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        parse_seconds(text)


@given(st.integers(0, 10**7))
def test_a_shown_duration_is_exact_to_its_smallest_unit(seconds: int) -> None:
    parts = duration(seconds).split(" ")
    shown = sum(parse_seconds(f"{number}{unit}") for number, unit in zip(parts[::2], parts[1::2], strict=True))
    smallest = parse_seconds(f"1{parts[-1]}") if len(parts) == 4 else {"d": 3600, "h": 60, "min": 1, "s": 1}[parts[1]]
    assert 0 <= seconds - shown < smallest


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.6, "1 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3599.7, "1 h"),
        (18_600, "5 h 10 min"),
        (183_600, "2 d 3 h"),
        (10**8, "1157 d 9 h"),
    ],
)
def test_a_duration_is_shown_with_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text
