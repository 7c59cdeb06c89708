"""A memory laid out on a map contains each value once and zeros elsewhere, in as many channels as the claim states."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from tiny_runs import quick
from torch import Tensor

from aimlib.memory import channels_added, lay_out, read_map
from aimlib.memory.shape_rule import flatten

sides = st.integers(1, 12)


def numbered(channels: int, rows: int, columns: int, images: int = 1) -> Tensor:
    """Return a memory with the values 1, 2, 3, ... in the order rows, columns, channels."""
    values = torch.arange(1.0, images * channels * rows * columns + 1)
    return values.view(images, rows, columns, channels).permute(0, 3, 1, 2)


@quick
@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 4), sides, sides, st.integers(1, 3))
@example(1, 1, 1, 12, 12, 1)
@example(5, 1, 1, 2, 12, 2)  # the map is narrow: a square with side 3 does not fit
def test_no_value_is_lost_and_the_rest_is_zero(
    channels: int, rows: int, columns: int, height: int, width: int, images: int
) -> None:
    memory = numbered(channels, rows, columns, images)
    values = channels * rows * columns
    laid_out = lay_out(memory, height, width)
    assert tuple(laid_out.shape) == (images, channels_added(values, height, width), height, width)
    for image, flat in zip(laid_out, flatten(memory), strict=True):
        found = image.flatten().sort().values
        assert torch.equal(found[found > 0], flat)
        assert (found == 0).sum() == found.numel() - values


@quick
@given(st.integers(1, 10_000), sides, sides)
def test_the_number_of_channels_follows_the_shape_rule(values: int, height: int, width: int) -> None:
    added = channels_added(values, height, width)
    assert added * height * width >= values
    assert added == 1 or (added - 1) * height * width < values


@quick
@given(st.integers(1, 5), sides, sides, st.integers(1, 3))
def test_a_memory_size_that_is_a_multiple_of_the_map_size_is_reshaped_with_channels_last(
    added: int, height: int, width: int, rows: int
) -> None:
    values = np.arange(1.0, added * height * width * rows + 1, dtype=np.float32)
    memory_NHWC = values.reshape(1, rows, 1, -1)
    laid_out = lay_out(torch.from_numpy(memory_NHWC).permute(0, 3, 1, 2), height, width)
    assert np.array_equal(laid_out.permute(0, 2, 3, 1).numpy(), values.reshape(1, height, width, -1))


@pytest.mark.parametrize(
    ("side", "channels"), [(7, 1024), (14, 256), (28, 64), (56, 16), (112, 4), (224, 1), (225, 1), (300, 1)]
)
def test_the_shape_rule_gives_as_many_channels_as_the_claim_states(side: int, channels: int) -> None:
    assert channels_added(50_176, side, side) == channels
    assert tuple(lay_out(torch.ones(1, 1024, 7, 7, device="meta"), side, side).shape) == (1, channels, side, side)


def test_a_larger_map_contains_one_centered_square_with_a_border_of_zeros() -> None:
    memory = numbered(9, 1, 1)
    expected = np.zeros((6, 8), dtype=np.float32)
    expected[1:4, 2:5] = np.arange(1, 10).reshape(3, 3)
    assert np.array_equal(lay_out(memory, 6, 8)[0, 0].numpy(), expected)
    border = lay_out(torch.ones(1, 1024, 7, 7), 228, 226)[0, 0]
    assert border.sum() == 50_176
    assert (border[2:226, 1:225] == 1).all()


def test_values_that_do_not_fill_a_square_are_surrounded_by_zeros() -> None:
    """The padding is as in the author's code: half of the zeros come before the values, and half after them."""
    expected = np.zeros((5, 5), dtype=np.float32)
    expected[1:4, 1:4] = [[0, 1, 2], [3, 4, 5], [6, 7, 0]]
    assert np.array_equal(lay_out(numbered(7, 1, 1), 5, 5)[0, 0].numpy(), expected)


def test_a_narrow_map_is_filled_row_by_row() -> None:
    expected = [[1, 2], [3, 4], [5, 0], [0, 0], [0, 0]]
    assert lay_out(numbered(5, 1, 1), 5, 2)[0, 0].tolist() == expected


def test_zeros_are_appended_up_to_the_next_multiple_of_the_map_size() -> None:
    laid_out = lay_out(numbered(5, 1, 1), 2, 2)
    assert laid_out.permute(0, 2, 3, 1).flatten().tolist() == [1, 2, 3, 4, 5, 0, 0, 0]


def test_the_map_that_a_reader_reads_equals_the_concatenation() -> None:
    x, memory = torch.randn(3, 2, 4, 4), numbered(2, 4, 4)
    both = read_map(memory, x)
    assert tuple(both.shape) == (3, 4, 4, 4)
    assert torch.equal(both[:, :2], x)
    assert torch.equal(both[2, 2:], lay_out(memory, 4, 4)[0])
