"""Named random streams never change, and are independent of each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import quick

from aimlib.seeding import seed_for, seeds_for, uniforms

names = st.lists(
    st.one_of(st.text(st.characters(exclude_characters="\x1f"), max_size=5), st.integers(-(10**6), 10**6)), max_size=3
)

GOLDEN = (3950150376135319231, 1514979945045529696, 8227988700321287139)
GOLDEN_UNIFORMS = [
    [0.8833108082136426, 0.43152799704850997],
    [0.5665615751722809, 0.7457817572627011],
    [0.16564699010451844, 0.9454956800914366],
]


def test_seeds_never_change() -> None:
    # These values are fixed, because stored results were computed with them.
    assert seed_for(0, "init") == GOLDEN[0]
    assert seed_for(7, "augment", 3, 41) == GOLDEN[1]
    assert seed_for(2**31 - 1, "init", "layer1.0.conv1.weight") == GOLDEN[2]


def test_uniform_draws_never_change() -> None:
    drawn = uniforms(np.array([0, 1, 2**63 - 1], dtype=np.uint64), 2)
    assert drawn.tolist() == GOLDEN_UNIFORMS


@pytest.mark.parametrize("part", [1.0, True, None, ("a",), b"a", np.float64(1), np.bool_(True)])
def test_names_of_other_types_are_refused(part: object) -> None:
    with pytest.raises(TypeError, match="strings and integers"):
        seed_for(0, "order", part)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="strings and integers"):
        seed_for(part)  # type: ignore[arg-type]


@quick
@given(names, names)
def test_streams_differ_exactly_if_their_names_differ(one: list[str | int], two: list[str | int]) -> None:
    separator = "\x1f"
    if any(isinstance(part, str) and separator in part for part in one + two):
        return
    assert (seed_for(5, *one) == seed_for(5, *two)) == (one == two)


def test_strings_and_numbers_are_different_names_and_numpy_integers_count_as_numbers() -> None:
    assert seed_for(0, "1") != seed_for(0, 1)
    assert seed_for(0, "a", "b") != seed_for(0, "ab")
    assert seed_for(0, 12) != seed_for(0, 1, 2)
    assert seed_for(0, np.int64(4)) == seed_for(np.int32(0), 4) == seed_for(0, 4)


@quick
@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=20), st.integers(1, 9), st.randoms())
def test_a_row_depends_only_on_its_own_seed(seeds: list[int], draws: int, random: object) -> None:
    order = np.random.default_rng(len(seeds)).permutation(len(seeds))
    array = np.array(seeds, dtype=np.uint64)
    together = uniforms(array, draws)
    assert np.array_equal(uniforms(array[order], draws), together[order])
    assert np.array_equal(uniforms(array[:1], draws)[0], together[0])
    assert np.array_equal(uniforms(array, draws + 3)[:, :draws], together)
    assert together.shape == (len(seeds), draws)
    assert (together >= 0).all()
    assert (together < 1).all()


def test_draws_are_nearly_uniform_and_uncorrelated() -> None:
    seeds = np.array([seed_for(0, "augment", 1, image) for image in range(20_000)], dtype=np.uint64)
    drawn = uniforms(seeds, 6)
    counts = np.stack([np.histogram(column, bins=20, range=(0, 1))[0] for column in drawn.T])
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(1000 * 0.95)
    assert np.abs(np.corrcoef(drawn.T) - np.eye(6)).max() < 0.03
    assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 0.03
    assert len(np.unique(drawn)) == drawn.size


def test_a_name_must_not_contain_the_separator_of_names() -> None:
    with pytest.raises(ValueError, match="separator"):
        seed_for(0, "a\x1fb")


def test_seeds_computed_for_many_numbers_equal_seeds_computed_one_by_one() -> None:
    numbers = np.array([0, 7, -3, 12_000, 2**40, 7])
    seeds = seeds_for(5, "augment", 2, numbers=numbers)
    assert seeds.dtype == np.uint64
    assert seeds.tolist() == [seed_for(5, "augment", 2, int(number)) for number in numbers]
    assert len(seeds_for(5, "augment", numbers=numbers[:0])) == 0
    with pytest.raises(TypeError, match="strings and integers"):
        seeds_for(5, 0.5, numbers=numbers)  # type: ignore[arg-type]
