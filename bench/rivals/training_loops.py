"""One epoch of training in other packages: timm and torchvision's reference recipe; Lightning has a separate file.

Each loop is created from uint8 images in memory and trains one epoch per call: random horizontal flips,
standardization, forward pass, backward pass, AdamW, and the metrics that its original computes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from timm.data.loader import PrefetchLoader, fast_collate
from timm.optim import create_optimizer_v2
from timm.utils import AverageMeter
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from aimlib.datasets.base import Images
from aimlib.training.devices import autocast

RATE, DECAY = 1e-3, 0.05


class _Photos(Dataset[tuple[Any, int]]):
    """Single images, flipped at random: uint8 arrays for timm, standardized tensors for the other packages."""

    def __init__(self, images: Images, transform: Callable[[Any], Any]) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images.labels)

    def __getitem__(self, number: int) -> tuple[Any, int]:
        return self.transform(self.images.pixels[number]), int(self.images.labels[number])


def _flipped_array(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an array with channels first, as required by timm's `fast_collate`."""
    if torch.rand(()) < 0.5:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _as_tensor(pixels: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)


def loader_of(images: Images, batch: int, workers: int, transform: Callable[[Any], Any], **options: Any) -> Any:
    """Return a loader that shuffles the images."""
    return DataLoader(
        _Photos(images, transform),
        batch,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        **options,
    )


def timm_epoch(
    network: nn.Module,
    images: Images,
    statistics: tuple[Any, Any],
    batch: int,
    workers: int,
    precision: str,
    device: torch.device,
) -> Callable[[], float]:
    """Return a function that trains one epoch with timm.

    The installed package has no `train_one_epoch`; this function is the one in timm's train.py, with the package's
    `fast_collate`, `PrefetchLoader`, `create_optimizer_v2` and `AverageMeter`.
    """
    loader = PrefetchLoader(
        loader_of(images, batch, workers, _flipped_array, collate_fn=fast_collate), *statistics, device=device
    )
    optimizer = create_optimizer_v2(network, "adamw", lr=RATE, weight_decay=DECAY)

    def epoch() -> float:
        began = time.perf_counter()
        losses = AverageMeter()
        network.train()
        optimizer.zero_grad()
        for x, labels in loader:
            x = x.contiguous(memory_format=torch.channels_last)  # noqa: PLW2901 -- as in train.py
            with autocast(device, precision):
                output = network(x)
                loss = functional.cross_entropy(output, labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.update(loss.item(), x.size(0))
        return time.perf_counter() - began

    return epoch


def torchvision_epoch(
    network: nn.Module,
    images: Images,
    statistics: tuple[Any, Any],
    batch: int,
    workers: int,
    precision: str,
    device: torch.device,
) -> Callable[[], float]:
    """Return the epoch in torchvision's references/classification/train.py, without its logging."""
    loader = loader_of(images, batch, workers, reference_transform(statistics))
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    criterion = nn.CrossEntropyLoss()

    def epoch() -> float:
        began = time.perf_counter()
        network.train()
        losses, right = AverageMeter(), AverageMeter()
        for image, target in loader:
            x = image.to(device, memory_format=torch.channels_last, non_blocking=True)
            labels = target.to(device, non_blocking=True)
            with autocast(device, precision):
                output = network(x)
                loss = criterion(output, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            hits = output.topk(5, dim=1).indices.eq(labels[:, None])
            losses.update(loss.item(), len(x))
            right.update(hits[:, 0].float().mean().item(), len(x))
        return time.perf_counter() - began

    return epoch


def reference_transform(statistics: tuple[Any, Any]) -> Callable[[Any], Any]:
    """Return the reference's transforms for tensors, without the crop."""
    return v2.Compose(
        [_as_tensor, v2.RandomHorizontalFlip(0.5), v2.ToDtype(torch.float32, scale=True), v2.Normalize(*statistics)]
    )


LOOPS = {"timm": timm_epoch, "torchvision reference": torchvision_epoch}
