"""Inspect one photo: whether it can be decoded, what its file stores, and hashes of its pixels."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from aimlib.datasets import decoding
from aimlib.datasets.decoding import DecodeError, Source, decode_with_source, jpeg_damage
from aimlib.datasets.recipe import Recipe
from aimlib.datasets.verification.findings import Kind

LUMA_SIDE = 64
"""Height and width, in pixels, of the gray image from which perceptual hashes are computed."""
_FLAT = 2.0
"""Standard deviation of the small gray image, with values from 0 to 255, below which a photo counts as blank."""

Hash = Callable[[Image.Image], npt.NDArray[np.uint64]]
"""A function that returns the words of a perceptual hash, given a gray image with sides of `LUMA_SIDE`."""


@dataclass(frozen=True)
class Photo:
    """The result of inspecting one file.

    Attributes
    ----------
    path : path below the root.
    problem, cause : why the photo has no pixels: ``empty``, ``undecodable``, ``unreadable`` or ``missing``, and the
        cause in words.
    digest : SHA-256 of the size and RGB pixels.
    width, height : size in pixels.
    source : what the file stores.
    blank : whether the photo has only one color.
    damage : what a strict decoder reports about a JPEG file that can nevertheless be decoded; empty if it reports
        nothing.
    content : SHA-256 of the file's bytes; empty if the file cannot be read.
    hash : [words], uint64; None if perceptual hashes are not requested, or the photo is blank.
    """

    path: str
    problem: Kind | None = None
    cause: str = ""
    digest: bytes = b""
    width: int = 0
    height: int = 0
    source: Source | None = None
    blank: bool = False
    damage: str = ""
    content: bytes = b""
    hash: npt.NDArray[np.uint64] | None = None


def inspect(root: Path, path: str, perceptual: Hash | None, recipe: Recipe | None = None) -> Photo:
    """Read, decode and hash one photo; a photo that `recipe` (if given) cannot convert is undecodable."""
    file = root / path
    try:
        content = decoding.read(file)
        if not content:
            return Photo(path, "empty", "no bytes")
        photo, source = decode_with_source(content)
        if recipe is not None:
            recipe.refuse_long(photo.height, photo.width)
    except DecodeError as error:
        return Photo(path, "undecodable", str(error))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            return Photo(path, "missing")
        return Photo(path, "unreadable", f"cannot be read: {error.strerror or error}; allow reading (`chmod u+r FILE`)")
    digest = hashlib.sha256(f"{photo.size}".encode() + photo.tobytes()).digest()
    small = _luma(photo)
    blank = bool(np.asarray(small).std() < _FLAT)
    found = perceptual(small) if perceptual is not None and not blank else None
    damage = jpeg_damage(content) if source.format == "JPEG" else ""
    read = hashlib.sha256(content).digest()
    return Photo(path, None, "", digest, photo.width, photo.height, source, blank, damage, read, found)


def _luma(photo: Image.Image) -> Image.Image:
    """Return the small gray image of a photo; the photo's aspect ratio is not kept."""
    size = (LUMA_SIDE, LUMA_SIDE)
    return photo.convert("L").resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
