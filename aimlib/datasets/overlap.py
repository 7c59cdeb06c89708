"""Images that are in more than one split; accuracy on such images says nothing about new images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from aimlib.datasets.base import DataSet, Images
from aimlib.errors import counted

_IN_WORDS = {"train": "training", "validation": "validation", "test": "test"}


def shared_images(data: DataSet) -> Iterator[str]:
    """Yield, for each later split, how many of its images have the same pixels as an image in an earlier split.

    Because a data set may be larger than the RAM, only the middle row of every image is read at first. An entire image
    is read only if an image in another split has the same middle row. Photos are compared as they are stored, after
    resizing, so a copy in a different file format may differ. `ablate data verify` compares the original photos and
    lists the copies.
    """
    earlier: dict[str, tuple[Images, dict[bytes, list[int]]]] = {}
    for split, images in data.splits().items():
        own = _by_middle_row(images)
        for other, (others, known) in earlier.items():
            places = sorted(_shared(images, own, others, known))
            if places:
                yield (
                    f"{len(places):,} of {counted(len(images.names), f'{_IN_WORDS[split]} image')} "
                    f"{'has' if len(places) == 1 else 'have'} the same pixels as a {_IN_WORDS[other]} image, such as "
                    f"{images.names[places[0]]!r}"
                )
        earlier[split] = images, own


def _by_middle_row(images: Images) -> dict[bytes, list[int]]:
    """Return the positions of the images, by the digest of their middle row."""
    found: dict[bytes, list[int]] = {}
    middle = images.pixels.shape[1] // 2
    for place in range(len(images.pixels)):
        found.setdefault(_digest(images.pixels[place, middle]), []).append(place)
    return found


def _shared(
    images: Images, own: Mapping[bytes, list[int]], others: Images, known: Mapping[bytes, list[int]]
) -> Iterator[int]:
    """Yield the positions of the images that also occur in the other split, in no particular order."""
    for row in own.keys() & known.keys():
        whole = {_digest(others.pixels[place]) for place in known[row]}
        yield from (place for place in own[row] if _digest(images.pixels[place]) in whole)


def _digest(pixels: npt.NDArray[Any]) -> bytes:
    return xxhash.xxh3_128_digest(np.ascontiguousarray(pixels).data)
