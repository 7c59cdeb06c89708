"""Decoding image files to RGB as TensorFlow's decoder does.

* The EXIF orientation is ignored.
* An alpha channel is dropped, not blended: the stored colours are used.
* Grey is repeated, palettes are looked up, and CMYK is converted. The high byte of 16-bit values is used.
* The first frame of an animation is used.

The format is determined from the content, not from the name: some photos of Stanford Dogs are PNG files named .jpg.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

DECODE_VERSION = 1
"""Part of every pack's key; must be raised when the same file decodes to different pixels than before."""


class DecodeError(ValueError):
    """Bytes that are not a complete image; the message says why."""


def decode(content: bytes) -> Image.Image:
    """Return the image in `content`, fully decoded, in mode RGB.

    Raises
    ------
    DecodeError: the content is empty, truncated, damaged, absurdly large, or of an unknown format.
    """
    from PIL import Image  # noqa: PLC0415 -- needed only for decoding

    if not content:
        raise DecodeError("the file is empty")
    try:
        with Image.open(io.BytesIO(content)) as opened:
            opened.load()
            return _rgb(opened)
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        raise DecodeError(str(error).replace(f" {io.BytesIO.__module__}.BytesIO object", "")) from error


def _rgb(image: Image.Image) -> Image.Image:
    from PIL import Image  # noqa: PLC0415

    if image.mode == "RGB":
        return image.copy()
    if image.mode.startswith("I"):
        high = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255)
        return Image.fromarray(high.astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("an image of floating-point values has no defined range")
    return image.convert("RGB")
