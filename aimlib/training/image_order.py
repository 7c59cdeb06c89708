"""The fixed orders in which a split's images are read; importing this module does not import torch.

``sha256`` is the order of the names' hashes. ``tfds`` is the order in which TensorFlow Datasets reads its files:

1. The images are sorted by ``md5(split + key)``. The key is the image's name; for Stanford Dogs it has the form
   ``Images/<wnid>-<Breed>/<file>.jpg``.
2. This order is cut into four shards, at ``round(images * i / 4)``.
3. The shards are read in turn, sixteen images at a time, until all are empty.

Source: tensorflow-datasets 4.0.1 (`core/shuffle.py`, `core/hashing.py`, `core/tfrecords_writer.py`,
`core/tfrecords_reader.py`). That version creates one shard per 64 MiB and rounds the number of shards down to a power
of two. Both splits of Stanford Dogs have four shards. This module uses four shards for other data sets as well.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Order = Literal["sha256", "tfds"]

SHARDS = 4
BLOCK = 16
"""Number of images that are read from a shard before the next shard is read, regardless of the batch size."""

_KEY_PREFIXES = {"stanford_dogs": "Images/"}
"""Prefix of an image's name in its key, by data set; empty for all other data sets."""


def fixed_order(
    indices: Indices, names: Sequence[str], order: Order = "sha256", *, split: str = "test", data: str = ""
) -> Indices:
    """Return the images `indices` in a fixed order that mixes classes and is the same in every epoch.

    Parameters
    ----------
    indices : numbers of the images: all images in the split or some of them. A subset keeps the order of the entire
        split.
    names : names of all images in the split.
    split : ``train`` or ``test``; part of what ``tfds`` hashes.
    data : name of the data set, which decides how ``tfds`` makes keys from image names.
    """
    if order == "sha256":
        return np.array(sorted(indices, key=lambda i: hashlib.sha256(names[i].encode()).digest()), dtype=np.int64)
    whole = _tfds_order(names, split, _KEY_PREFIXES.get(data, ""))
    return whole[np.isin(whole, indices)]


def first_and_last(
    names: Sequence[str], order: Order, split: str, data: str, batch_size: int
) -> tuple[list[str], list[str]]:
    """Return the names in the first batch of a split in a fixed order, and those left over after the last full batch.

    Parameters
    ----------
    names, order, split, data : as for `fixed_order`.
    """
    found = [names[number] for number in fixed_order(np.arange(len(names)), names, order, split=split, data=data)]
    return found[:batch_size], found[len(found) // batch_size * batch_size :]


def _tfds_order(names: Sequence[str], split: str, prefix: str) -> Indices:
    """Return the numbers of all images in the order in which TensorFlow Datasets reads them without shuffling."""
    hashes = [hashlib.md5(f"{split}{prefix}{name}".encode(), usedforsecurity=False).digest() for name in names]
    stored = np.array(sorted(range(len(names)), key=hashes.__getitem__), dtype=np.int64)
    cuts = [round(len(names) * number / SHARDS) for number in range(SHARDS + 1)]
    shard, place = np.empty(len(names), dtype=np.int64), np.empty(len(names), dtype=np.int64)
    for number, (start, end) in enumerate(itertools.pairwise(cuts)):
        shard[start:end], place[start:end] = number, np.arange(end - start)
    return stored[np.lexsort((place % BLOCK, shard, place // BLOCK))]
