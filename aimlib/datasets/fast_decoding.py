"""Decode JPEG files with the fast DCT, as TensorFlow's `decode_jpeg` does by default.

Two JPEG decoders may return values that differ in the last bits. Pillow uses libjpeg-turbo's accurate integer DCT;
TensorFlow uses the fast DCT (``dct_method=INTEGER_FAST``) and smooth color upsampling. Two thirds of a photo's values
differ, on average by 1 out of 255. `simplejpeg` contains libjpeg-turbo and computes the same values as TensorFlow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from aimlib.datasets.decoding import check_size, decode

_COLOURS = ("RGB", "YCbCr", "Gray")
"""Color spaces whose conversion to RGB is defined; libraries disagree about CMYK files."""


def decode_fast(content: bytes) -> tuple[npt.NDArray[np.uint8], str]:
    """Return the image in `content` as [height, width, 3], and why Pillow decoded it (empty if Pillow did not).

    Pillow decodes files that are not JPEG, are in CMYK, or are damaged.

    Raises
    ------
    DecodeError: see `aimlib.datasets.decoding.decode`.
    """
    import simplejpeg  # noqa: PLC0415 -- needed only for decoding

    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
        check_size(width, height)
        if colours in _COLOURS:
            pixels = simplejpeg.decode_jpeg(content, "RGB", fastdct=True, fastupsample=False)
            return np.asarray(pixels), ""
        reason = f"its colors are {colours}"
    except ValueError as error:
        reason = _reason(content, error)
    return np.asarray(decode(content)), reason


def library() -> str:
    """Return the name and version of the decoder."""
    import simplejpeg  # noqa: PLC0415

    return f"simplejpeg {simplejpeg.__version__}"


def _reason(content: bytes, error: Any) -> str:
    return str(error).strip() if content.startswith(b"\xff\xd8") else "it is not a JPEG"
