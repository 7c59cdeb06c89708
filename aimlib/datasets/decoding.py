"""Decode image files to RGB as TensorFlow's decoder does.

* The EXIF orientation is ignored, except in TIFF files, which Pillow rotates when it reads them.
* An alpha channel is dropped, not blended: the stored colors are used.
* Gray values are repeated, palette indices are looked up, and CMYK is converted. Only the high byte of 16-bit values is
  used.
* Only the first frame of an animation is used.

The format is determined from the content, not from the name: some photos in Stanford Dogs are PNG files with names
ending in .jpg. Only `FORMATS` are opened. Pillow supports many more formats, and opens EPS files by starting another
program, Ghostscript.
"""

from __future__ import annotations

import errno
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aimlib.paths import read_file

if TYPE_CHECKING:
    from PIL import Image

DECODE_VERSION = 1
"""Part of every pack's key; must be raised whenever a change to this module changes the pixels of any file."""


FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats, by Pillow's names. A JPEG file with several photos (MPO) counts as JPEG; PPM includes PGM and PBM."""
MOST_PIXELS = 178_956_970
"""Maximum number of pixels in a photo: even a small file can declare a size that would fill the RAM."""
MOST_BYTES = 1_000_000_000
"""Maximum number of bytes in a file that is read."""
_ORIENTATION = 0x0112
"""The EXIF tag."""
_NO_PHOTO = {errno.EISDIR: "it is a folder", errno.EINVAL: "it is a pipe or a device"}
_INSTEAD = (
    (b"version https://git-lfs", "a Git LFS pointer instead of the photo; fetch the photos with `git lfs pull`"),
    (b"/annex/objects/", "a git-annex pointer instead of the photo; fetch the photos with `git annex get`"),
    (b"../", "a path instead of the photo, because links were not supported when it was copied; copy the photos again"),
    (b"<?xml", "XML or SVG instead of a photo, perhaps a server error; fetch the photo again, or convert it"),
    (b"<svg", "SVG, which is a drawing; convert it to PNG"),
    (b"<", "a web page instead of the photo, probably a server error; fetch the photo again"),
    (b"{", "JSON instead of the photo, probably a server error; fetch the photo again"),
    (b"\x1f\x8b", "a gzip file; unpack it"),
    (b"PK\x03\x04", "a zip file; unpack it"),
    (b"%PDF", "a PDF file; convert its pages to PNG"),
    (b"8BPS", "a Photoshop file; convert it to PNG"),
)
"""First bytes of files that are often found in place of a photo."""


class DecodeError(ValueError):
    """The bytes are not a complete image; the message says why."""


@dataclass(frozen=True)
class Source:
    """What an image file contained before it was decoded to RGB.

    Attributes
    ----------
    format : one of `FORMATS`.
    mode : Pillow's name for the type of a pixel: RGB, L (gray), P (palette), CMYK, RGBA, I;16, ...
    animated : whether the file has more than one frame.
    orientation : the EXIF value, 1 to 8; 1 is upright.
    """

    format: str
    mode: str
    animated: bool = False
    orientation: int = 1


def decode(content: bytes) -> Image.Image:
    """Return the image in `content`, fully decoded, in mode RGB.

    Raises
    ------
    DecodeError: the content is empty, truncated, damaged or too large, or its format is not in `FORMATS`.
    """
    return _decoded(content, described=False)[0]


def decode_with_source(content: bytes) -> tuple[Image.Image, Source]:
    """Return the image in `content` as `decode` does, and a description of what the file stored.

    Raises
    ------
    DecodeError: see `decode`.
    """
    return _decoded(content, described=True)


def _decoded(content: bytes, *, described: bool) -> tuple[Image.Image, Source]:
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 -- needed only for decoding

    if not content:
        raise DecodeError("the file is empty")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
            check_size(*opened.size)
            turned = opened.getexif().get(_ORIENTATION, 1) if described and opened.format == "TIFF" else 1
            opened.load()
            photo = _rgb(opened)
            return photo, _source(opened, turned) if described else Source(_format(opened), opened.mode)
    except DecodeError:
        raise
    except UnidentifiedImageError:
        raise DecodeError(_unknown(content)) from None
    except (
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:  # Pillow checks the size first
        found = re.search(r"\((\d+) pixels\)", str(error))
        raise DecodeError(_too_large(int(found[1])) if found else str(error)) from None
    except Exception as error:
        raise DecodeError(str(error).replace(f" {io.BytesIO.__module__}.BytesIO object", "")) from error


def read(path: Path) -> bytes:
    """Return the content of a photo's file.

    Raises
    ------
    DecodeError: the path is not a regular file, or the file has more than `MOST_BYTES` bytes.
    OSError: the file cannot be read; the error contains its path.
    """
    try:
        return read_file(path, MOST_BYTES)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise DecodeError(f"more than {MOST_BYTES:,} bytes, the limit; shrink the photo or remove it") from None
        if error.errno in _NO_PHOTO:
            raise DecodeError(f"{_NO_PHOTO[error.errno]}, not a file; remove it, or correct the list") from None
        error.filename = str(path)
        raise


def jpeg_damage(content: bytes) -> str:
    """Return what a strict decoder reports about a JPEG file that Pillow can decode; empty if it reports nothing.

    libjpeg fills damaged parts with gray, and Pillow does not report the damage. To save time, the photo is decoded at
    an eighth of its size.
    """
    import simplejpeg  # noqa: PLC0415 -- needed only for decoding

    try:
        simplejpeg.decode_jpeg(content, "GRAY", min_height=1, min_width=1)
    except ValueError as error:
        return str(error).strip()
    return ""


def _unknown(content: bytes) -> str:
    """Return the message about a file in an unknown format; the message says what the file seems to be."""
    start = content[:64].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if content[4:8] == b"ftyp":
        return "a HEIC or AVIF file, or a video; convert the photo to JPEG or PNG"
    found = next((text for mark, text in _INSTEAD if start.startswith(mark.lower())), None)
    if found is not None:
        return found
    return f"its format cannot be identified, and must be one of {', '.join(FORMATS)}; convert the photo or remove it"


def check_size(width: int, height: int) -> None:
    """Refuse an image with more than `MOST_PIXELS` pixels.

    Raises
    ------
    DecodeError: the image has more pixels.
    """
    if width * height > MOST_PIXELS:
        raise DecodeError(_too_large(width * height))


def _too_large(pixels: int) -> str:
    return f"{pixels:,} pixels, but the limit is {MOST_PIXELS:,}; shrink the photo or remove it"


def _source(image: Image.Image, turned: int) -> Source:
    """Return what the file of a loaded image stores.

    Parameters
    ----------
    turned : orientation of a TIFF file before it was loaded, because loading rotates the image; 1 for other formats.
    """
    kind = _format(image)
    animated = kind in ("GIF", "PNG", "WEBP", "TIFF") and getattr(image, "n_frames", 1) > 1
    try:
        orientation = image.getexif().get(_ORIENTATION, turned) if "exif" in image.info else turned
    except Exception:  # noqa: BLE001 -- the metadata may contain anything, and no pixel depends on it
        orientation = 1
    return Source(kind, image.mode, animated, orientation if orientation in range(2, 9) else 1)


def _format(image: Image.Image) -> str:
    return "JPEG" if image.format == "MPO" else str(image.format)


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
