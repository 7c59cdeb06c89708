"""The images used for training, and their order."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import data_set, quick, split

from aimlib.training.inputs import identity_scaling, load_batch, standardization
from aimlib.training.splits import batches, epoch_order, fixed_order, hold_out

labels_of = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(lambda values: np.array(values, dtype=np.int64))


@quick
@given(labels_of, st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9]), st.integers(0, 5))
def test_held_out_images_are_disjoint_complete_and_stratified(labels: np.ndarray, fraction: float, seed: int) -> None:
    training, validation = hold_out(labels, fraction, seed)
    assert np.array_equal(np.sort(np.concatenate([training, validation])), np.arange(len(labels)))
    assert (np.diff(training) > 0).all()
    assert (np.diff(validation) > 0).all()
    for label in np.unique(labels):
        assert (labels[validation] == label).sum() == round(fraction * (labels == label).sum())


def test_held_out_images_depend_only_on_the_seed() -> None:
    labels = np.arange(90) % 3
    one, two, other = (hold_out(labels, 0.2, seed)[1] for seed in (0, 0, 1))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


@quick
@given(st.integers(0, 70), st.integers(1, 20), st.booleans())
def test_every_image_occurs_once(count: int, size: int, drop_last: bool) -> None:
    plan = list(batches(np.arange(count), size, drop_last=drop_last))
    seen = np.concatenate([*plan, np.array([], dtype=np.int64)])
    expected = count - count % size if drop_last else count
    assert np.array_equal(seen, np.arange(expected))
    if drop_last:
        assert all(len(batch) == size for batch in plan)
    else:
        assert all(len(batch) == size for batch in plan[:-1])
        assert all(len(batch) <= size + 1 for batch in plan)
        assert count < 2 or size == 1 or all(len(batch) > 1 for batch in plan)


@pytest.mark.parametrize(
    ("count", "size", "drop_last", "lengths"),
    [
        (7, 3, False, [3, 4]),
        (8, 3, False, [3, 3, 2]),
        (7, 3, True, [3, 3]),
        (2, 3, False, [2]),
        (2, 3, True, []),
        (1, 3, False, [1]),
        (6, 3, False, [3, 3]),
    ],
)
def test_a_single_remaining_image_is_merged_into_the_last_batch(
    count: int, size: int, drop_last: bool, lengths: list[int]
) -> None:
    assert [len(batch) for batch in batches(np.arange(count), size, drop_last=drop_last)] == lengths


def test_a_random_order_is_a_permutation_that_changes_with_seed_and_epoch() -> None:
    indices = np.array([5, 9, 2, 40, 7, 11, 3, 8])
    one = epoch_order(indices, 0, 1)
    assert np.array_equal(np.sort(one), np.sort(indices))
    assert np.array_equal(one, epoch_order(indices, 0, 1))
    assert not np.array_equal(one, epoch_order(indices, 0, 2))
    assert not np.array_equal(one, epoch_order(indices, 1, 1))


def test_the_fixed_order_mixes_classes_and_depends_on_names() -> None:
    names = tuple(f"class{number // 20}/{number}.jpg" for number in range(100))
    order = fixed_order(np.arange(100), names)
    digests = [hashlib.sha256(names[number].encode()).hexdigest() for number in order]
    assert digests == sorted(digests)
    changes = int((np.diff(order // 20) != 0).sum())
    assert changes > 60  # if the images were sorted by class, there would be 4 changes
    part = np.arange(0, 100, 3)
    assert np.array_equal(fixed_order(part, names), order[np.isin(order, part)])


def test_standardization_uses_only_training_images_and_results_in_mean_0_and_sd_1() -> None:
    images = split(40, 2, 6, 3, 0)
    indices = np.arange(0, 40, 2)
    pixels = torch.from_numpy(images.pixels[indices]).permute(0, 3, 1, 2).double()
    scaling = standardization(images.pixels, indices)
    torch.testing.assert_close(scaling.mean.flatten().double(), pixels.mean((0, 2, 3)), rtol=1e-5, atol=0)
    torch.testing.assert_close(scaling.sd.flatten().double(), pixels.std((0, 2, 3), correction=0), rtol=1e-5, atol=0)
    scaled = scaling(pixels.float())
    assert scaled.mean((0, 2, 3)).abs().max() < 1e-4
    flat = np.full((3, 4, 4, 1), 7, dtype=np.uint8)
    assert (standardization(flat, np.arange(3))(torch.full((1, 1, 4, 4), 7.0)) == 0).all()


def test_raw_scaling_does_not_change_pixels() -> None:
    x = torch.arange(0.0, 256).view(1, 1, 16, 16)
    assert torch.equal(identity_scaling(1)(x), x)
    assert torch.equal(identity_scaling(1)(x.byte()), x)


def test_stored_pixels_are_scaled_like_their_floats_and_stay_unchanged() -> None:
    images = split(5, 2, 6, 3, 0)
    scaling = standardization(images.pixels, np.arange(5))
    x, _ = load_batch(images, np.arange(5), torch.device("cpu"))
    floats = x.float()
    expected = (floats - scaling.mean) / scaling.sd
    assert torch.equal(scaling(x), expected)
    assert torch.equal(scaling(floats), expected)
    assert torch.equal(floats, x)


@pytest.mark.parametrize("channels", [1, 3])
def test_scaling_is_bitwise_identical_in_every_memory_layout(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 7, 5, channels), dtype=np.uint8)
    scaling = standardization(pixels, np.arange(4))
    stored = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    expected = (stored.float() - scaling.mean) / scaling.sd
    for x in (stored, stored.contiguous(), stored.float(), stored.contiguous().float()):
        kept = x.clone()
        assert torch.equal(scaling(x), expected)
        assert scaling(x).stride() == x.stride()
        assert torch.equal(x, kept)


@pytest.mark.parametrize("size", [3, 4])
def test_standardization_handles_an_odd_number_of_pixels(size: int) -> None:
    pixels = np.random.default_rng(size).integers(0, 256, (131, size, size, 1), dtype=np.uint8)
    scaling = standardization(pixels, np.arange(131))
    assert scaling.mean.item() == pytest.approx(pixels.mean(), rel=1e-6)
    assert scaling.sd.item() == pytest.approx(pixels.std(), rel=1e-6)


def test_batches_contain_the_pixels_and_labels_of_their_images() -> None:
    images = data_set(channels=3).train
    images.pixels.setflags(write=False)
    x, labels = load_batch(images, np.array([4, 1]), torch.device("cpu"))
    assert x.dtype == torch.uint8
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(x.permute(0, 2, 3, 1).numpy(), images.pixels[[4, 1]])
    assert labels.tolist() == images.labels[[4, 1]].tolist()
