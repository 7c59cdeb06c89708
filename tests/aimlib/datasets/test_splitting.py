"""Splits by name are stratified, identical on every machine, and never divide a group."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimlib.datasets.splitting import SplitConfig, is_test
from aimlib.errors import ConfigError, DataError

SIZES = st.lists(st.integers(2, 40), min_size=1, max_size=6)


def split(**options: object) -> SplitConfig:
    return SplitConfig.parse(options)


def photos(sizes: list[int]) -> tuple[list[str], np.ndarray, list[str]]:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return [f"class{label}/{number}.jpg" for number, label in enumerate(labels)], labels, [f"class{i}" for i in labels]


@given(sizes=SIZES, fraction=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_a_fraction_of_every_class_is_used_for_testing(sizes: list[int], fraction: float, seed: int) -> None:
    keys, labels, _ = photos(sizes)
    test = is_test(split(test_fraction=fraction, seed=seed), keys, labels, [f"class{n}" for n in range(len(sizes))])
    for label, size in enumerate(sizes):
        chosen = int(test[labels == label].sum())
        assert 1 <= chosen <= size - 1
        assert abs(chosen - fraction * size) <= 1


@given(sizes=st.lists(st.integers(5, 40), min_size=1, max_size=6), folds=st.integers(2, 5), seed=st.integers(0, 99))
def test_every_photo_is_tested_in_exactly_one_fold(sizes: list[int], folds: int, seed: int) -> None:
    keys, labels, _ = photos(sizes)
    names = [f"class{n}" for n in range(len(sizes))]
    tests = [is_test(split(folds=folds, fold=fold, seed=seed), keys, labels, names) for fold in range(folds)]
    assert (np.sum(tests, axis=0) == 1).all()
    of_class = np.array([[int(test[labels == label].sum()) for test in tests] for label in range(len(sizes))])
    assert (np.ptp(of_class, axis=1) <= 1).all(), "classes are spread as evenly as possible"
    assert np.ptp(of_class.sum(axis=0)) <= 1, "folds are as equal in size as possible"


@given(order=st.permutations(range(30)), fold=st.integers(0, 2))
def test_neither_the_order_nor_the_unicode_form_changes_the_split(order: list[int], fold: int) -> None:
    keys = [("caf\u00e9" if number % 2 else "tea") + f"/{number}.jpg" for number in range(30)]
    labels = np.arange(30) % 2
    first = is_test(split(folds=3, fold=fold), keys, labels, ["tea", "cafe"])
    moved = [keys[number].replace("\u00e9", "e\u0301") for number in order]
    again = is_test(split(folds=3, fold=fold), moved, labels[order], ["tea", "cafe"])
    assert (again == first[order]).all()


def test_the_documented_split_never_changes() -> None:
    """A change to the algorithm would change the splits of stored studies, so a different algorithm needs a new
    option."""
    keys = [f"a/{number}" for number in range(5)] + [f"b/{number}" for number in range(5)]
    labels = np.repeat([0, 1], 5)
    chosen = is_test(split(test_fraction=0.4, seed=3), keys, labels, ["a", "b"])
    ranked = {
        letter: sorted(
            (key for key in keys if key[0] == letter), key=lambda key: hashlib.sha256(f"3/{key}".encode()).hexdigest()
        )
        for letter in "ab"
    }
    assert {key for key, test in zip(keys, chosen, strict=True) if test} == {*ranked["a"][:2], *ranked["b"][:2]}
    assert np.flatnonzero(chosen).tolist() == [1, 3, 6, 8]


@given(
    groups=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 2)), min_size=18, max_size=40),
    folds=st.integers(2, 4),
    seed=st.integers(0, 20),
)
def test_groups_stay_together(groups: list[tuple[int, int]], folds: int, seed: int) -> None:
    groups += [(2, label) for label in range(3) for _ in range(folds)]
    labels = np.array([label for size, label in groups for _ in range(size)])
    names = [f"g{number}" for number, (size, _) in enumerate(groups) for _ in range(size)]
    keys = [f"{number}.jpg" for number in range(len(labels))]
    tests = [is_test(split(folds=folds, fold=n, seed=seed), keys, labels, list("abc"), names) for n in range(folds)]
    assert (np.sum(tests, axis=0) == 1).all()
    for test in tests:
        held = {name for name, flag in zip(names, test, strict=True) if flag}
        assert not held & {name for name, flag in zip(names, test, strict=True) if not flag}
    largest = max(np.bincount(np.unique(names, return_inverse=True)[1]))
    sizes = [int(test.sum()) for test in tests]
    assert max(sizes) - min(sizes) <= 3 * largest, "parts have about the intended size"


def test_data_that_cannot_be_split_is_refused() -> None:
    keys, labels, _ = photos([1, 9])
    with pytest.raises(DataError, match=r"at least 2 images, but 1 class has fewer: class0 \(1\)"):
        is_test(split(test_fraction=0.5), keys, labels, ["class0", "class1"])
    with pytest.raises(DataError, match=r"at least 5 images.*lower data\.split\.folds"):
        is_test(split(folds=5, fold=0), *photos([4, 9])[:2], ["class0", "class1"])
    labels = np.array([0, 0, 0, 1, 1, 1])
    with pytest.raises(DataError, match=r"no test image of a .*1 group|no training image of a .*1 group"):
        is_test(split(test_fraction=0.5), list("uvwxyz"), labels, ["a", "b"], ["g", "g", "g", "h", "i", "j"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "either test_fraction"),
        ({"test_fraction": 0.2, "folds": 5, "fold": 0}, "either test_fraction"),
        ({"test_fraction": 0.2, "fold": 0}, "no effect without folds"),
        ({"folds": 5}, "from 0 to 4; got None"),
        ({"folds": 5, "fold": 5}, "from 0 to 4; got 5"),
        ({"test_fraction": 1.0}, "less than 1"),
    ],
)
def test_contradictory_options_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        split(**options)
