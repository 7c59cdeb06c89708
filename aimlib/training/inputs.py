"""From stored uint8 images to batches on the training device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aimlib.datasets.base import Images

_CHUNK = 1024


@dataclass(frozen=True)
class Scaling:
    """How pixel values enter the network: ``(x - mean) / sd`` per channel, each of shape [1, channels, 1, 1]."""

    mean: Tensor
    sd: Tensor

    def __call__(self, x_BCHW: Tensor) -> Tensor:
        """Return the scaled images."""
        return (x_BCHW - self.mean) / self.sd

    def to(self, device: torch.device) -> Scaling:
        """Return the same scaling on `device`."""
        return Scaling(self.mean.to(device), self.sd.to(device))


def standardization(pixels: npt.NDArray[np.uint8], indices: npt.NDArray[np.int64]) -> Scaling:
    """Return the scaling to mean 0 and standard deviation 1 over the pixels of the given images, per channel.

    A channel that is constant is only centred.
    """
    channels = pixels.shape[3]
    counts = np.zeros((channels, 256), dtype=np.int64)
    for start in range(0, len(indices), _CHUNK):
        chunk = pixels[indices[start : start + _CHUNK]]
        for channel in range(channels):
            counts[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
    values, total = np.arange(256), counts.sum(axis=1, keepdims=True)
    mean = (counts * values).sum(axis=1, keepdims=True) / total
    sd = np.sqrt((counts * (values - mean) ** 2).sum(axis=1, keepdims=True) / total)
    sd[sd == 0] = 1.0
    shape = (1, channels, 1, 1)
    return Scaling(
        torch.from_numpy(mean.astype(np.float32)).view(shape),
        torch.from_numpy(sd.astype(np.float32)).view(shape),
    )


def identity_scaling(channels: int) -> Scaling:
    """Return the scaling that leaves pixel values from 0 to 255 as they are."""
    return Scaling(torch.zeros(1, channels, 1, 1), torch.ones(1, channels, 1, 1))


def load_batch(images: Images, indices: npt.NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return pixels [batch, channels, height, width] as float32 in channels-last memory, and labels [batch].

    Pixels travel to the device as uint8: a quarter of the bytes.
    """
    pixels = torch.from_numpy(images.pixels[indices])  # indexing copies, so a read-only map stays untouched
    labels = torch.from_numpy(images.labels[indices])
    return to_device(pixels, device).permute(0, 3, 1, 2).float(), to_device(labels, device)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return the tensor on `device`; to CUDA from pinned memory, without waiting for the copy."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
