"""Images of one split that are also in another one: their accuracy says nothing about new images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xxhash

from aimlib.datasets.base import DataSet, Images
from aimlib.errors import counted

_IN_WORDS = {"train": "training", "validation": "validation", "test": "test"}


def shared_images(data: DataSet) -> Iterator[str]:
    """Yield, for each later split, how many of its images have the same pixels as an image of an earlier split.

    All pixels are read once. Photos are compared as they are stored, after resizing, so a copy in another file format
    may differ; `ablate data verify` compares the photos themselves, and names them.
    """
    earlier: dict[str, set[bytes]] = {}
    for split, images in data.splits().items():
        own = _digests(images)
        for other, known in earlier.items():
            places = [number for number, digest in enumerate(own) if digest in known]
            if places:
                yield (
                    f"{len(places):,} of {counted(len(own), f'{_IN_WORDS[split]} image')} "
                    f"{'has' if len(places) == 1 else 'have'} the same pixels as a {_IN_WORDS[other]} image, such as "
                    f"{images.names[places[0]]!r}"
                )
        earlier[split] = set(own)


def _digests(images: Images) -> list[bytes]:
    return [xxhash.xxh3_128_digest(np.ascontiguousarray(pixels).data) for pixels in images.pixels]
