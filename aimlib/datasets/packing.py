"""Building a packed store: decode every photo, write the pixels, then the index, then the manifest."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aimlib.datasets import decoding, fast_decoding
from aimlib.datasets.decoding import DecodeError
from aimlib.datasets.fingerprint import fingerprint, split_digest
from aimlib.datasets.listing import PhotoListing, PhotoSplit, named
from aimlib.datasets.manifest import (
    FORMAT,
    INDEX,
    Manifest,
    PackedFile,
    PackedSplit,
    file_digest,
    write_checksums,
    write_manifest,
)
from aimlib.datasets.parallel import ordered
from aimlib.datasets.recipe import Pixels, Recipe
from aimlib.errors import DataError, counted
from aimlib.paths import share

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called as progress(name of the task, amount done, total amount)."""

BY_PILLOW = "by_pillow"
"""Key of the index of a store of the fast decoder: why Pillow decoded a photo, by its path."""
PENDING, REPLACED = ".building-", ".replaced-"


@dataclass(frozen=True)
class Decoded:
    """One photo.

    Attributes
    ----------
    content : SHA-256 of its bytes.
    pixels : None if it cannot be decoded.
    cause : why it cannot be decoded, or why the recipe's decoder did not decode it.
    """

    path: str
    content: bytes
    pixels: Pixels | None
    cause: str = ""


@dataclass
class Tally:
    """Running totals while photos are packed."""

    progress: Progress | None
    total: int
    done: int = 0
    content: Any = field(default_factory=hashlib.sha256)
    broken: list[str] = field(default_factory=list)
    by_pillow: dict[str, str] = field(default_factory=dict)

    def add(self, photo: Decoded) -> None:
        """Add `photo` to the totals."""
        self.done += 1
        self.content.update(photo.content)
        if photo.pixels is None:
            self.broken.append(f"{photo.path} ({photo.cause})")
        elif photo.cause:
            self.by_pillow[photo.path] = photo.cause
        if self.progress is not None:
            self.progress("packing", self.done, self.total)


def build(folder: Path, listing: PhotoListing, recipe: Recipe, progress: Progress | None) -> None:
    """Build the store `folder`, replacing an existing one; the caller holds its lock.

    All files are written into a temporary folder next to it, which is renamed when it is complete.

    Raises
    ------
    DataError: a photo is missing, cannot be decoded, or changed meanwhile, or the disk is too small.
    """
    remove_leftovers(folder)
    stamp = listing.stamp()
    _check_space(folder.parent, listing, recipe)
    temporary = folder.with_name(f"{folder.name}{PENDING}{uuid.uuid4().hex[:8]}")
    temporary.mkdir()
    share(temporary)
    try:
        _write(temporary, listing, recipe, stamp, progress)
        if listing.stamp() != stamp:
            raise DataError(f"{listing.name}: photos below {listing.root} changed while they were packed; try again")
        _put_in_place(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the remains of interrupted builds of `folder`; the caller holds its lock."""
    for mark in (PENDING, REPLACED):
        for path in folder.parent.glob(f"{folder.name}{mark}*"):
            shutil.rmtree(path)


def content_digest(listing: PhotoListing) -> str:
    """Return the hash of all photos' bytes, see `Manifest.content`."""
    content = hashlib.sha256()
    for digest in ordered(lambda path: hashlib.sha256((listing.root / path).read_bytes()).digest(), listing.paths()):
        content.update(digest)
    return content.hexdigest()


def _write(folder: Path, listing: PhotoListing, recipe: Recipe, stamp: str, progress: Progress | None) -> None:
    tally = Tally(progress, len(listing.paths()))
    index: dict[str, Any] = {}
    splits: dict[str, PackedSplit] = {}
    files: dict[str, PackedFile] = {}
    for name, split in listing.splits.items():
        path = folder / f"{name}.pixels"
        shapes, files[path.name] = _write_pixels(path, _photos(listing, split, recipe), tally)
        index[name] = {"names": split.paths, "labels": split.labels.tolist(), "shapes": shapes}
        shape = shapes if recipe.ragged else [len(shapes), recipe.size, recipe.size, 3]
        digest = split_digest(files[path.name].sha256, shape, split.labels, split.paths)
        splits[name] = PackedSplit(photos=len(split.paths), digest=digest)
    if tally.broken:
        raise DataError(
            f"{listing.name}: {len(tally.broken)} of {tally.total} photos below {listing.root} cannot be "
            f"decoded: {named(tally.broken)}; fetch them again, remove them, or exclude them: `ablate data verify "
            f"{listing.name} --fix FILE` writes a list for data.exclude"
        )
    if recipe.decoder == "fast":
        index[BY_PILLOW] = tally.by_pillow
        _say_what_pillow_decoded(listing, tally)
    files[INDEX] = _write_index(folder / INDEX, index)
    manifest = Manifest(
        format=FORMAT,
        build=uuid.uuid4().hex,
        data=listing.name,
        recipe=recipe.key(),
        root=str(listing.root),
        listing=listing.content(),
        stamp=stamp,
        content=tally.content.hexdigest(),
        classes=listing.classes,
        splits=splits,
        files=files,
        fingerprint=fingerprint(listing.classes, {name: split.digest for name, split in splits.items()}),
        decoder=_decoder(recipe),
    )
    write_checksums(folder, manifest)
    write_manifest(folder, manifest)


def _say_what_pillow_decoded(listing: PhotoListing, tally: Tally) -> None:
    if tally.by_pillow:
        log.warning(
            "%s: Pillow decoded %s of %d, which the fast decoder does not decode: %s",
            listing.name,
            counted(len(tally.by_pillow), "photo"),
            tally.total,
            named([f"{path} ({reason})" for path, reason in tally.by_pillow.items()]),
        )


def _photos(listing: PhotoListing, split: PhotoSplit, recipe: Recipe) -> Iterator[Decoded]:
    def read(path: str) -> Decoded:
        content = b""
        try:
            data = decoding.read(listing.root / path)
            content = hashlib.sha256(data).digest()
            return Decoded(path, content, *recipe.convert(data))
        except DecodeError as error:
            return Decoded(path, content, None, str(error))
        except PermissionError as error:
            return Decoded(path, content, None, f"cannot be read: {error.strerror}; allow it with `chmod u+r`")

    return ordered(read, split.paths)


def _write_pixels(path: Path, photos: Iterator[Decoded], tally: Tally) -> tuple[list[list[int]], PackedFile]:
    """Write the pixels of all photos in order; return the [height, width] of each, and the file."""
    shapes: list[list[int]] = []
    sha256, length = hashlib.sha256(), 0
    with path.open("wb") as file:  # not a memory map: a full disk would kill the process instead of raising
        for photo in photos:
            tally.add(photo)
            if photo.pixels is None:
                continue
            data = photo.pixels.tobytes()
            sha256.update(data)
            length += file.write(data)
            shapes.append(list(photo.pixels.shape[:2]))
        file.flush()
        os.fsync(file.fileno())
    share(path)
    return shapes, PackedFile(bytes=length, sha256=sha256.hexdigest())


def _write_index(path: Path, index: dict[str, Any]) -> PackedFile:
    with path.open("w", encoding="utf-8") as file:
        json.dump(index, file, separators=(",", ":"))
        file.flush()
        os.fsync(file.fileno())
    share(path)
    return PackedFile(bytes=path.stat().st_size, sha256=file_digest(path))


def _put_in_place(temporary: Path, folder: Path) -> None:
    """Rename `temporary` to `folder`; processes that have mapped the old files keep them."""
    if folder.exists():
        replaced = folder.with_name(f"{folder.name}{REPLACED}{uuid.uuid4().hex[:8]}")
        folder.rename(replaced)
        temporary.rename(folder)
        shutil.rmtree(replaced)
    else:
        temporary.rename(folder)


def _check_space(cache: Path, listing: PhotoListing, recipe: Recipe) -> None:
    photos = len(listing.paths())
    bytes_each = recipe.size * recipe.size * 3 * np.dtype(recipe.stored).itemsize
    needed = int(photos * bytes_each * (1.5 if recipe.ragged else 1.01))
    free = shutil.disk_usage(cache).free
    if free < needed:
        raise DataError(
            f"{cache}: {free / 1e9:.1f} GB free, but {photos} photos at {recipe.size} px take "
            f"{needed / 1e9:.1f} GB packed; free some space, or set data.cache or AIM_CACHE_DIR to a larger disk"
        )


def _decoder(recipe: Recipe) -> str:
    import PIL  # noqa: PLC0415
    from PIL import features  # noqa: PLC0415

    pillow = f"Pillow {PIL.__version__}, libjpeg {features.version_codec('jpg')}"
    return f"{fast_decoding.library()}; {pillow}" if recipe.decoder == "fast" else pillow
