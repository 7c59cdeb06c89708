"""Loaders from other packages that apply the augmentation from the post, each as its documentation recommends.

All of them yield uint8 batches, which are converted to floats on the training device, as in our pipeline, so that less
data passes between processes.
"""

from __future__ import annotations

import io
import os
import tarfile
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import InterpolationMode, v2

from bench.photos import Photos

BATCH = 64
WORKERS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
Loader = Iterable[Any]


def transform(size: int) -> Callable[[Any], torch.Tensor]:
    """Return a transform for Pillow images: resizing, rotation, translation, both flips and contrast."""
    bilinear = InterpolationMode.BILINEAR
    return v2.Compose(
        [
            v2.Resize((size, size)),
            v2.RandomRotation(54, bilinear),
            v2.RandomAffine(0, translate=(0.1, 0.1), interpolation=bilinear),
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
            v2.ColorJitter(contrast=0.1),
            v2.PILToTensor(),
        ]
    )


def _options(pinned: bool, workers: int | None = None) -> dict[str, Any]:
    count = WORKERS if workers is None else workers
    return {"num_workers": count, "persistent_workers": count > 0, "pin_memory": pinned}


def image_folder(photos: Photos, size: int, pinned: bool, workers: int | None = None) -> Loader:
    """Return torchvision's ImageFolder with a DataLoader."""
    data = ImageFolder(photos.root / "train", transform(size))
    return DataLoader(data, BATCH, shuffle=True, **_options(pinned, workers))


class _Applied:
    def __init__(self, change: Callable[[Any], torch.Tensor]) -> None:
        self.change = change

    def __call__(self, rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {"image": [self.change(image.convert("RGB")) for image in rows["image"]], "label": rows["label"]}


def hugging_face(photos: Photos, size: int, pinned: bool) -> Loader:
    """Return Hugging Face `datasets` with a DataLoader, with the bytes of the photos in its Arrow table."""
    import datasets

    files = photos.files()
    table = datasets.Dataset.from_dict(
        {
            "image": [{"bytes": path.read_bytes(), "path": None} for path, _ in files],
            "label": [label for _, label in files],
        },
        features=datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")}),
    )
    table.set_transform(_Applied(transform(size)))
    return DataLoader(table, BATCH, shuffle=True, collate_fn=_collated, **_options(pinned))


def _collated(rows: list[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.stack([row["image"] for row in rows]), torch.tensor([row["label"] for row in rows])


def web_dataset(photos: Photos, size: int, pinned: bool) -> Loader:
    """Return webdataset on newly written tar files, two per worker."""
    import webdataset

    files, shards = photos.files(), 2 * WORKERS
    paths = [photos.root / f"shard-{number}.tar" for number in range(shards)]
    for number, path in enumerate(paths):
        _write_shard(path, files[number::shards])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = (
            webdataset.WebDataset([str(path) for path in paths], shardshuffle=shards, empty_check=False)
            .shuffle(500)
            .decode("pil")
            .to_tuple("jpg", "cls")
            .map_tuple(transform(size), int)
            .batched(BATCH)
        )
    return webdataset.WebLoader(data, batch_size=None, **_options(pinned))


def _write_shard(path: Path, files: list[tuple[Path, int]]) -> None:
    with tarfile.open(path, "w") as shard:
        for photo, label in files:
            for suffix, content in (("jpg", photo.read_bytes()), ("cls", str(label).encode())):
                about = tarfile.TarInfo(f"{photo.stem}.{suffix}")
                about.size = len(content)
                shard.addfile(about, io.BytesIO(content))
