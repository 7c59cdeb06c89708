"""Where a run's images are kept, and how a batch reaches the training device.

* `ResidentLoader`: all images are on the device as they are stored; a batch is gathered there.
* `PrefetchingLoader`: the images are on the host; a thread gathers the next batch into pinned memory and copies it, on
  its own stream, while the device trains on the current batch.
* `HostLoader`: the images are on the host, and the device is the CPU or the next batch is unknown.

All three return bitwise identical batches. On the CPU, the images are always on the host, in the memory map that all
processes share.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aimlib.config import RunConfig
from aimlib.datasets.base import DataSet, Images
from aimlib.datasets.mapped_pixels import announce
from aimlib.training.inputs import load_batch, to_device

Indices = npt.NDArray[np.int64]
Batch = tuple[Tensor, Tensor]
"""Stored pixels [batch, channels, height, width], channels last in memory, and labels [batch]."""

LARGEST_SHARE = 0.25
"""With ``data_on: auto``, images are kept on the device if they need at most this share of the memory that the run may
use. The remaining three quarters are for the network, the optimizer, activations and the gaps between them."""

_PART_BYTES = 2**26
"""Number of bytes that are copied to the device at a time."""


class Loader(ABC):
    """Provides batches from one split on a device."""

    @abstractmethod
    def batch(self, indices: Indices, following: Indices | None = None) -> Batch:
        """Return the images `indices`.

        Parameters
        ----------
        following : the next batch, if known; it may be prepared in the meantime.
        """


class HostLoader(Loader):
    """Gathers every batch on the host on request."""

    def __init__(self, images: Images, device: torch.device) -> None:
        self._images, self._device = images, device

    def batch(self, indices: Indices, following: Indices | None = None) -> Batch:
        """Return the images `indices`."""
        return load_batch(self._images, indices, self._device)


class ResidentLoader(Loader):
    """Keeps all images on the device."""

    def __init__(self, images: Images, device: torch.device) -> None:
        self._device = device
        self._pixels_NHWC = _whole(images.pixels, device)
        self._labels_N = torch.from_numpy(images.labels).to(device)

    def batch(self, indices: Indices, following: Indices | None = None) -> Batch:
        """Return the images `indices`."""
        chosen_B = to_device(torch.from_numpy(indices), self._device)
        pixels_BHWC = _gathered(self._pixels_NHWC, chosen_B)
        return pixels_BHWC.permute(0, 3, 1, 2), self._labels_N.index_select(0, chosen_B)


class PrefetchingLoader(Loader):
    """Prepares the next batch while the device works on the current one."""

    def __init__(self, images: Images, device: torch.device) -> None:
        self._images, self._device = images, device
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="next-batch")
        self._stream = _stream_of_its_own(device) if device.type == "cuda" else None
        self._next: tuple[Indices, Future[tuple[Batch, torch.cuda.Event | None]]] | None = None

    def batch(self, indices: Indices, following: Indices | None = None) -> Batch:
        """Return the images `indices`; prepare `following`."""
        ready = self._next
        if ready is None or not np.array_equal(ready[0], indices):
            ready = (indices, self._thread.submit(self._load, indices))
        batch, copied = ready[1].result()
        self._next = None if following is None else (following, self._thread.submit(self._load, following))
        if copied is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(copied)
            for tensor in batch:  # the copy stream must not reuse its storage while the current stream needs it
                tensor.record_stream(current)
        return batch

    def _load(self, indices: Indices) -> tuple[Batch, torch.cuda.Event | None]:
        """Gather and copy a batch in the thread; return the batch, and the event that marks the end of the copy."""
        if self._stream is None:
            return load_batch(self._images, indices, self._device), None
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            batch = load_batch(self._images, indices, self._device)
            return batch, self._stream.record_event()


def _stream_of_its_own(device: torch.device) -> torch.cuda.Stream:
    """Return a stream on which no step is captured, because copies of batches would become part of a captured step.

    Torch has 32 streams for every priority, and assigns them in rotation; steps use some of those with normal priority.
    """
    return torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]


def loader(images: Images, device: torch.device, place: Literal["device", "host"]) -> Loader:
    """Return the loader for a split whose images are kept in `place`."""
    if device.type == "cpu":
        return HostLoader(images, device)
    return ResidentLoader(images, device) if place == "device" else PrefetchingLoader(images, device)


def place_of_data(
    config: RunConfig, data: DataSet, device: torch.device, memory_share: float | None
) -> Literal["device", "host"]:
    """Return where a run's images are kept.

    Parameters
    ----------
    memory_share : maximum share of the device's memory that the run may use; None: all of it.
    """
    stated = config.training.data_on
    if stated != "auto":
        return stated
    if device.type != "cuda":
        return "host"
    free, total = torch.cuda.mem_get_info(device)
    room = min(LARGEST_SHARE * total * (memory_share or 1.0), free / 2)
    return "device" if resident_bytes(config, data) <= room else "host"


def resident_bytes(config: RunConfig, data: DataSet) -> int:
    """Return the number of bytes that a run's images need on the device; 0 with ``data_on: host``.

    Every process has its own copy. Whether ``auto`` keeps the images on the device depends on the device: see
    `place_of_data`.
    """
    if config.training.data_on == "host":
        return 0
    return sum(images.pixels.nbytes + images.labels.nbytes for images in data.splits().values())


def _whole(pixels_NHWC: npt.NDArray[np.uint8 | np.uint16], device: torch.device) -> Tensor:
    """Return all images on the device, copied in parts, so the host never holds a second copy of a memory map."""
    whole_NHWC = torch.empty(pixels_NHWC.shape, dtype=torch.from_numpy(pixels_NHWC[:0]).dtype, device=device)
    images = max(1, _PART_BYTES // max(1, pixels_NHWC[:1].nbytes))
    for start in range(0, len(pixels_NHWC), images):
        announce(pixels_NHWC, np.arange(start, min(start + images, len(pixels_NHWC))))
        part = np.array(pixels_NHWC[start : start + images])
        whole_NHWC[start : start + images].copy_(torch.from_numpy(part))
    return whole_NHWC


def _gathered(pixels_NHWC: Tensor, chosen_B: Tensor) -> Tensor:
    """Return the images `chosen_B`; uint16 values are gathered as int16, because torch gathers no uint16 values."""
    if pixels_NHWC.dtype == torch.uint16:
        return pixels_NHWC.view(torch.int16).index_select(0, chosen_B).view(torch.uint16)
    return pixels_NHWC.index_select(0, chosen_B)
