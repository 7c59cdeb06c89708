"""Augmentation of whole batches on the training device: one resampling and one contrast step.

Every image has its own draws, from ``seed_for(seed, "augment", epoch, image)``, so they do not depend on the
batch size, the order, or the number of workers. Rotation, translation, flips and crop are one affine map, resampled
once, bilinear, with half-sample reflection at the border (as the post's augmentation fills). With ``resampling: each``
rotation and translation are resampled one after the other, as the layers of the post's augmentation do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from aimlib.config import AugmentationConfig
from aimlib.seeding import seeds_for, uniforms

_DRAWS = 6
"""Per pass: angle, shift in rows, shift in columns, horizontal flip, vertical flip, contrast."""
_CROP_DRAWS = 4
"""Per pass, after these: the crop's area, its ratio of sides, its place in rows and in columns."""
_FLOATS_IN_CACHE = 3 * 2**16
"""How many values one thread takes at a time, unless an image has more: .75 MiB, so that two steps fit into a cache."""

_Step = Callable[[Tensor, slice], Tensor]
"""Returns a part of the batch changed, given the part and which images of the batch it holds."""


def draws(seed: int, epoch: int, images: npt.NDArray[np.int64], config: AugmentationConfig) -> Tensor:
    """Return uniform numbers [passes, batch, 6] for `images` in `epoch`; 10 in place of 6 where images are cropped."""
    table = _stream("augment", seed, epoch, images, config.passes, _DRAWS)
    if config.crop_scale == 1:
        return table
    return torch.cat([table, _stream("crop", seed, epoch, images, config.passes, _CROP_DRAWS)], dim=2)


def _stream(name: str, seed: int, epoch: int, images: npt.NDArray[np.int64], passes: int, count: int) -> Tensor:
    table = uniforms(seeds_for(seed, name, epoch, numbers=images), count * passes).astype(np.float32)
    return torch.from_numpy(table).view(len(images), passes, count).transpose(0, 1)


def augment(x_BCHW: Tensor, draws_PBD: Tensor, config: AugmentationConfig) -> Tensor:
    """Return the augmented images, as floats; where nothing is asked for, the images as they are.

    Parameters
    ----------
    x_BCHW : [batch, channels, height, width], pixel values, uint8 or float.
    draws_PBD : [passes, batch, 6 or 10], uniform in [0, 1), as `draws` returns them.
    """
    height, width = x_BCHW.shape[2:]
    base_HW3 = _base(height, width, x_BCHW.device)
    steps = [step for draws_BD in draws_PBD for step in _steps(draws_BD, config, base_HW3)]
    if not steps:
        return x_BCHW
    out_BCHW = torch.empty_like(
        x_BCHW,
        dtype=x_BCHW.dtype if x_BCHW.is_floating_point() else torch.float32,
        memory_format=torch.contiguous_format if _resamples(config) else torch.preserve_format,
    )
    for piece in _pieces(x_BCHW):
        part_BCHW = x_BCHW[piece].to(out_BCHW.dtype)
        for step in steps:
            part_BCHW = step(part_BCHW, piece)
        out_BCHW[piece] = part_BCHW
    return out_BCHW


def _pieces(x_BCHW: Tensor) -> list[slice]:
    """Return parts of a batch: on the CPU so small that what is between two steps stays in the cache, else the whole.

    On the CPU a part has at least one image per thread. No pixel depends on the parts.
    """
    count, pixels = len(x_BCHW), x_BCHW[0].numel()
    if x_BCHW.device.type != "cpu":
        return [slice(0, count)]
    least = torch.get_num_threads() * max(1, _FLOATS_IN_CACHE // pixels)
    parts = max(1, count // least)
    return [slice(count * part // parts, count * (part + 1) // parts) for part in range(parts)]


def _moves(config: AugmentationConfig) -> bool:
    turned = config.rotation or config.translation or config.horizontal_flip or config.vertical_flip
    return bool(turned) or config.crop_scale < 1


def _resamples(config: AugmentationConfig) -> bool:
    return bool(config.rotation or config.translation) or (config.resampling == "once" and _moves(config))


def _steps(draws_BD: Tensor, config: AugmentationConfig, base_HW3: Tensor) -> Iterator[_Step]:
    """Yield the steps of one pass; what is small is computed here, for the whole batch at once."""
    height, width = base_HW3.shape[:2]
    if config.resampling == "each":
        yield from _separate_steps(draws_BD, config, base_HW3)
    elif _moves(config):
        yield _mapped(affine(draws_BD, config, height, width), base_HW3)
    if config.contrast:
        factor_B = 1 + config.contrast * (2 * draws_BD[:, 5] - 1)
        if config.contrast_per == "batch":
            factor_B = factor_B[:1].expand_as(factor_B)  # that of the batch's first image
        yield _contrasted(factor_B)


def _separate_steps(draws_BD: Tensor, config: AugmentationConfig, base_HW3: Tensor) -> Iterator[_Step]:
    """Rotate, then translate, each with its own interpolation and its own border; then flip, exactly."""
    height, width = base_HW3.shape[:2]
    mirrored_x_B, mirrored_y_B = draws_BD[:, 3] < config.horizontal_flip, draws_BD[:, 4] < config.vertical_flip
    flips = ((config.horizontal_flip, mirrored_x_B, 3), (config.vertical_flip, mirrored_y_B, 2))
    if config.rotation:
        yield _mapped(affine(draws_BD, AugmentationConfig(rotation=config.rotation), height, width), base_HW3)
    if config.translation:
        maps_B23 = affine(draws_BD, AugmentationConfig(translation=config.translation), height, width)
        columns_BW = _mirrored(base_HW3[0, :, 0] + maps_B23[:, 0, 2:], mirrored_x_B, 1)
        rows_BH = _mirrored(base_HW3[:, 0, 1] + maps_B23[:, 1, 2:], mirrored_y_B, 1)
        yield _placed(columns_BW, rows_BH)
        return
    for chance, mirrored_B, axis in flips:
        if chance:
            yield _flipped(mirrored_B, axis)


def _mapped(maps_B23: Tensor, base_HW3: Tensor) -> _Step:
    """Resample by maps of positions; as `torch.nn.functional.affine_grid` does, which builds its base every time."""
    height, width = base_HW3.shape[:2]

    def step(x_BCHW: Tensor, piece: slice) -> Tensor:
        maps_B32 = maps_B23[piece].transpose(1, 2)
        grid = torch.bmm(base_HW3.view(1, height * width, 3).expand(len(maps_B32), -1, -1), maps_B32)
        return _sampled(x_BCHW, grid.view(-1, height, width, 2))

    return step


def _placed(columns_BW: Tensor, rows_BH: Tensor) -> _Step:
    """Resample at positions that have a column and a row of their own."""

    def step(x_BCHW: Tensor, piece: slice) -> Tensor:
        _, _, height, width = x_BCHW.shape
        columns_BHW = columns_BW[piece, None, :].expand(-1, height, -1)
        return _sampled(x_BCHW, torch.stack([columns_BHW, rows_BH[piece, :, None].expand(-1, -1, width)], dim=3))

    return step


def _flipped(mirrored_B: Tensor, axis: int) -> _Step:
    return lambda x_BCHW, piece: _mirrored(x_BCHW, mirrored_B[piece], axis)


def _contrasted(factor_B: Tensor) -> _Step:
    def step(x_BCHW: Tensor, piece: slice) -> Tensor:
        mean = x_BCHW.mean(dim=(2, 3), keepdim=True)
        # Written out, as on the CPU torch.lerp is vectorised for one broadcast argument, not for two.
        mean_BCHW = torch.empty_like(x_BCHW).copy_(mean)
        return torch.lerp(mean_BCHW, x_BCHW, factor_B[piece].to(x_BCHW.dtype)[:, None, None, None], out=mean_BCHW)

    return step


def _mirrored(x: Tensor, mirrored_B: Tensor, axis: int) -> Tensor:
    """Return `x` [batch, ...], reversed along `axis` where so said."""
    return torch.where(mirrored_B.view(-1, *[1] * (x.ndim - 1)), x.flip(axis), x)


def _sampled(x_BCHW: Tensor, grid_BHW2: Tensor) -> Tensor:
    return functional.grid_sample(
        x_BCHW, grid_BHW2.to(x_BCHW.dtype), mode="bilinear", padding_mode="reflection", align_corners=False
    )


def _base(height: int, width: int, device: torch.device) -> Tensor:
    """Return the homogeneous positions [height, width, 3] of an image's pixels: column, row, 1."""
    identity = torch.eye(2, 3, device=device)[None]
    grid_HW2 = functional.affine_grid(identity, [1, 1, height, width], align_corners=False)[0]
    return functional.pad(grid_HW2, (0, 1), value=1.0)


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
