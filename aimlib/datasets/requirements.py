"""Requirements that every data set must meet, including data sets written by users."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from aimlib.datasets.base import DataSet, Images, ImageShape

_FINGERPRINT_DIGITS = 20


def problems(data: DataSet, shape: ImageShape) -> list[str]:
    """Return the problems of a loaded data set, as sentences with remedies; an empty list if the data can be used.

    The function reads labels and names, but no pixels.

    Parameters
    ----------
    shape : the shape that the plugin returns without reading the data.
    """
    by_split = (list(_of_split(name, images, shape)) for name, images in data.splits().items())
    found = next(filter(None, by_split), [])  # other splits usually have the same problems
    digits = data.fingerprint
    if len(digits) != _FINGERPRINT_DIGITS or not set(digits) <= set("0123456789abcdef"):
        found.append(
            f"fingerprint is {digits!r}; return `with_fingerprint(train, test, classes)` from "
            f"aimlib.datasets.fingerprint, which computes it"
        )
    if len(set(data.classes)) != len(data.classes):
        found.append("classes contains a name twice; use a unique name for every class")
    return found


def _of_split(name: str, images: Images, shape: ImageShape) -> Iterator[str]:
    pixels, labels, names = images.pixels, images.labels, images.names
    if not all(isinstance(each, np.ndarray) for each in (pixels, labels)):
        yield f"{name}.pixels and {name}.labels must be NumPy arrays; convert them with numpy.asarray"
        return
    if pixels.ndim != 4:
        yield f"{name}.pixels has the shape {pixels.shape}; change it to [images, height, width, channels]"
        return
    if pixels.dtype not in (np.uint8, np.uint16):
        yield f"{name}.pixels is {pixels.dtype}; return uint8 from 0 to 255 (or uint16 in steps of 1/256), unscaled"
    count = len(pixels)
    if count == 0:
        yield f"{name} has no images; return at least one"
        return
    if labels.shape != (count,) or len(names) != count:
        yield (
            f"{name} has {count} images, labels of the shape {labels.shape} and {len(names)} names; return one "
            f"label and one name per image"
        )
        return
    yield from _of_labels(name, labels, shape.classes)
    yield from _of_names(name, names)


def _of_labels(name: str, labels: np.ndarray[Any, Any], classes: int) -> Iterator[str]:
    if labels.dtype != np.int64:
        yield f"{name}.labels is {labels.dtype}; convert it with labels.astype(numpy.int64)"
    elif labels.min() < 0 or labels.max() >= classes:
        yield (
            f"{name}.labels are between {labels.min()} and {labels.max()}, but shape() returns {classes} classes, "
            f"which are numbered 0 to {classes - 1}; number them from 0, or correct shape()"
        )


def _of_names(name: str, names: tuple[str, ...]) -> Iterator[str]:
    if set(map(type, names)) != {str} or not all(names):
        yield f"{name}.names must be non-empty strings; convert a number with str(number)"
    elif len(set(names)) != len(names):
        yield (
            f"{name}.names contains a name twice; use a unique name for every image, because predictions are "
            f"stored by name"
        )
