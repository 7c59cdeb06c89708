"""Augmentation of whole batches on the training device: one resampling and one contrast step.

Every image has its own draws, from ``seed_for(seed, "augment", epoch, image)``, so they do not depend on the
batch size, the order, or the number of workers. Rotation, translation and flips are one affine map, resampled
once, bilinear, with half-sample reflection at the border (as the post's augmentation fills).
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


def draws(seed: int, epoch: int, images: npt.NDArray[np.int64], passes: int) -> Tensor:
    """Return the uniform numbers [passes, batch, 6] of `images` in `epoch`."""
    seeds = np.array([seed_for(seed, "augment", epoch, int(image)) for image in images], dtype=np.uint64)
    table = uniforms(seeds, _DRAWS * passes).astype(np.float32)
    return torch.from_numpy(table).view(len(images), passes, _DRAWS).transpose(0, 1)


def augment(x_BCHW: Tensor, draws_PBD: Tensor, config: AugmentationConfig) -> Tensor:
    """Return the augmented images.

    Parameters
    ----------
    x_BCHW : [batch, channels, height, width], float, pixel values.
    draws_PBD : [passes, batch, 6], uniform in [0, 1).
    """
    for draws_BD in draws_PBD:
        if config.rotation or config.translation or config.horizontal_flip or config.vertical_flip:
            grid = functional.affine_grid(
                affine(draws_BD, config, *x_BCHW.shape[2:]), list(x_BCHW.shape), align_corners=False
            )
            x_BCHW = functional.grid_sample(
                x_BCHW, grid.to(x_BCHW.dtype), mode="bilinear", padding_mode="reflection", align_corners=False
            )
        if config.contrast:
            mean = x_BCHW.mean(dim=(2, 3), keepdim=True)
            factor = 1 + config.contrast * (2 * draws_BD[:, 5] - 1)
            x_BCHW = torch.lerp(mean, x_BCHW, factor.to(x_BCHW.dtype)[:, None, None, None])
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
    return torch.stack([first, second], dim=1)
