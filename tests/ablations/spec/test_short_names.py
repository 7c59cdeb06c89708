"""Shortened names fit, stay different, and keep their distinguishing parts."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from ablations.spec.short_names import clean, shortened

FACTORS = {"placement": ["block_entry", "stage_only", "every_layer"], "channels": [4, 8], "flips": ["on", "off"]}
NAMES = [
    "baseline",
    "aim",
    *(
        f"aim[{','.join(f'{factor}={level}' for factor, level in zip(FACTORS, levels, strict=True))}]"
        for levels in itertools.product(*FACTORS.values())
    ),
]
words = st.text(st.sampled_from("abcdXYZ019_-=,[]+ 記憶"), max_size=40)


@given(st.lists(words, max_size=30), st.integers(0, 60))
def test_every_name_fits_and_is_printable(names: list[str], width: int) -> None:
    found = shortened(names, width)
    assert len(found) == len(names)
    assert all(cell_len(name) <= width and name.isprintable() for name in found)


@given(st.lists(words, max_size=40), st.integers(4, 60))
def test_different_names_stay_different_and_equal_names_stay_equal(names: list[str], width: int) -> None:
    found = shortened(names, width)
    for (one, short), (other, other_short) in itertools.combinations(zip(names, found, strict=True), 2):
        assert (clean(one) == clean(other)) == (short == other_short)


@given(st.lists(words, max_size=30), st.integers(0, 60))
def test_a_name_that_fits_is_unchanged(names: list[str], width: int) -> None:
    for name, short in zip(names, shortened(names, width), strict=True):
        if cell_len(clean(name)) <= width:
            assert short == clean(name)


@pytest.mark.parametrize("width", range(10, 48))
def test_shortened_names_keep_levels_and_both_ends(width: int) -> None:
    found = dict(zip(NAMES, shortened(NAMES, width), strict=True))
    assert found["baseline"] == "baseline"
    for name, short in found.items():
        assert short[-1] == name[-1]
        assert short[0] in (name[0], "…")
        if width >= 14 and "[" in name:
            placement, channels, flips = (part.split("=")[1] for part in name[4:-1].split(","))
            assert f"{channels}," in short or f"{channels}…" in short, short
            assert short.endswith(f"{flips}]"), short
            assert placement[0] in short, short


def test_shared_parts_are_removed_first() -> None:
    assert shortened(NAMES, 34)[2:4] == ["aim[…=block_entry,cha…=4,fli…=on]", "aim[…=block_entry,cha…=4,fli…=off]"]
    sizes = [f"every_layer,batch_size={size}" for size in (50, 100)]
    assert shortened(sizes, 14) == ["every_lay…=50", "every_lay…=100"]


def test_names_whose_differing_parts_do_not_fit_are_numbered() -> None:
    middle = [f"{first}{'x' * 40}{number}{'x' * 40}" for first in "ab" for number in "12"]
    assert shortened(middle, 9) == ["axxxxx…#1", "axxxxx…#2", "bxxxxx…#3", "bxxxxx…#4"]


def test_four_hundred_names_with_five_factors_stay_different_in_eighteen_characters() -> None:
    names = [
        f"aim[placement={p},channels={c},flips={f},learning_rate={r},batch_size={b}]"
        for p, c, f, r, b in itertools.product(
            ("block_entry", "stage_only", "every_layer", "input_only"), (4, 8, 16, 32, 64), "yn", (0.1, 0.01), range(5)
        )
    ]
    assert len(names) == 400
    assert len(set(shortened(names, 18))) == 400
