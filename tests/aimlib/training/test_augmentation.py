"""Augmentation: the effect of each option, pixel by pixel, and independent draws for every image."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_runs import quick
from torch import Tensor
from torch.nn import functional

from aimlib.config import AugmentationConfig
from aimlib.training.augmentation import affine, augment, draws
from aimlib.training.inputs import Scaling

EVERYTHING = AugmentationConfig(
    rotation=0.15, translation=0.1, horizontal_flip=0.5, vertical_flip=0.5, contrast=0.1, passes=2
)
ANGLE, ROWS, COLUMNS, MIRROR_X, MIRROR_Y, CONTRAST = range(6)


def photos(count: int = 3, height: int = 8, width: int = 12, channels: int = 3) -> Tensor:
    pixels = np.random.default_rng(0).integers(0, 256, (count, height, width, channels), dtype=np.uint8)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float()


def chosen(count: int = 3, passes: int = 1, **values: float) -> Tensor:
    """Return draws without any effect (no angle, no shift, no flip, factor 1), except for the given draws."""
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
def test_flips_reverse_the_order_of_pixels(name: str, option: str, dims: tuple[int, ...]) -> None:
    x, config = photos(), AugmentationConfig(**{option: 0.5})
    assert_pixels(augment(x, chosen(**{name: 0.499}), config), x.flip(dims))
    assert_pixels(augment(x, chosen(**{name: 0.501}), config), x)
    assert_pixels(augment(x, chosen(**{name: 0.0}), AugmentationConfig(contrast=0.1)), x)  # probability 0: no flips


def test_half_a_turn_equals_both_flips() -> None:
    x = photos()
    assert_pixels(augment(x, chosen(ANGLE=1.0), AugmentationConfig(rotation=0.5)), x.flip((2, 3)))


def test_a_quarter_turn_of_a_square_moves_its_pixels() -> None:
    x = photos(height=9, width=9)
    turned = augment(x, chosen(ANGLE=1.0), AugmentationConfig(rotation=0.25))
    back = augment(x, chosen(ANGLE=0.0), AugmentationConfig(rotation=0.25))
    assert_pixels(turned, torch.rot90(x, 1, (2, 3)))
    assert_pixels(back, torch.rot90(x, -1, (2, 3)))


def test_rotation_keeps_pixels_square() -> None:
    x = torch.zeros(1, 1, 9, 21)
    x[0, 0, 4, 13] = 1.0  # three columns to the right of the center
    turned = augment(x, chosen(1, ANGLE=1.0), AugmentationConfig(rotation=0.25))
    assert turned[0, 0, 1, 10] == pytest.approx(1.0, abs=1e-4)  # three rows above the center


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


def test_passes_are_applied_in_order() -> None:
    x, table = photos(), chosen(passes=2)
    table[0, :, MIRROR_X] = 0.0
    table[1, :, MIRROR_Y] = 0.0
    config = AugmentationConfig(horizontal_flip=0.5, vertical_flip=0.5, passes=2)
    assert_pixels(augment(x, table, config), x.flip((2, 3)))


def reference(x: Tensor, table: Tensor, config: AugmentationConfig) -> Tensor:
    """Augment an entire batch in one pass with elementary operations, in float64."""
    x, table = x.double(), table.double()
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


def of(chance: float, value: float) -> st.SearchStrategy[float]:
    return st.sampled_from([0.0, chance, value])


configs = st.builds(
    AugmentationConfig,
    rotation=of(0.15, 0.5),
    translation=of(0.1, 0.9),
    horizontal_flip=of(0.5, 1.0),
    vertical_flip=of(0.5, 1.0),
    contrast=of(0.1, 0.9),
    contrast_per=st.sampled_from(["image", "batch"]),
    passes=st.integers(1, 3),
)
each = configs.map(lambda config: config.model_copy(update={"resampling": "each"}))
cropped = configs.map(lambda config: config.model_copy(update={"crop_scale": 0.25}))


@settings(quick, max_examples=200)
@given(
    config=st.one_of(configs, each, cropped),
    shape=st.tuples(st.integers(1, 5), st.integers(1, 48), st.integers(1, 48), st.sampled_from([1, 3, 4])),
    images=st.integers(0, 10**6),
    scaled=st.booleans(),
)
def test_pixels_match_a_plain_implementation(
    config: AugmentationConfig, shape: tuple[int, int, int, int], images: int, scaled: bool
) -> None:
    x = photos(*shape)  # in channels-last memory, as batches are
    table = draws(1, 3, images + np.arange(len(x)), config)
    scaling = Scaling(torch.full((1, x.shape[1], 1, 1), 117.0), torch.full((1, x.shape[1], 1, 1), 64.0))
    expected = reference(x, table, config)
    expected = (expected - 117) / 64 if scaled else expected
    # Positions are at most 3 half-sides from the center and are rounded a few times, by 1e-7 each time; neighboring
    # pixels differ by 255 or more.
    stretch = max(shape[1:3]) / min(shape[1:3])
    tolerance = 1e-4 * max(shape[1:3]) * stretch * (1 + config.contrast) ** config.passes
    found = augment(x, table, config, scaling if scaled else None)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance / (64 if scaled else 1))
    for same in (x.byte(), x.byte().contiguous(), x.contiguous()):
        assert torch.equal(augment(same, table, config, scaling if scaled else None), found)


@pytest.mark.parametrize(
    "flips", [{"horizontal_flip": 0.5}, {"vertical_flip": 0.5}, {"horizontal_flip": 0.3, "vertical_flip": 0.6}]
)
@pytest.mark.parametrize("resampling", ["once", "each"])
def test_flips_move_stored_values_unchanged(flips: dict[str, float], resampling: str) -> None:
    config = AugmentationConfig(**flips, resampling=resampling, passes=2)
    x = photos(16, 9, 10).byte()
    table = draws(0, 1, np.arange(16), config)
    out = augment(x, table, config)
    assert out.dtype == torch.float32
    assert out.is_contiguous(memory_format=torch.channels_last)
    for image, row, found in zip(x, table.unbind(1), out, strict=True):
        expected = image
        for MX, MY in row[:, [MIRROR_X, MIRROR_Y]] < torch.tensor([config.horizontal_flip, config.vertical_flip]):
            expected = expected.flip([axis for axis, mirrored in ((2, MX), (1, MY)) if mirrored])
        assert torch.equal(found, expected.float())


@pytest.mark.parametrize("resampling", ["once", "each"])
@pytest.mark.parametrize("shape", [(32, 9, 7, 1), (32, 9, 7, 3), (7, 190, 211, 1), (7, 65, 63, 3)])
def test_an_images_pixels_depend_neither_on_its_batch_nor_on_threads(
    shape: tuple[int, int, int, int], resampling: str, set_threads: Callable[[int], None]
) -> None:
    config = EVERYTHING.model_copy(update={"resampling": resampling})
    x, images = photos(*shape), np.arange(100, 100 + shape[0])
    set_threads(2)
    whole = augment(x, draws(5, 2, images, config), config)
    assert not torch.equal(whole, x)
    for threads, size in ((1, 1), (2, 1), (3, 7), (1, 32)):
        set_threads(threads)
        parts = [
            augment(x[at : at + size], draws(5, 2, images[at : at + size], config), config)
            for at in range(0, len(x), size)
        ]
        assert torch.equal(torch.cat(parts), whole)


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_draws_depend_on_the_seed_the_epoch_and_the_image() -> None:
    images = np.array([3, 1, 4, 15])
    table = draws(0, 1, images, AugmentationConfig(passes=3))
    assert tuple(table.shape) == (3, 4, 6)
    assert torch.equal(draws(0, 1, images[::-1].copy(), AugmentationConfig(passes=3)).flip(1), table)
    assert torch.equal(draws(0, 1, images[2:3], AugmentationConfig(passes=3)), table[:, 2:3])
    # A second pass does not change the first one.
    assert torch.equal(draws(0, 1, images, AugmentationConfig()), table[:1])
    for other in (
        draws(1, 1, images, AugmentationConfig(passes=3)),
        draws(0, 2, images, AugmentationConfig(passes=3)),
        draws(0, 1, images + 1, AugmentationConfig(passes=3)),
    ):
        assert not torch.equal(other, table)
    assert len(table.unique()) == table.numel()
    assert table.min() >= 0
    assert table.max() < 1


def test_the_largest_changes_follow_the_options() -> None:
    x = torch.zeros(1, 1, 20, 20)
    x[0, 0, 10, 10] = 1
    config = AugmentationConfig(translation=0.1)
    for images in np.split(np.arange(200), 10):
        out = augment(x.expand(20, -1, -1, -1), draws(0, 1, images, config), config)
        centre = (out.sum(1) * torch.arange(20.0)).sum((1, 2)) / out.sum((1, 2, 3))
        assert (centre - 10).abs().max() <= 2.0 + 1e-4
