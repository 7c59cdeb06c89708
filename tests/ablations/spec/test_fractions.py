"""Fractional factorials are orthogonal, have the stated resolution, and contain the combination of all first levels."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablations.planning.factors import combinations
from ablations.spec.fractions import STANDARD, fractional_factorial, parsed, resolution_of, standard
from ablations.spec.study import read_study
from aimlib.errors import ConfigError

StudyMaker = Callable[..., Path]
PUBLISHED = {
    (3, 4): 3, (4, 8): 4, (5, 8): 3, (5, 16): 5, (6, 8): 3, (6, 16): 4, (6, 32): 6, (7, 8): 3, (7, 16): 4, (7, 32): 4,
    (7, 64): 7, (8, 16): 4, (8, 32): 4, (8, 64): 5, (9, 16): 3, (9, 32): 4, (9, 64): 4, (10, 16): 3, (10, 32): 4,
    (10, 64): 4, (11, 16): 3, (11, 32): 4,
}  # fmt: skip


def matrix(number: int, generators: dict[str, tuple[str, ...]]) -> np.ndarray:
    levels = {f"f{at}": (-1, 1) for at in range(number)}
    return np.array([list(chosen.values()) for chosen in fractional_factorial(levels, generators)])


@pytest.mark.parametrize(("number", "runs"), sorted(STANDARD))
def test_a_standard_design_has_its_published_resolution_and_is_orthogonal(number: int, runs: int) -> None:
    names = [f"f{at}" for at in range(number)]
    generators = parsed(
        [
            f"{names['ABCDEFGHJKL'.index(text[0])]} = {' * '.join(names['ABCDEFGHJKL'.index(c)] for c in text[2:])}"
            for text in STANDARD[number, runs].split()
        ],
        names,
    )
    x = matrix(number, generators)
    assert x.shape == (runs, number)
    assert len(np.unique(x, axis=0)) == runs
    assert (x[0] == -1).all(), "the combination of all first levels"
    np.testing.assert_array_equal(x.T @ x, runs * np.eye(number))
    assert not x.sum(axis=0).any()
    shortest = next(
        size
        for size in range(1, number + 1)
        for chosen in itertools.combinations(range(number), size)
        if abs(x[:, chosen].prod(axis=1).sum()) == runs
    )
    assert shortest == resolution_of(generators) == PUBLISHED[number, runs]


@pytest.mark.parametrize(("number", "resolution", "runs"), [(3, 3, 4), (5, 3, 8), (5, 4, 16), (6, 4, 16), (8, 5, 64)])
def test_the_smallest_design_with_the_required_resolution_is_chosen(number: int, resolution: int, runs: int) -> None:
    names = [f"f{at}" for at in range(number)]
    assert len(matrix(number, standard(names, resolution))) == runs


FACTORS: dict[str, Any] = {
    "model.placement": ["block_entry", "every_layer"],
    "model.memory.channels": [4, 8],
    "training.batch_size": [16, 8],
    "training.epochs": [2, 1],
}
FRACTION: dict[str, Any] = {"vary": "aim", "factors": FACTORS, "design": "fractional_factorial"}


def test_a_study_can_set_a_resolution_or_generators(study: StudyMaker) -> None:
    stated = combinations(read_study(study({**FRACTION, "resolution": 4})).spec)
    own = combinations(
        read_study(study({**FRACTION, "generators": ["epochs = placement * channels * batch_size"]})).spec
    )
    assert stated == own
    assert len(stated) == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"needs either resolution \(3, 4 or 5\) or generators"),
        ({"resolution": 5}, r"no fractional design of 4 factors has resolution 5; known: resolution 4 in 8"),
        ({"resolution": 4, "generators": ["epochs=placement*channels"]}, "either resolution"),
        ({"generators": ["epochs = placement"]}, "write FACTOR = FACTOR"),
        ({"generators": ["epochs = placement * chanels"]}, "unknown factor 'chanels'; known: placement"),
        ({"generators": ["epochs = placement*channels", "channels = placement*batch_size"]}, "is itself generated"),
        ({"design": "full_factorial", "resolution": 4}, "resolution: no effect without design: fractional_factorial"),
        ({"resolution": 4, "factors/training.epochs": [1, 2, 3]}, "set two levels, not 3"),
    ],
)
def test_a_bad_fraction_is_refused_with_the_reason(study: StudyMaker, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_study(study({**FRACTION, **changes}))
