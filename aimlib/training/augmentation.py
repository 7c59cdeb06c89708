"""Augmentation of whole batches on the training device: one resampling and one contrast step.

Every image has its own draws, from ``seed_for(seed, "augment", epoch, image)``, so they do not depend on the
batch size, the order, or the number of workers. Rotation, translation, flips and crop are one affine map, resampled
once, bilinear, with half-sample reflection at the border (as the post's augmentation fills). With ``resampling: each``
rotation and translation are resampled one after the other, as the layers of the post's augmentation do.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from aimlib.config import AugmentationConfig
from aimlib.seeding import seed_for, uniforms

_DRAWS = 6
"""Per pass: angle, shift in rows, shift in columns, horizontal flip, vertical flip, contrast."""
_CROP_DRAWS = 4
"""Per pass, after these: the crop's area, its ratio of sides, its place in rows and in columns."""


def draws(seed: int, epoch: int, images: npt.NDArray[np.int64], config: AugmentationConfig) -> Tensor:
    """Return uniform numbers [passes, batch, 6] for `images` in `epoch`; 10 in place of 6 where images are cropped."""
    table = _stream("augment", seed, epoch, images, config.passes, _DRAWS)
    if config.crop_scale == 1:
        return table
    return torch.cat([table, _stream("crop", seed, epoch, images, config.passes, _CROP_DRAWS)], dim=2)


def _stream(name: str, seed: int, epoch: int, images: npt.NDArray[np.int64], passes: int, count: int) -> Tensor:
    seeds = np.array([seed_for(seed, name, epoch, int(image)) for image in images], dtype=np.uint64)
    table = uniforms(seeds, count * passes).astype(np.float32)
    return torch.from_numpy(table).view(len(images), passes, count).transpose(0, 1)


def augment(x_BCHW: Tensor, draws_PBD: Tensor, config: AugmentationConfig) -> Tensor:
    """Return the augmented images.

    Parameters
    ----------
    x_BCHW : [batch, channels, height, width], float, pixel values.
    draws_PBD : [passes, batch, 6 or 10], uniform in [0, 1), as `draws` returns them.
    """
    for draws_BD in draws_PBD:
        if config.resampling == "each":
            x_BCHW = _resampled_each(x_BCHW, draws_BD, config)
        elif _moves(config):
            x_BCHW = _resampled(x_BCHW, draws_BD, config)
        if config.contrast:
            mean = x_BCHW.mean(dim=(2, 3), keepdim=True)
            factor = 1 + config.contrast * (2 * draws_BD[:, 5] - 1)
            if config.contrast_per == "batch":
                factor = factor[:1]  # that of the batch's first image
            x_BCHW = torch.lerp(mean, x_BCHW, factor.to(x_BCHW.dtype)[:, None, None, None])
    return x_BCHW


def _moves(config: AugmentationConfig) -> bool:
    turned = config.rotation or config.translation or config.horizontal_flip or config.vertical_flip
    return bool(turned) or config.crop_scale < 1


def _resampled(x_BCHW: Tensor, draws_BD: Tensor, config: AugmentationConfig) -> Tensor:
    grid = functional.affine_grid(affine(draws_BD, config, *x_BCHW.shape[2:]), list(x_BCHW.shape), align_corners=False)
    return functional.grid_sample(
        x_BCHW, grid.to(x_BCHW.dtype), mode="bilinear", padding_mode="reflection", align_corners=False
    )


def _resampled_each(x_BCHW: Tensor, draws_BD: Tensor, config: AugmentationConfig) -> Tensor:
    """Rotate, then translate, each with its own interpolation and its own border; then flip, exactly."""
    if config.rotation:
        x_BCHW = _resampled(x_BCHW, draws_BD, AugmentationConfig(rotation=config.rotation))
    if config.translation:
        x_BCHW = _resampled(x_BCHW, draws_BD, AugmentationConfig(translation=config.translation))
    for draw, chance, axis in ((3, config.horizontal_flip, 3), (4, config.vertical_flip, 2)):
        if chance:
            mirrored = (draws_BD[:, draw] < chance)[:, None, None, None]
            x_BCHW = torch.where(mirrored, x_BCHW.flip(axis), x_BCHW)
    return x_BCHW


def affine(draws_BD: Tensor, config: AugmentationConfig, height: int, width: int) -> Tensor:
    """Return the maps [batch, 2, 3] from output to input positions, in the normalized coordinates of `grid_sample`."""
    signed = 2 * draws_BD - 1
    angle = signed[:, 0] * config.rotation * 2 * math.pi
    cos, sin = torch.cos(angle), torch.sin(angle)
    mirror_x = torch.where(draws_BD[:, 3] < config.horizontal_flip, -1.0, 1.0)
    mirror_y = torch.where(draws_BD[:, 4] < config.vertical_flip, -1.0, 1.0)
    # Normalized coordinates run from -1 to 1, so a shift by the whole side is 2; rotation keeps pixels square.
    shift_y, shift_x = signed[:, 1] * config.translation * 2, signed[:, 2] * config.translation * 2
    first = torch.stack([cos * mirror_x, -sin * (height / width) * mirror_y, shift_x], dim=1)
    second = torch.stack([sin * (width / height) * mirror_x, cos * mirror_y, shift_y], dim=1)
    maps_B23 = torch.stack([first, second], dim=1)
    return maps_B23 if config.crop_scale == 1 else _cropped(maps_B23, draws_BD[:, _DRAWS:], config)


def _cropped(maps_B23: Tensor, draws_BD: Tensor, config: AugmentationConfig) -> Tensor:
    """Return the maps followed by that into a random crop: position -1 to 1 of the crop to positions of the image.

    Area and logarithm of the ratio are uniform (Szegedy et al., 2015). A side that would be longer than the image's is
    the image's (torchvision draws again instead).
    """
    area = config.crop_scale + (1 - config.crop_scale) * draws_BD[:, 0]
    ratio = torch.exp(math.log(config.crop_ratio) * (2 * draws_BD[:, 1] - 1))
    sides_B2 = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], dim=1).clamp(max=1)  # columns, rows
    centre_B2 = (1 - sides_B2) * (2 * draws_BD[:, [3, 2]] - 1)
    inside = maps_B23 * sides_B2[:, :, None]
    return torch.cat([inside[:, :, :2], inside[:, :, 2:] + centre_B2[:, :, None]], dim=2)
