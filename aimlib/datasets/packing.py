"""Build a packed store: decode every photo, and write the pixels, then the index, then the manifest."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from aimlib.datasets import decoding, fast_decoding
from aimlib.datasets.decoding import DecodeError
from aimlib.datasets.fingerprint import fingerprint, split_digest
from aimlib.datasets.listing import PhotoListing, named
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
from aimlib.datasets.pack_journal import JOURNAL, Block, Journal
from aimlib.datasets.parallel import ordered
from aimlib.datasets.pixel_files import Decoded, Progress, SplitFile, Tally
from aimlib.datasets.recipe import Recipe
from aimlib.errors import DataError, counted
from aimlib.paths import share

log = logging.getLogger(__name__)

BY_PILLOW = "by_pillow"
"""Key in the index of a store built with the fast decoder; its value says why Pillow decoded a photo, by path."""
PENDING, REPLACED = ".building-", ".replaced-"
UNFINISHED = "unfinished"
"""Suffix of the folder name of a build that can be continued after an interruption."""


def build(folder: Path, listing: PhotoListing, recipe: Recipe, stamp: str, progress: Progress | None) -> None:
    """Build the store `folder`, replacing an existing store; the caller holds the lock.

    All files are written into a temporary folder next to `folder`, which becomes `folder` when it is complete. An
    interrupted build leaves the temporary folder behind, and the next build with the same photos and recipe continues
    after the last intact block.

    Parameters
    ----------
    stamp : the listing's current stamp.

    Raises
    ------
    DataError: a photo is missing, cannot be decoded, or changed during the build; or the disk has too little free
        space.
    """
    remove_leftovers(folder)
    unfinished = unfinished_folder(folder)
    journal = journal_of(folder, listing, recipe, stamp)
    goes_on = journal.is_of_this_build()
    if not goes_on:
        _discard(unfinished, listing)
    _check_space(folder.parent, listing, recipe, unfinished)
    if not goes_on:
        unfinished.mkdir()
        share(unfinished)
        journal.begin()
    try:
        _write(unfinished, listing, recipe, stamp, journal, progress)
        _refuse_changed(listing, stamp)
    except DataError:  # the photos are unusable, and so is everything that was written
        with suppress(OSError):
            _remove(unfinished)
        raise
    _put_in_place(unfinished, folder)


def unfinished_folder(folder: Path) -> Path:
    """Return the folder in which the store `folder` is built; it remains after an interruption."""
    return folder.with_name(f"{folder.name}{PENDING}{UNFINISHED}")


def journal_of(folder: Path, listing: PhotoListing, recipe: Recipe, stamp: str) -> Journal:
    """Return the journal for building the store `folder` from these photos, whether or not its file exists."""
    given = {"format": FORMAT, "recipe": recipe.key(), "decoder": _decoder(recipe)}
    return Journal(unfinished_folder(folder), {**given, "listing": listing.content(), "stamp": stamp})


def resumable(folder: Path, listing: PhotoListing, recipe: Recipe, stamp: str) -> int:
    """Return how many photos an interrupted build of the store `folder` has packed; no pixels are read."""
    journal, unfinished = journal_of(folder, listing, recipe, stamp), unfinished_folder(folder)
    if not journal.is_of_this_build():
        return 0
    photos, left = 0, {name: _length(unfinished / f"{name}.pixels") for name in listing.splits}
    for block, _ in journal.blocks():
        left[block.split] -= block.bytes
        if left[block.split] < 0:
            break
        photos += block.photos
    return photos


def remove_leftovers(folder: Path) -> None:
    """Remove the leftovers of builds of `folder` that cannot be continued; the caller holds the store's lock."""
    for mark in (PENDING, REPLACED):
        for path in folder.parent.glob(f"{folder.name}{mark}*"):
            if path != unfinished_folder(folder):
                _remove(path)


def _remove(path: Path) -> None:
    """Remove the folder, file or link at a path; the target of a link is never removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def content_digest(listing: PhotoListing) -> str:
    """Return the hash of all photos' bytes; see `Manifest.content`."""
    content = hashlib.sha256()
    for digest in ordered(lambda path: hashlib.sha256(decoding.read(listing.root / path)).digest(), listing.paths()):
        content.update(digest)
    return content.hexdigest()


def _discard(unfinished: Path, listing: PhotoListing) -> None:
    if os.path.lexists(unfinished):
        log.warning(
            "%s: starting again, because the interrupted pack contains different photos or is unreadable", listing.name
        )
        _remove(unfinished)


def _resumed(folder: Path, listing: PhotoListing, recipe: Recipe, journal: Journal, tally: Tally) -> list[SplitFile]:
    """Return the files of all splits, each positioned after its last intact block; remove everything else."""
    files = {name: SplitFile(folder / f"{name}.pixels") for name in listing.splits}
    for file in files.values():
        if file.path.is_symlink() or not file.path.is_file():
            _remove(file.path)
    for block, place in journal.blocks():
        if _is_mended(listing, recipe, block) or not files[block.split].take(block):
            break
        journal.keep_until(place)
        tally.add_block(block)
    for path in folder.iterdir():
        if path not in (journal.path, *(file.path for file in files.values())):
            _remove(path)
    if tally.done:
        log.warning(
            "%s: continuing an interrupted pack: %s of %s were already packed",
            listing.name,
            f"{tally.done:,}",
            counted(tally.total, "photo"),
        )
    return list(files.values())


def _is_mended(listing: PhotoListing, recipe: Recipe, block: Block) -> bool:
    """Return whether a photo that was broken when the block was packed can now be decoded."""
    return any(photo.pixels is not None for photo in decoded(listing, list(block.broken), recipe))


def _write(
    folder: Path, listing: PhotoListing, recipe: Recipe, stamp: str, journal: Journal, progress: Progress | None
) -> None:
    tally = Tally(progress, len(listing.paths()))
    index: dict[str, Any] = {}
    splits: dict[str, PackedSplit] = {}
    files: dict[str, PackedFile] = {}
    resumed = _resumed(folder, listing, recipe, journal, tally)
    for (name, split), file in zip(listing.splits.items(), resumed, strict=True):
        photos = decoded(listing, split.paths[file.photos :], recipe)
        written = files[file.path.name] = file.write(photos, tally, journal)
        shapes = file.shapes_of_photos()
        index[name] = {"names": split.paths, "labels": split.labels.tolist(), "shapes": shapes}
        shape = shapes if recipe.ragged else [len(shapes), recipe.size, recipe.size, 3]
        digest = split_digest(written.sha256, shape, split.labels, split.paths)
        splits[name] = PackedSplit(photos=len(split.paths), digest=digest)
    if tally.broken:
        raise DataError(_broken_message(listing, tally))
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
    _refuse_overwritten(folder, resumed, write_checksums(folder, manifest))
    write_manifest(folder, manifest)


def _refuse_changed(listing: PhotoListing, stamp: str) -> None:
    if listing.stamp() != stamp:
        raise DataError(f"{listing.name}: photos below {listing.root} changed while they were being packed; try again")


def _refuse_overwritten(folder: Path, files: Sequence[SplitFile], found: Mapping[str, str]) -> None:
    """Refuse files that no longer contain what this process wrote to them."""
    if wrong := [file.path.name for file in files if found[file.path.name] != file.checksum()]:
        raise DataError(
            f"{folder}: {', '.join(wrong)} was overwritten while it was being packed, or the disk is damaged; if "
            f"several "
            f"machines share this cache, its file system may not lock files across machines: prepare the data on "
            f"one of them first, or set AIM_CACHE_DIR to a separate cache on every machine"
        )


def _broken_message(listing: PhotoListing, tally: Tally) -> str:
    broken = [f"{path} ({cause})" for path, cause in tally.broken.items()]
    return (
        f"{listing.name}: {len(broken)} of {tally.total} photos below {listing.root} cannot be decoded: "
        f"{named(broken)}; fetch them again, remove them, or exclude them: `ablate data verify {listing.name} --fix "
        f"FILE` writes a list for data.exclude"
    )


def _say_what_pillow_decoded(listing: PhotoListing, tally: Tally) -> None:
    if tally.by_pillow:
        log.warning(
            "%s: Pillow decoded %s of %d, which the fast decoder cannot decode: %s",
            listing.name,
            counted(len(tally.by_pillow), "photo"),
            tally.total,
            named([f"{path} ({reason})" for path, reason in tally.by_pillow.items()]),
        )


def decoded(listing: PhotoListing, paths: Sequence[str], recipe: Recipe) -> Iterator[Decoded]:
    """Yield photos in order; one thread per available core reads and converts them."""

    def read(path: str) -> Decoded:
        content = b""
        try:
            data = decoding.read(listing.root / path)
            content = hashlib.sha256(data).digest()
            return Decoded(path, content, *recipe.convert(data))
        except DecodeError as error:
            return Decoded(path, content, None, str(error))
        except PermissionError as error:
            return Decoded(path, content, None, f"cannot be read: {error.strerror}; allow reading with `chmod u+r`")

    return ordered(read, paths)


def _write_index(path: Path, index: dict[str, Any]) -> PackedFile:
    with path.open("w", encoding="utf-8") as file:
        json.dump(index, file, separators=(",", ":"))
        file.flush()
        os.fsync(file.fileno())
    share(path)
    return PackedFile(bytes=path.stat().st_size, sha256=file_digest(path))


def _put_in_place(temporary: Path, folder: Path) -> None:
    """Rename `temporary` to `folder`; processes that have mapped the old files can continue to use them."""
    if os.path.lexists(folder):
        replaced = folder.with_name(f"{folder.name}{REPLACED}{uuid.uuid4().hex[:8]}")
        folder.rename(replaced)
        temporary.rename(folder)
        _remove(replaced)
    else:
        temporary.rename(folder)
    _forget(folder / JOURNAL)


def _forget(journal: Path) -> None:
    journal.unlink(missing_ok=True)


def pixel_bytes(photos: int, recipe: Recipe) -> int:
    """Return the size in bytes of the pixels of `photos` packed photos; an estimate if photos differ in shape."""
    each = recipe.size * recipe.size * 3 * np.dtype(recipe.stored).itemsize
    return int(photos * each * (1.5 if recipe.ragged else 1))


def _check_space(cache: Path, listing: PhotoListing, recipe: Recipe, unfinished: Path) -> None:
    """Raise DataError if the disk has too little space for the pixels that have not been packed yet."""
    photos = len(listing.paths())
    there = sum(_length(unfinished / f"{name}.pixels") for name in listing.splits)
    needed = int(pixel_bytes(photos, recipe) * 1.01) - there
    free = shutil.disk_usage(cache).free
    if free < needed:
        raise DataError(
            f"{cache}: {free / 1e9:.1f} GB free, but {photos} photos at {recipe.size} px take up "
            f"{needed / 1e9:.1f} GB when packed; free some space, or set data.cache or AIM_CACHE_DIR to a larger disk"
        )


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _decoder(recipe: Recipe) -> str:
    import PIL  # noqa: PLC0415
    from PIL import features  # noqa: PLC0415

    pillow = f"Pillow {PIL.__version__}, libjpeg {features.version_codec('jpg')}"
    return f"{fast_decoding.library()}; {pillow}" if recipe.decoder == "fast" else pillow
