from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from aimlib.datasets.recipe import Recipe
from aimlib.datasets.resize import bilinear, to_uint8

RNG = np.random.default_rng(3)


def by_hand(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Apply the definition, one pixel at a time: half-pixel centers, clamped, columns before rows, in float32."""
    f = np.float32
    rows, columns, channels = pixels.shape
    out = np.zeros((height, width, channels), dtype=f)
    values = pixels.astype(f)
    for i in range(height):
        y = (f(i) + f(0.5)) * (f(rows) / f(height)) - f(0.5)
        top, bottom = max(int(np.floor(y)), 0), min(int(np.ceil(y)), rows - 1)
        for j in range(width):
            x = (f(j) + f(0.5)) * (f(columns) / f(width)) - f(0.5)
            left, right = max(int(np.floor(x)), 0), min(int(np.ceil(x)), columns - 1)
            dx, dy = x - np.floor(x), y - np.floor(y)
            upper = values[top, left] + (values[top, right] - values[top, left]) * dx
            lower = values[bottom, left] + (values[bottom, right] - values[bottom, left]) * dx
            out[i, j] = upper + (lower - upper) * dy
    return out


def test_two_pixels_are_enlarged_to_four() -> None:
    # The output centers are at -0.25, 0.25, 0.75 and 1.25 in the input; the two outer centers are clamped.
    row = np.array([[[0], [100]]], dtype=np.uint8)
    assert bilinear(row, 1, 4)[0, :, 0].tolist() == [0, 25, 75, 100]


def test_reduction_samples_and_does_not_average() -> None:
    # Six pixels to two: the centers are at 1.0 and 4.0, exactly on pixels 1 and 4; the other pixels do not count.
    row = np.array([[[255], [10], [255], [255], [20], [255]]], dtype=np.uint8)
    assert bilinear(row, 1, 2)[0, :, 0].tolist() == [10, 20]
    # Four pixels to two: the centers are at 0.5 and 2.5, so the values are the means of two neighbors.
    row = np.array([[[0], [10], [20], [60]]], dtype=np.uint8)
    assert bilinear(row, 1, 2)[0, :, 0].tolist() == [5, 40]


@pytest.mark.parametrize(
    ("shape", "height", "width"),
    [((5, 7, 3), 3, 4), ((3, 2, 1), 8, 9), ((1, 1, 3), 4, 4), ((9, 4, 3), 9, 4), ((30, 41, 3), 7, 5)],
)
def test_resizing_follows_its_definition_and_works_on_stacked_images(
    shape: tuple[int, ...], height: int, width: int
) -> None:
    pixels = RNG.integers(0, 256, shape).astype(np.uint8)
    right = by_hand(pixels, height, width)
    assert np.array_equal(bilinear(pixels, height, width), right)
    assert np.array_equal(bilinear(np.stack([pixels, pixels]), height, width)[1], right)


def test_enlarging_agrees_with_pillow() -> None:
    # Without reduction, there is nothing to antialias, so both methods agree up to Pillow's rounding.
    pixels = RNG.integers(0, 256, (9, 7, 3)).astype(np.uint8)
    pillow = np.asarray(Image.fromarray(pixels).resize((21, 18), Image.Resampling.BILINEAR))
    assert np.abs(to_uint8(bilinear(pixels, 18, 21)).astype(int) - pillow).max() <= 1


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(("width", "height"), [(40, 30), (30, 40), (17, 17), (5, 90)])
def test_recipes_produce_the_documented_shapes(width: int, height: int, antialias: bool) -> None:
    photo = Image.fromarray(RNG.integers(0, 256, (height, width, 3)).astype(np.uint8))
    for resize in ("squash", "center_crop"):
        assert Recipe(resize, 16, antialias).apply(photo).shape == (16, 16, 3)
    ragged = Recipe("shorter_side", 16, antialias).apply(photo)
    assert min(ragged.shape[:2]) == 16
    assert ragged.shape == (16 * height // min(width, height), 16 * width // min(width, height), 3)


def test_a_center_crop_is_the_center_of_the_ragged_image() -> None:
    photo = Image.fromarray(RNG.integers(0, 256, (20, 50, 3)).astype(np.uint8))
    ragged = Recipe("shorter_side", 10, True).apply(photo)
    assert np.array_equal(Recipe("center_crop", 10, True).apply(photo), ragged[:, 8:18])  # round(7.5) is 8


def test_antialiasing_changes_the_values() -> None:
    stripes = Image.fromarray(np.tile(np.array([0, 255], dtype=np.uint8)[None, :, None], (32, 16, 3)))
    averaged = Recipe("squash", 8, True).apply(stripes)
    assert averaged.std() < 20
    assert not np.array_equal(averaged, Recipe("squash", 8, False).apply(stripes))
