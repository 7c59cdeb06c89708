"""Augmentation of whole batches on the training device, with as few passes over the pixels as possible.

Every image has its own draws, from ``seed_for(seed, "augment", epoch, image)``. They do not depend on the batch size,
the order, or the number of workers. Rotation, translation, flips and crop form one affine map, and the image is
resampled once, bilinearly, with half-sample reflection at the border (as in the post's augmentation). With
``resampling: each``, the image is resampled after the rotation and again after the translation, as in the layers of the
post's augmentation. If flips are the only change, pixels are moved without rounding. If you change the computed
values, even in the last bit, increase `AugmentationConfig.version`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from aimlib.config import AugmentationConfig
from aimlib.seeding import seeds_for, uniforms
from aimlib.training.inputs import Scaling
from aimlib.training.pixel_format import to_floats

_DRAWS = 6
"""Draws per pass: angle, shift in rows, shift in columns, horizontal flip, vertical flip, contrast."""
_CROP_DRAWS = 4
"""Additional draws per pass if images are cropped: the crop's area, its aspect ratio, its row and its column."""
_FLOATS_IN_CACHE = 2**17
"""Number of values that one thread processes at a time, unless a single image has more: 0.5 MiB, so that the data for
two steps fits into the cache."""

_Step = Callable[[Tensor, slice, Tensor], Tensor]
"""Returns a changed part of the batch, given the part, the positions of its images in the batch, and a buffer for the
result.

A step that would otherwise allocate a tensor for its result writes to the buffer instead. The buffer may already
contain the given part.
"""


def draws(seed: int, epoch: int, images: npt.NDArray[np.int64], config: AugmentationConfig) -> Tensor:
    """Return uniform random numbers for `images` in `epoch`: [passes, batch, 6], or [passes, batch, 10] with crops."""
    table = _stream("augment", seed, epoch, images, config.passes, _DRAWS)
    if config.crop_scale == 1:
        return table
    return torch.cat([table, _stream("crop", seed, epoch, images, config.passes, _CROP_DRAWS)], dim=2)


def _stream(name: str, seed: int, epoch: int, images: npt.NDArray[np.int64], passes: int, count: int) -> Tensor:
    table = uniforms(seeds_for(seed, name, epoch, numbers=images), count * passes).astype(np.float32)
    return torch.from_numpy(table).view(len(images), passes, count).transpose(0, 1)


def augment(x_BCHW: Tensor, draws_PBD: Tensor, config: AugmentationConfig, scaling: Scaling | None = None) -> Tensor:
    """Return the augmented images, as floats.

    Parameters
    ----------
    x_BCHW : [batch, channels, height, width], pixel values, uint8 or float.
    draws_PBD : [passes, batch, 6 or 10], uniform in [0, 1), as `draws` returns them.
    scaling : applied to the augmented images; None leaves their values between 0 and 255.
    """
    dtype = x_BCHW.dtype if x_BCHW.is_floating_point() else torch.float32
    layout = torch.preserve_format
    if not _interpolates(config):
        x_BCHW, layout = _flipped(x_BCHW, draws_PBD, config), torch.contiguous_format
    steps = _steps(draws_PBD.to(dtype), config, scaling, x_BCHW.shape)
    if not steps:
        return scaling(x_BCHW) if scaling else to_floats(x_BCHW, dtype)
    out_BCHW = x_BCHW.new_empty(x_BCHW.shape, dtype=dtype)
    for piece in _pieces(x_BCHW):
        part_BCHW, place_BCHW = to_floats(x_BCHW[piece], dtype, layout), out_BCHW[piece]
        for step in steps:
            part_BCHW = step(part_BCHW, piece, place_BCHW)
        if part_BCHW is not place_BCHW:
            place_BCHW.copy_(part_BCHW)
    return out_BCHW


def _pieces(x_BCHW: Tensor) -> list[slice]:
    """Return the slices into which a batch is divided.

    On the CPU, the parts are small enough for intermediate values to stay in the cache, but have at least one image per
    thread. On other devices, the entire batch is one part. The division does not affect the results.
    """
    count, pixels = len(x_BCHW), x_BCHW[0].numel()
    if x_BCHW.device.type != "cpu":
        return [slice(0, count)]
    least = torch.get_num_threads() * max(1, _FLOATS_IN_CACHE // pixels)
    parts = max(1, count // least)
    return [slice(count * part // parts, count * (part + 1) // parts) for part in range(parts)]


def _interpolates(config: AugmentationConfig) -> bool:
    return bool(config.rotation or config.translation) or config.crop_scale < 1


def _flipped(x_BCHW: Tensor, draws_PBD: Tensor, config: AugmentationConfig) -> Tensor:
    """Return the images after the flips of all passes, without changing their type or memory format."""
    for chance, draw, axis in ((config.horizontal_flip, 3, 3), (config.vertical_flip, 4, 2)):
        if chance:
            mirrored_B = (draws_PBD[:, :, draw] < chance).sum(dim=0) % 2
            both_BHWC = torch.cat([x_BCHW, x_BCHW.flip(axis)]).permute(0, 2, 3, 1)
            chosen_B = torch.arange(len(x_BCHW), device=x_BCHW.device) + len(x_BCHW) * mirrored_B
            x_BCHW = both_BHWC.index_select(0, chosen_B).permute(0, 3, 1, 2)  # torch.where processes byte by byte
    return x_BCHW


def _steps(draws_PBD: Tensor, config: AugmentationConfig, scaling: Scaling | None, shape: torch.Size) -> list[_Step]:
    """Return the steps of all passes except exact flips.

    The small tensors that the steps use are computed here, once for the entire batch.
    """
    if scaling is not None and scaling.identity:
        scaling = None
    steps: list[_Step] = []
    for number, draws_BD in enumerate(draws_PBD, 1):
        if _interpolates(config):
            steps.append(_resampled(draws_BD, config, *shape[2:]))
        last = scaling if number == len(draws_PBD) else None
        if config.contrast or (steps and last):
            steps.append(_toned(draws_BD, config, last))
    return steps


def _resampled(draws_BD: Tensor, config: AugmentationConfig, height: int, width: int) -> _Step:
    """Return a step that interpolates the images at mapped positions.

    With ``resampling: each``, the step interpolates a second time if there is both a rotation and a translation.

    A translation shifts all pixels of an image by the same fraction of a pixel. The rotated image is therefore sampled
    on a grid that is already shifted by whole pixels, reflected and flipped, with one additional row and column. The
    translation then interpolates between neighboring samples.
    """
    twice = config.resampling == "each" and config.rotation > 0 and config.translation > 0
    if twice:
        maps_B23 = affine(draws_BD, AugmentationConfig(rotation=config.rotation), height, width)
        shift_B2 = (2 * draws_BD[:, 1:3].flip(1) - 1) * config.translation
        columns_BW, right_B = _moved(shift_B2[:, 0], draws_BD[:, 3] < config.horizontal_flip, width)
        rows_BH, below_B = _moved(shift_B2[:, 1], draws_BD[:, 4] < config.vertical_flip, height)
        below_B111, right_B111 = below_B[:, None, None, None], right_B[:, None, None, None]
    else:
        maps_B23 = affine(draws_BD, config, height, width)
        columns_BW, rows_BH = (_centres(side, draws_BD)[None] for side in (width, height))
    across_B2W = maps_B23[:, :, 0, None] * columns_BW[:, None] + maps_B23[:, :, 2, None]
    along_B2H = maps_B23[:, :, 1, None] * rows_BH[:, None]
    reach = math.hypot(1, max(height / width, width / height)) if config.rotation else 1.0
    reach += 0.0 if twice else 2 * config.translation
    folds = math.ceil((reach - 1) / 2)

    def step(x_BCHW: Tensor, piece: slice, place_BCHW: Tensor) -> Tensor:
        grid_B2HW = across_B2W[piece, :, None, :] + along_B2H[piece, :, :, None]
        for _ in range(folds):
            grid_B2HW = _reflected(grid_B2HW)
        sampled_BCHW = functional.grid_sample(
            x_BCHW, grid_B2HW.permute(0, 2, 3, 1), mode="bilinear", padding_mode="border", align_corners=False
        )
        if not twice:
            return sampled_BCHW
        rows_BCHW = torch.lerp(sampled_BCHW[:, :, :-1], sampled_BCHW[:, :, 1:], below_B111[piece])
        return torch.lerp(rows_BCHW[..., :-1], rows_BCHW[..., 1:], right_B111[piece], out=place_BCHW)

    return step


def _moved(shift_B: Tensor, mirrored_B: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return the positions between which a shift interpolates [batch, side + 1], and the second neighbor's weight.

    Parameters
    ----------
    shift_B : shift as a fraction of the side.
    mirrored_B : whether the images are flipped after the shift.
    """
    whole_B = (shift_B * side).floor()
    fraction_B = shift_B * side - whole_B
    numbers_S = torch.arange(side + 1, dtype=shift_B.dtype, device=shift_B.device)
    numbers_BS = torch.where(mirrored_B[:, None], side - numbers_S, numbers_S) + whole_B[:, None]
    return _reflected((2 * numbers_BS + 1) / side - 1), torch.where(mirrored_B, 1 - fraction_B, fraction_B)


def _centres(side: int, like: Tensor) -> Tensor:
    """Return the positions of pixels in the normalized coordinates of `grid_sample`, from -1 to 1."""
    return (2 * torch.arange(side, dtype=like.dtype, device=like.device) + 1) / side - 1


def _reflected(x: Tensor) -> Tensor:
    """Return positions reflected at -1 and 1.

    Positions between -3 and 3 are mapped to between -1 and 1; the magnitude of positions farther away decreases by 2.
    """
    return torch.lerp(x, x.clamp(-1, 1), 2.0)


def _toned(draws_BD: Tensor, config: AugmentationConfig, scaling: Scaling | None) -> _Step:
    """Return a step that changes the contrast and scales, with one factor and one addend per image and channel."""
    factor_B111 = (1 + config.contrast * (2 * draws_BD[:, 5] - 1))[:, None, None, None]
    if config.contrast_per == "batch":
        factor_B111 = factor_B111[:1].expand_as(factor_B111)  # the factor of the batch's first image
    mean, sd = (scaling.mean, scaling.sd) if scaling else (0.0, 1.0)
    gain_BC11, of_mean_BC11, constant = factor_B111 / sd, (1 - factor_B111) / sd, mean / sd

    def step(x_BCHW: Tensor, piece: slice, place_BCHW: Tensor) -> Tensor:
        addend = _means(x_BCHW) * of_mean_BC11[piece] - constant if config.contrast else -constant
        return torch.mul(x_BCHW, gain_BC11[piece], out=place_BCHW).add_(addend)

    return step


def _means(x_BCHW: Tensor) -> Tensor:
    """Return the mean of each channel [batch, channels, 1, 1].

    If the batch consists of a single channel, torch splits the sum among threads, which changes the rounding.
    """
    at_least_2 = x_BCHW.expand(2, -1, -1, -1) if x_BCHW.shape[:2].numel() == 1 else x_BCHW
    return at_least_2.mean(dim=(2, 3), keepdim=True)[: len(x_BCHW)]


def affine(draws_BD: Tensor, config: AugmentationConfig, height: int, width: int) -> Tensor:
    """Return the maps [batch, 2, 3] from output to input positions, in the normalized coordinates of `grid_sample`."""
    signed = 2 * draws_BD - 1
    angle = signed[:, 0] * config.rotation * 2 * math.pi
    cos, sin = torch.cos(angle), torch.sin(angle)
    mirror_x = torch.where(draws_BD[:, 3] < config.horizontal_flip, -1.0, 1.0)
    mirror_y = torch.where(draws_BD[:, 4] < config.vertical_flip, -1.0, 1.0)
    # Normalized coordinates range from -1 to 1, so a shift by an entire side is 2. The ratios of the sides ensure that
    # a rotation does not distort images that are not square.
    shift_y, shift_x = signed[:, 1] * config.translation * 2, signed[:, 2] * config.translation * 2
    first = torch.stack([cos * mirror_x, -sin * (height / width) * mirror_y, shift_x], dim=1)
    second = torch.stack([sin * (width / height) * mirror_x, cos * mirror_y, shift_y], dim=1)
    maps_B23 = torch.stack([first, second], dim=1)
    return maps_B23 if config.crop_scale == 1 else _cropped(maps_B23, draws_BD[:, _DRAWS:], config)


def _cropped(maps_B23: Tensor, draws_BD: Tensor, config: AugmentationConfig) -> Tensor:
    """Return the maps combined with a random crop: positions from -1 to 1 in the crop are mapped into the image.

    The area and the logarithm of the aspect ratio are uniform (Szegedy et al., 2015). A side of the crop that would be
    longer than the image's side is shortened to the image's side (torchvision draws again instead).
    """
    area = config.crop_scale + (1 - config.crop_scale) * draws_BD[:, 0]
    ratio = torch.exp(math.log(config.crop_ratio) * (2 * draws_BD[:, 1] - 1))
    sides_B2 = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], dim=1).clamp(max=1)  # columns, rows
    centre_B2 = (1 - sides_B2) * (2 * draws_BD[:, 2:4].flip(1) - 1)
    inside = maps_B23 * sides_B2[:, :, None]
    return torch.cat([inside[:, :, :2], inside[:, :, 2:] + centre_B2[:, :, None]], dim=2)
