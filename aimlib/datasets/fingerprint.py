"""The fingerprint of a data set: a hash of pixels, labels, names, their order, the splits and the class names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from aimlib.datasets.base import DataSet, Images

DIGITS = 20


def images_digest(images: Images) -> str:
    """Return the SHA-256 of one split, in hexadecimal digits; this reads every pixel."""
    pixels = hashlib.sha256()
    for start in range(0, len(images.pixels), 1024):
        pixels.update(np.ascontiguousarray(images.pixels[start : start + 1024]).data)
    return split_digest(pixels.hexdigest(), list(images.pixels.shape), images.labels, images.names)


def split_digest(pixels: str, shape: object, labels: npt.NDArray[np.int64], names: Sequence[str]) -> str:
    """Return the SHA-256 of one split whose pixels have already been hashed.

    Parameters
    ----------
    pixels : SHA-256 of the pixels' bytes in the order of the images, in hexadecimal digits.
    shape : the shape (or shapes) needed to interpret those bytes as images, as plain JSON values.
    labels : [images], class numbers.
    names : the names of the images, one per image.
    """
    return _digest({"pixels": pixels, "shape": shape, "labels": labels.tolist(), "names": list(names)})


def fingerprint(classes: Sequence[str], splits: Mapping[str, str]) -> str:
    """Return the fingerprint of a data set, given its class names and the digest of each split, keyed by name."""
    return _digest({"classes": list(classes), "splits": dict(splits)})[:DIGITS]


def with_fingerprint(train: Images, test: Images, classes: Sequence[str], validation: Images | None = None) -> DataSet:
    """Return the data set with these splits; this hashes every pixel."""
    data = DataSet(train, test, tuple(classes), "", validation)
    digests = {name: images_digest(images) for name, images in data.splits().items()}
    return replace(data, fingerprint=fingerprint(classes, digests))


def _digest(content: object) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
