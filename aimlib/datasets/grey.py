"""Splits of small gray images, enlarged, with one channel or with three equal channels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from aimlib.datasets.base import Images
from aimlib.datasets.resize import bilinear, to_uint8

CHUNK = 1024
"""Number of images resized at a time, which limits the RAM used for intermediate floats."""


def grey_images(
    values: npt.NDArray[np.uint8] | npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    numbers: npt.NDArray[np.int64],
    size: int,
    channels: int,
) -> Images:
    """Return the split that consists of the images `numbers`.

    Parameters
    ----------
    values : [all images, rows, columns], 0 to 255.
    labels : [all images], class numbers.
    numbers : [images], the numbers of the images to return, in this order; an image's name is its number as text.
    size : height and width of the result, in pixels; images are enlarged bilinearly.
    channels : how many times the gray channel is repeated.
    """
    pixels = np.empty((len(numbers), size, size, channels), dtype=np.uint8)
    for start in range(0, len(numbers), CHUNK):
        part = values[numbers[start : start + CHUNK]][..., None]
        pixels[start : start + CHUNK] = to_uint8(bilinear(part, size, size))
    return Images(pixels, labels[numbers], tuple(str(number) for number in numbers))
