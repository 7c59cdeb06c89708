"""Class differences: the shrunken mean is compared with its definition, class by class."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.figures.classes import caption
from analysis.statistics.classes import class_differences
from analysis.statistics.images import crossed


def by_definition(x: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> list[tuple[float, float, float, float]]:
    """Return raw, shrunken, se and posterior_sd for every class, computed from sums over classes in plain Python."""
    of = {int(label): x[:, labels == label] for label in sorted(set(labels.tolist()))}
    size = {label: part.shape[1] for label, part in of.items()}
    raw = {label: sum(part.flatten().tolist()) / part.size for label, part in of.items()}
    pooled = [
        (crossed(part).interval.sd ** 2 / len(part)) * part.shape[1] for part in of.values() if min(part.shape) > 1
    ]
    variance = {label: (sum(pooled) / len(pooled) if pooled else math.nan) / size[label] for label in of}
    images = sum(size.values())
    centre = sum(size[label] * raw[label] for label in of) / images
    moments = sum(size[label] * ((raw[label] - centre) ** 2 - variance[label]) for label in of) / images
    spread2 = max(moments, 0.0) if pooled else math.nan
    found = []
    for label in of:
        total = spread2 + variance[label]
        weight = spread2 / total if total != 0 else spread2
        shrunken = raw[label] * weight + centre * (1 - weight)
        found.append((raw[label], shrunken, math.sqrt(variance[label]), math.sqrt(variance[label] * weight)))
    return found


@given(seeds=st.integers(1, 6), sizes=st.lists(st.integers(1, 9), min_size=1, max_size=8), seed=st.integers(0, 99))
def test_class_differences_follow_their_definition(seeds: int, sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    x = 100.0 * rng.integers(-1, 2, (seeds, len(labels)))
    found = class_differences(x, labels, {}).sort_values("label")
    expected = by_definition(x, labels)
    assert np.allclose(found[["raw", "shrunken", "se", "posterior_sd"]].to_numpy(), expected, atol=1e-9, equal_nan=True)
    assert found["images"].tolist() == sizes


def test_shrunken_differences_are_closer_to_the_truth_than_raw_differences() -> None:
    rng = np.random.default_rng(5)
    sizes = np.where(np.arange(60) % 2, 8, 40)
    labels = np.repeat(np.arange(60), sizes)
    error = {"raw": 0.0, "shrunken": 0.0}
    for _ in range(20):
        truth = rng.normal(3.0, 4.0, 60)
        x = truth[labels] + rng.normal(0.0, 40.0, (6, len(labels)))
        found = class_differences(x, labels, {}).sort_values("label")
        for name in error:
            error[name] += float(((found[name] - truth) ** 2).sum())
    assert error["shrunken"] < 0.7 * error["raw"]


def test_classes_that_differ_only_by_noise_get_the_overall_mean() -> None:
    x = np.array([[100.0, -100.0, -100.0, 100.0], [-100.0, 100.0, 100.0, -100.0]])
    found = class_differences(x, np.array([0, 0, 1, 1]), {0: "first", 1: "second"})
    assert found["shrunken"].tolist() == [0.0, 0.0]
    assert found["posterior_sd"].tolist() == [0.0, 0.0]
    assert found["class_name"].tolist() == ["first", "second"]


def test_real_differences_are_kept() -> None:
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(30), 60)
    noise = rng.normal(0, 30, (6, len(labels)))
    alike = class_differences(noise + 4, labels, {})
    assert alike["shrunken"].std() < 0.5 * alike["raw"].std()
    found = class_differences(noise + np.where(labels < 5, 30.0, 0.0), labels, {0: "first"}).set_index("label")
    assert found.loc[range(5), "shrunken"].min() > 20
    assert found.loc[0, "class_name"] == "first"
    assert found["images"].tolist() == [60] * 30


def test_with_one_run_the_spread_of_classes_cannot_be_estimated() -> None:
    found = class_differences(np.array([[100.0, 0.0, 0.0]]), np.array([4, 4, 7]), {})
    assert found["se"].isna().all()
    assert found["shrunken"].isna().all()
    assert found["raw"].tolist() == pytest.approx([0.0, 50.0])
    assert found["label"].tolist() == [7, 4], "sorted by the difference"


def test_classes_of_one_image_each_are_not_shrunken_because_their_noise_is_not_known() -> None:
    x = 100.0 * np.random.default_rng(1).integers(-1, 2, (5, 20))
    found = class_differences(x, np.arange(20), {})
    assert found[["shrunken", "se", "posterior_sd"]].isna().all(axis=None)
    assert found["raw"].is_monotonic_increasing
    text = caption(found, "aim − baseline")
    assert "With one test image of each class, noise cannot be told from differences between classes" in text
    assert "posterior" not in text
    assert "overall mean" not in text


def test_the_caption_of_classes_without_any_variation_does_not_call_their_differences_noise() -> None:
    text = caption(summary([20, 20], [-5.0, 5.0]), "aim − baseline")
    assert "Seeds and images of a class do not differ at all, so there are no intervals." in text
    assert "assigned the overall mean" not in text


def summary(sizes: list[int], gains: list[float]) -> pd.DataFrame:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return class_differences(np.repeat(np.repeat(gains, sizes)[None, :], 2, axis=0), labels, {})


def test_the_caption_says_if_most_classes_have_the_opposite_sign_of_the_overall_difference() -> None:
    text = caption(summary([20, 20, 20, 400], [-5.0, -4.0, -6.0, 3.0]), "aim − baseline")
    assert (
        "The difference over all images is +1.96 pp, but 3 of 4 classes lie on the opposite side of 0 before "
        "shrinkage. "
        "The mean over classes, with equal weights, is −3.00 pp." in text
    )
    assert "opposite side" in caption(summary([20, 400], [-5.0, 1.0]), "aim − baseline"), "the mean alone"
    assert "opposite side" not in caption(summary([20, 20, 20, 20], [5.0, 4.0, 6.0, -3.0]), "aim − baseline")


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=8), seed=st.integers(0, 99))
def test_not_all_classes_can_have_the_opposite_sign_of_the_overall_difference(sizes: list[int], seed: int) -> None:
    """Both arms have the same test images, so classes have equal weights, and Simpson's paradox is impossible."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    x = 100.0 * rng.integers(-1, 2, (3, len(labels)))
    raw = class_differences(x, labels, {})["raw"]
    assert raw.min() - 1e-9 <= x.mean() <= raw.max() + 1e-9
