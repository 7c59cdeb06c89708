"""Augmentation: what each option does, pixel by pixel, and that an image's draws are its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from aimlib.config import AugmentationConfig
from aimlib.training.augmentation import affine, augment, draws

EVERYTHING = AugmentationConfig(
    rotation=0.15, translation=0.1, horizontal_flip=0.5, vertical_flip=0.5, contrast=0.1, passes=2
)
ANGLE, ROWS, COLUMNS, MIRROR_X, MIRROR_Y, CONTRAST = range(6)


def photos(count: int = 3, height: int = 8, width: int = 12, channels: int = 3) -> Tensor:
    pixels = np.random.default_rng(0).integers(0, 256, (count, height, width, channels), dtype=np.uint8)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float()


def chosen(count: int = 3, passes: int = 1, **values: float) -> Tensor:
    """Return draws that change nothing (no angle, no shift, no flip, factor 1) but for the given ones."""
    table = torch.full((passes, count, 6), 0.5)
    table[:, :, [MIRROR_X, MIRROR_Y]] = 0.999
    for name, value in values.items():
        table[:, :, globals()[name]] = value
    return table


def assert_pixels(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=2e-3)


def test_neutral_draws_change_nothing() -> None:
    x = photos()
    assert_pixels(augment(x, chosen(passes=2), EVERYTHING), x)
    assert augment(x, chosen(), AugmentationConfig()) is x


@pytest.mark.parametrize(
    ("name", "option", "dims"), [("MIRROR_X", "horizontal_flip", (3,)), ("MIRROR_Y", "vertical_flip", (2,))]
)
def test_flips(name: str, option: str, dims: tuple[int, ...]) -> None:
    x, config = photos(), AugmentationConfig(**{option: 0.5})
    assert_pixels(augment(x, chosen(**{name: 0.499}), config), x.flip(dims))
    assert_pixels(augment(x, chosen(**{name: 0.501}), config), x)
    assert_pixels(augment(x, chosen(**{name: 0.0}), AugmentationConfig(contrast=0.1)), x)  # a chance of 0 never flips


def test_half_a_turn_is_both_flips() -> None:
    x = photos()
    assert_pixels(augment(x, chosen(ANGLE=1.0), AugmentationConfig(rotation=0.5)), x.flip((2, 3)))


def test_quarter_turn_of_a_square() -> None:
    x = photos(height=9, width=9)
    turned = augment(x, chosen(ANGLE=1.0), AugmentationConfig(rotation=0.25))
    back = augment(x, chosen(ANGLE=0.0), AugmentationConfig(rotation=0.25))
    assert_pixels(turned, torch.rot90(x, 1, (2, 3)))
    assert_pixels(back, torch.rot90(x, -1, (2, 3)))


def test_rotation_keeps_pixels_square() -> None:
    x = torch.zeros(1, 1, 9, 21)
    x[0, 0, 4, 13] = 1.0  # three columns right of the middle
    turned = augment(x, chosen(1, ANGLE=1.0), AugmentationConfig(rotation=0.25))
    assert turned[0, 0, 1, 10] == pytest.approx(1.0, abs=1e-4)  # three rows above it


@pytest.mark.parametrize(("rows", "columns"), [(2, 0), (0, 3), (-1, -3)])
def test_translation_by_whole_pixels_reflects_at_the_border(rows: int, columns: int) -> None:
    x = photos(height=8, width=12)
    config = AugmentationConfig(translation=0.5)
    moved = augment(x, chosen(ROWS=0.5 + rows / 8, COLUMNS=0.5 + columns / 12), config)
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (4, 4), (4, 4)), mode="symmetric")  # half-sample reflection
    expected = padded[:, :, 4 + rows : 12 + rows, 4 + columns : 16 + columns]
    assert_pixels(moved, torch.from_numpy(expected.copy()))


@pytest.mark.parametrize(("draw", "factor"), [(0.0, 0.8), (1.0, 1.2), (0.75, 1.1)])
def test_contrast_scales_the_distance_from_the_channel_mean(draw: float, factor: float) -> None:
    x = photos()
    mean = x.mean((2, 3), keepdim=True)
    assert_pixels(augment(x, chosen(CONTRAST=draw), AugmentationConfig(contrast=0.2)), mean + factor * (x - mean))


def test_every_image_is_changed_by_its_own_draws() -> None:
    x, table = photos(2), chosen(2)
    table[0, 1, MIRROR_X] = 0.0
    out = augment(x, table, AugmentationConfig(horizontal_flip=0.5))
    assert_pixels(out, torch.stack([x[0], x[1].flip(2)]))


def test_passes_follow_one_another() -> None:
    x, table = photos(), chosen(passes=2)
    table[0, :, MIRROR_X] = 0.0
    table[1, :, MIRROR_Y] = 0.0
    config = AugmentationConfig(horizontal_flip=0.5, vertical_flip=0.5, passes=2)
    assert_pixels(augment(x, table, config), x.flip((2, 3)))


def reference(x: Tensor, table: Tensor, config: AugmentationConfig) -> Tensor:
    """Augment the whole batch at once by the plainest operations."""
    for draws_BD in table:
        parts = (
            [AugmentationConfig(rotation=config.rotation), AugmentationConfig(translation=config.translation)]
            if config.resampling == "each"
            else [config]
        )
        for part in parts:
            maps = affine(draws_BD, part, *x.shape[2:])
            grid = functional.affine_grid(maps, list(x.shape), align_corners=False)
            x = functional.grid_sample(x, grid, "bilinear", "reflection", align_corners=False)
        if config.resampling == "each":
            x = torch.where((draws_BD[:, MIRROR_X] < config.horizontal_flip)[:, None, None, None], x.flip(3), x)
            x = torch.where((draws_BD[:, MIRROR_Y] < config.vertical_flip)[:, None, None, None], x.flip(2), x)
        factor = 1 + config.contrast * (2 * draws_BD[:, CONTRAST] - 1)
        factor = factor[:1] if config.contrast_per == "batch" else factor
        x = torch.lerp(x.mean(dim=(2, 3), keepdim=True), x, factor[:, None, None, None])
    return x


@pytest.mark.parametrize("resampling", ["once", "each"])
@pytest.mark.parametrize("per", ["image", "batch"])
@pytest.mark.parametrize("shape", [(5, 224, 224, 3), (33, 64, 64, 3), (2, 33, 47, 1)])
def test_parts_and_shared_positions_leave_every_bit_as_it_was(
    resampling: str, per: str, shape: tuple[int, int, int, int]
) -> None:
    config = EVERYTHING.model_copy(update={"resampling": resampling, "contrast_per": per})
    x = photos(*shape)
    table = draws(1, 3, np.arange(len(x)), config)
    expected = reference(x, table, config)
    assert torch.equal(augment(x, table, config), expected)
    assert torch.equal(augment(x.byte(), table, config), expected), "stored pixels as they are"


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_of_an_image_do_not_depend_on_its_batch(channels: int) -> None:
    x, images = photos(32, 9, 7, channels), np.arange(100, 132)
    whole = augment(x, draws(5, 2, images, EVERYTHING), EVERYTHING)
    assert not torch.equal(whole, x)
    for size in (1, 7, 32):
        parts = [
            augment(x[at : at + size], draws(5, 2, images[at : at + size], EVERYTHING), EVERYTHING)
            for at in range(0, 32, size)
        ]
        assert torch.equal(torch.cat(parts), whole)


def test_draws_belong_to_seed_epoch_and_image() -> None:
    images = np.array([3, 1, 4, 15])
    table = draws(0, 1, images, AugmentationConfig(passes=3))
    assert tuple(table.shape) == (3, 4, 6)
    assert torch.equal(draws(0, 1, images[::-1].copy(), AugmentationConfig(passes=3)).flip(1), table)
    assert torch.equal(draws(0, 1, images[2:3], AugmentationConfig(passes=3)), table[:, 2:3])
    assert torch.equal(draws(0, 1, images, AugmentationConfig()), table[:1])  # a second pass leaves the first as it is
    for other in (
        draws(1, 1, images, AugmentationConfig(passes=3)),
        draws(0, 2, images, AugmentationConfig(passes=3)),
        draws(0, 1, images + 1, AugmentationConfig(passes=3)),
    ):
        assert not torch.equal(other, table)
    assert len(table.unique()) == table.numel()
    assert table.min() >= 0
    assert table.max() < 1


def test_largest_changes_are_those_of_the_options() -> None:
    x = torch.zeros(1, 1, 20, 20)
    x[0, 0, 10, 10] = 1
    config = AugmentationConfig(translation=0.1)
    for images in np.split(np.arange(200), 10):
        out = augment(x.expand(20, -1, -1, -1), draws(0, 1, images, config), config)
        centre = (out.sum(1) * torch.arange(20.0)).sum((1, 2)) / out.sum((1, 2, 3))
        assert (centre - 10).abs().max() <= 2.0 + 1e-4
