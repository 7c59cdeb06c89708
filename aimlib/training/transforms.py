"""The augmentations in `training.transforms`, which change a batch before the training step.

Their control flow depends on their random draws, so they are applied to one image at a time and are never part of a
captured or compiled step. Every draw comes from a stream that is addressed by name, and the global generators are
restored afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aimlib.config import TrainingConfig
from aimlib.datasets.base import ImageShape
from aimlib.errors import UsageError
from aimlib.registry import augmentations
from aimlib.seeding import seed_for, seeds_for
from aimlib.training import rng_state
from aimlib.training.augmentation import augment
from aimlib.training.inputs import Scaling, identity_scaling
from aimlib.training.pixel_format import to_floats


@dataclass(frozen=True)
class Place:
    """The position of a batch in a run, which determines all draws.

    Attributes
    ----------
    seed : the run's seed.
    epoch, step : number of the epoch, from 1, and number of earlier steps in it.
    images : [batch], numbers of the images.
    """

    seed: int
    epoch: int
    step: int
    images: npt.NDArray[np.int64]


class Transforms:
    """The augmentations of a run.

    Parameters
    ----------
    options : the run's training options, with `transforms`.
    shape : shape of the images.
    scaling : scaling of the pixels, on the training device.
    """

    def __init__(self, options: TrainingConfig, shape: ImageShape, scaling: Scaling) -> None:
        self._augmentation, self._scaling = options.augmentation, scaling
        self._of_pixels: list[tuple[str, Any]] = []
        self._of_inputs: list[tuple[str, Any]] = []
        self._of_batch: list[tuple[str, Any]] = []
        for number, config in enumerate(options.transforms):
            try:
                built = augmentations.get(config.name)(config, shape)
            except (ValueError, TypeError) as error:  # torchvision's errors about its arguments
                raise UsageError(f"training.transforms.{number}: {config.name}: {error}; correct it") from error
            earlier = sum(each.name == config.name for each in options.transforms[:number])
            kind = self._of_batch if built.per_batch else self._of_inputs if built.after_scaling else self._of_pixels
            kind.append((f"{config.name} {earlier + 1}", built))

    def __call__(
        self, x_BCHW: Tensor, labels_B: Tensor, draws_PBD: Tensor | None, place: Place
    ) -> tuple[Tensor, Tensor | None]:
        """Return the network's input, and the class shares if images were mixed.

        Parameters
        ----------
        x_BCHW : stored pixels.
        draws_PBD : draws for `training.augmentation`, which comes first; None without augmentation.
        """
        if draws_PBD is not None and self._augmentation is not None:
            x_BCHW = augment(x_BCHW, draws_PBD, self._augmentation)
        targets_BC = None
        with rng_state.restored(x_BCHW.device), torch.no_grad():
            if self._of_pixels:
                x_BCHW = self._each(_bytes(x_BCHW), self._of_pixels, place)
            x_BCHW = self._scaling(x_BCHW)
            if self._of_inputs:
                x_BCHW = self._each(x_BCHW, self._of_inputs, place)
            for name, mixing in self._of_batch:
                rng_state.seed_stream(seed_for(place.seed, "batch transforms", name, place.epoch, place.step))
                x_BCHW, targets_BC = mixing.augment(x_BCHW, labels_B)
        return x_BCHW.contiguous(memory_format=torch.channels_last), targets_BC

    def refuse_other_images(self, image_CHW: Tensor) -> None:
        """Try every augmentation for single images on a uint8 image.

        Raises
        ------
        UsageError: the result is not an image with the same shape and type.
        """
        of_inputs = image_CHW.to(torch.float32)
        tried = [(each, image_CHW) for _, each in self._of_pixels] + [(each, of_inputs) for _, each in self._of_inputs]
        for augmentation, image in tried:
            with rng_state.restored(image.device), torch.no_grad():
                changed = augmentation.augment(image.clone())
            if isinstance(changed, Tensor) and (changed.shape, changed.dtype) == (image.shape, image.dtype):
                continue
            given = _described(changed) if isinstance(changed, Tensor) else type(changed).__name__
            raise UsageError(
                f"training.transforms: {augmentation.config.name}: returns {given} for {_described(image)}; the "
                f"shape and type must not change"
            )

    @staticmethod
    def _each(x_BCHW: Tensor, applied: list[tuple[str, Any]], place: Place) -> Tensor:
        """Apply these augmentations to one image at a time, and return the images."""
        streams = [
            seeds_for(place.seed, "transforms", name, place.epoch, numbers=place.images).tolist() for name, _ in applied
        ]
        changed = []
        for number, image_CHW in enumerate(x_BCHW.unbind()):
            for (_, augmentation), seeds in zip(applied, streams, strict=True):
                rng_state.seed_stream(seeds[number])
                image_CHW = augmentation.augment(image_CHW)  # noqa: PLW2901 -- one after another
            changed.append(image_CHW)
        return torch.stack(changed)


def _described(image_CHW: Tensor) -> str:
    return f"images of shape {tuple(image_CHW.shape)} and type {image_CHW.dtype}"


def _bytes(x_BCHW: Tensor) -> Tensor:
    """Return pixel values rounded to uint8, the type for which torchvision's augmentations are defined."""
    return x_BCHW if x_BCHW.dtype == torch.uint8 else to_floats(x_BCHW).round().clamp_(0, 255).to(torch.uint8)


def transforms_of(options: TrainingConfig, shape: ImageShape, scaling: Scaling) -> Transforms | None:
    """Return the augmentations in `training.transforms`, or None if there are none."""
    return Transforms(options, shape, scaling) if options.transforms else None


def refuse_unusable_transforms(options: TrainingConfig, shape: ImageShape) -> None:
    """Try the augmentations on a small batch.

    Raises
    ------
    UsageError: an option does not fit the images, or the result has a different shape, type or range.
    """
    transforms = transforms_of(options, shape, identity_scaling(shape.channels))
    if transforms is None:
        return
    images = np.arange(4)
    x_BCHW = (torch.arange(4 * shape.channels * shape.height * shape.width) * 37 % 256).to(torch.uint8)
    x_BCHW = x_BCHW.view(4, shape.channels, shape.height, shape.width)
    labels_B = torch.arange(4) % shape.classes
    names = ", ".join(each.name for each in options.transforms)
    try:
        transforms.refuse_other_images(x_BCHW[0])
        changed_BCHW, targets_BC = transforms(x_BCHW, labels_B, None, Place(0, 1, 0, images))
    except UsageError:
        raise
    except (RuntimeError, ValueError, TypeError) as error:
        raise UsageError(
            f"training.transforms: {names}: fails for images of {shape.channels} x {shape.height} x {shape.width}: "
            f"{error}; correct it"
        ) from error
    if changed_BCHW.shape != x_BCHW.shape or changed_BCHW.dtype != torch.float32:
        raise UsageError(
            f"training.transforms: {names}: returns images of shape {tuple(changed_BCHW.shape[1:])} and type "
            f"{changed_BCHW.dtype}; the shape and type must not change"
        )
    if targets_BC is not None and tuple(targets_BC.shape) != (4, shape.classes):
        raise UsageError(
            f"training.transforms: {names}: returns targets of shape {tuple(targets_BC.shape)}; targets must be "
            f"the shares of the {shape.classes} classes in the 4 images"
        )
