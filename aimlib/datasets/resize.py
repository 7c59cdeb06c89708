"""Bilinear resizing of arrays without antialiasing, as TensorFlow's `tf.image.resize` does by default.

Samples are taken at half-pixel centers: output pixel i is at position (i + 0.5) · (in / out) - 0.5 in the input,
clamped at the border (TensorFlow 2, kernel `ResizeBilinear` with `half_pixel_centers`). A photo that is reduced in this
way is sampled, not averaged, so the result differs visibly from that of Pillow and torchvision.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def bilinear(pixels: npt.NDArray[np.uint8] | Floats, height: int, width: int) -> Floats:
    """Return `pixels` resized to `height` × `width`.

    Parameters
    ----------
    pixels : [..., rows, columns, channels].
    height, width : size of the result, in pixels.

    Returns
    -------
    [..., height, width, channels], float32, in the range of the input, not rounded. The order of the float32 operations
    is that of TensorFlow: first along the columns, then along the rows.
    """
    channels = pixels.shape[-1]
    top, bottom, down = _weights(height, pixels.shape[-3])
    left, right, across = _weights(width, pixels.shape[-2])
    used = np.unique(np.concatenate([top, bottom]))
    rows = np.take(pixels, used, axis=-3).astype(np.float32)
    rows = rows.reshape(*pixels.shape[:-3], len(used), -1)  # indexing is faster along one merged axis
    start = np.take(rows, _spread(left, channels), axis=-1)
    end = np.take(rows, _spread(right, channels), axis=-1)
    lines = _between(start, end, np.repeat(across, channels))
    upper = np.take(lines, np.searchsorted(used, top), axis=-2)
    lower = np.take(lines, np.searchsorted(used, bottom), axis=-2)
    return _between(upper, lower, down[:, None]).reshape(*pixels.shape[:-3], height, width, channels)


def to_uint8(values: Floats) -> npt.NDArray[np.uint8]:
    """Return `values` from 0 to 255, rounded to the nearest integer (halves to the nearest even integer)."""
    return np.rint(values).astype(np.uint8)


def to_fine(values: Floats) -> npt.NDArray[np.uint16]:
    """Return `values` from 0 to 255, rounded to steps of 1/256 (`aimlib.training.pixel_format.FINE`)."""
    fine: npt.NDArray[np.uint16] = np.rint(values * np.float32(256)).astype(np.uint16)
    return fine


def _weights(out: int, given: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Floats]:
    """Return, for each of `out` positions, two neighbors among `given` positions and the second neighbor's weight."""
    scale = np.float32(given) / np.float32(out)
    position = (np.arange(out, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    floor = np.floor(position)
    first = np.maximum(floor, 0).astype(np.intp)
    second = np.minimum(np.ceil(position), given - 1).astype(np.intp)
    return first, second, position - floor


def _spread(index: npt.NDArray[np.intp], channels: int) -> npt.NDArray[np.intp]:
    """Return the positions of all values of the pixels at `index`, where each pixel has `channels` values."""
    return (index[:, None] * channels + np.arange(channels)).ravel()


def _between(start: Floats, end: Floats, share: Floats) -> Floats:
    """Return ``start + (end - start) * share``, stored in the array `end`."""
    end -= start
    end *= share
    end += start
    return end
