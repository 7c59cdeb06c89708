"""From stored images to batches on the training device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aimlib.datasets.base import Images
from aimlib.datasets.mapped_pixels import announce
from aimlib.training.pixel_format import FINE, WHOLE, format_of, to_floats

_CHUNK = 128


@dataclass(frozen=True)
class Scaling:
    """How pixel values are scaled before they enter the network: ``(x - mean) / sd`` per channel.

    Attributes
    ----------
    mean, sd : tensors of shape [1, channels, 1, 1].
    identity : whether the mean is 0 and the sd is 1 in every channel, so that there is nothing to compute.
    """

    mean: Tensor
    sd: Tensor
    identity: bool = False

    def __call__(self, x_BCHW: Tensor) -> Tensor:
        """Return the scaled images; stored pixels become float32."""
        if self.identity:
            return to_floats(x_BCHW)
        if x_BCHW.is_contiguous(memory_format=torch.channels_last):
            return self._by_rows(x_BCHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        if x_BCHW.is_floating_point():
            return (x_BCHW - self.mean).div_(self.sd)
        return to_floats(x_BCHW).sub_(self.mean).div_(self.sd)

    def _by_rows(self, x_BHWC: Tensor) -> Tensor:
        """Return the images scaled row by row, because torch is slow if it works on the few channels of one pixel."""
        width = x_BHWC.shape[2]
        mean, sd = (values.flatten().repeat(width) for values in (self.mean, self.sd))
        rows = x_BHWC.flatten(2)
        floats = rows - mean if rows.is_floating_point() else to_floats(rows).sub_(mean)
        return floats.div_(sd).view(x_BHWC.shape)

    def to(self, device: torch.device) -> Scaling:
        """Return the same scaling on `device`."""
        return replace(self, mean=self.mean.to(device), sd=self.sd.to(device))


def standardization(pixels: npt.NDArray[np.uint8 | np.uint16], indices: npt.NDArray[np.int64]) -> Scaling:
    """Return the scaling to mean 0 and standard deviation 1 over the pixels in the given images, per channel.

    A constant channel is only centered.
    """
    channels, stored = pixels.shape[3], format_of(pixels)
    counts = np.zeros((channels, stored.values), dtype=np.int64)
    for start in range(0, len(indices), _CHUNK):
        announce(pixels, indices[start : start + _CHUNK])
        chunk = pixels[indices[start : start + _CHUNK]]
        for channel in range(channels):
            counts[channel] += _histogram(chunk[..., channel].ravel())
    values = np.arange(stored.values) if stored == WHOLE else np.arange(stored.values) * stored.step
    total = counts.sum(axis=1, keepdims=True)
    mean = (counts * values).sum(axis=1, keepdims=True) / total
    sd = np.sqrt((counts * (values - mean) ** 2).sum(axis=1, keepdims=True) / total)
    sd[sd == 0] = 1.0
    shape = (1, channels, 1, 1)
    return Scaling(
        torch.from_numpy(mean.astype(np.float32)).view(shape),
        torch.from_numpy(sd.astype(np.float32)).view(shape),
    )


def _histogram(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return how often each storable value occurs in `values`; single-byte values are counted in pairs."""
    if values.dtype != WHOLE.stored:
        return np.bincount(values, minlength=FINE.values)
    pairs = np.bincount(values[: len(values) // 2 * 2].view(np.uint16), minlength=2**16).reshape(256, 256)
    counts: npt.NDArray[np.int64] = pairs.sum(axis=0) + pairs.sum(axis=1)
    counts[values[len(values) // 2 * 2 :]] += 1
    return counts


def identity_scaling(channels: int) -> Scaling:
    """Return the scaling that does not change pixel values from 0 to 255."""
    return Scaling(torch.zeros(1, channels, 1, 1), torch.ones(1, channels, 1, 1), identity=True)


def load_batch(images: Images, indices: npt.NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the stored pixels [batch, channels, height, width], in channels-last layout, and the labels [batch].

    Pixels keep the stored type, which needs half as many bytes as floats or fewer, until augmentation or scaling
    converts them to floats.
    """
    announce(images.pixels, indices)
    pixels = torch.from_numpy(images.pixels[indices])  # indexing copies, so a read-only map is not modified
    labels = torch.from_numpy(images.labels[indices])
    return to_device(pixels, device).permute(0, 3, 1, 2), to_device(labels, device)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return the tensor on `device`; for a GPU, it is copied from pinned memory without waiting."""
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
