"""Packed stores: photos are decoded once into one pixel file per split, which every process maps read-only.

The first process that needs a store builds it in a cache folder, from a listing of photos and a recipe. Other processes
wait for the lock and then map the store. A store is identified by its data set, the photos' folder, the listing's
variant and the recipe. It is used only if the lists and photos are unchanged and the store's files have their full
length; otherwise, it is rebuilt.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aimlib.datasets.base import DataSet, Images
from aimlib.datasets.fingerprint import fingerprint
from aimlib.datasets.listing import PhotoListing
from aimlib.datasets.locations import cache_folder
from aimlib.datasets.manifest import INDEX, MANIFEST, Manifest, damaged_files, read_manifest, write_manifest
from aimlib.datasets.mapped_pixels import mapped
from aimlib.datasets.pack_locks import held
from aimlib.datasets.packing import BY_PILLOW, build, content_digest, unfinished_folder
from aimlib.datasets.pixel_files import Progress
from aimlib.datasets.ragged import RaggedDataSet, RaggedImages
from aimlib.datasets.recipe import Pixels, Recipe, stored_type
from aimlib.errors import DataError
from aimlib.paths import read_file, resolved

__all__ = [
    "Pack",
    "Progress",
    "RaggedDataSet",
    "RaggedImages",
    "find_pack",
    "folder_of",
    "open_known",
    "pack",
    "pack_folder",
    "pack_once",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pack:
    """A finished store.

    Attributes
    ----------
    folder : the store's folder.
    manifest : the store's description.
    index : per split, the names, labels and shapes ([height, width]) of the photos.
    pixels : per split, the memory-mapped pixel values, read-only: uint8, or uint16 if the recipe's `pixels` is
        ``fine``.
    """

    folder: Path
    manifest: Manifest
    index: dict[str, Any]
    pixels: dict[str, Pixels]

    def data_set(self) -> DataSet:
        """Return the data, whose images all have the same shape.

        Raises
        ------
        DataError: the store is ragged.
        """
        if self.manifest.recipe["resize"] == "shorter_side":
            raise DataError(f"{self.folder}: its images differ in shape; read it with ragged()")
        train, test = (self._images(split) for split in ("train", "test"))
        validation = self._images("validation") if "validation" in self.index else None
        return DataSet(train, test, self.manifest.classes, self.manifest.fingerprint, validation)

    def ragged(self) -> RaggedDataSet:
        """Return the data as images that may differ in shape."""
        train, test = (self._ragged(split) for split in ("train", "test"))
        return RaggedDataSet(train, test, self.manifest.classes, self.manifest.fingerprint)

    def by_pillow(self) -> dict[str, str]:
        """Return, by path, why photos were decoded by Pillow instead of the fast decoder; empty if none were."""
        return dict(self.index.get(BY_PILLOW, {}))

    def damages(self) -> list[str]:
        """Read all files, and return the differences from what was packed."""
        return self.manifest.damages(self.folder)

    def _images(self, split: str) -> Images:
        size = self.manifest.recipe["size"]
        labels = np.array(self.index[split]["labels"], dtype=np.int64)
        return Images(self.pixels[split].reshape(-1, size, size, 3), labels, tuple(self.index[split]["names"]))

    def _ragged(self, split: str) -> RaggedImages:
        shapes = np.array(self.index[split]["shapes"], dtype=np.int64).reshape(-1, 2)
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(shapes.prod(axis=1) * 3)])
        labels = np.array(self.index[split]["labels"], dtype=np.int64)
        return RaggedImages(self.pixels[split], offsets, shapes, labels, tuple(self.index[split]["names"]))


def pack(listing: PhotoListing, recipe: Recipe, cache: str | None = None, progress: Progress | None = None) -> Pack:
    """Return the store for `listing` and `recipe`; build it first if it is missing, stale or damaged.

    Parameters
    ----------
    listing : the photos; all must exist.
    recipe : how the photos are resized.
    cache : folder with the stores; None means ``$AIM_CACHE_DIR``, else ``~/.cache/aim-ablations/packed``.
    progress : called as progress("packing", photos done, total photos), only in the process that builds the store.

    Raises
    ------
    DataError: photos are missing or undecodable, or the cache folder cannot be used.
    """
    found = find_pack(listing, recipe, cache)
    if found is not None:
        return found
    folder = pack_folder(listing, recipe, cache)
    with _told(folder, listing), held(folder):
        return _made(folder, listing, recipe, progress)


def pack_once(
    folder: Path, known: str, listing: Callable[[], PhotoListing], recipe: Recipe, progress: Progress | None = None
) -> Pack:
    """Return the store in `folder` with the known fingerprint; if there is none, list and pack the photos.

    If several processes call this function, one of them lists and packs the photos; the others wait and do not read
    photos.

    Parameters
    ----------
    folder : folder of the store for the photos and the recipe.
    known : expected fingerprint. A store with a different fingerprint is also returned if it matches the existing
        photos.
    listing : lists the photos; called only by the process that packs.

    Raises
    ------
    DataError: see `pack`.
    """
    if (found := open_known(folder, known)) is not None:
        return found
    with ExitStack() as stack:
        try:
            stack.enter_context(held(folder))
        except OSError:  # only other users may write to the cache
            return pack(listing(), recipe, str(folder.parent), progress)
        if (found := open_known(folder, known)) is not None:
            return found
        photos = listing()
        with _told(folder, photos):
            return _made(folder, photos, recipe, progress)


def find_pack(listing: PhotoListing, recipe: Recipe, cache: str | None = None) -> Pack | None:
    """Return the store for `listing` and `recipe` if it exists and is complete and up to date; do not build it.

    Raises
    ------
    DataError: photos are missing.
    """
    return _open(pack_folder(listing, recipe, cache), recipe, listing.content(), listing.first_stamp)


@contextmanager
def _told(folder: Path, listing: PhotoListing) -> Iterator[None]:
    """If a photo cannot be read or a store cannot be written, raise an error that also says what to do."""
    try:
        yield
    except OSError as error:
        kept = unfinished_folder(folder)
        stays = (
            f"; {kept} contains what was packed so far, and the next attempt continues from it" if kept.is_dir() else ""
        )
        if error.filename and Path(str(error.filename)).is_relative_to(listing.root):
            raise DataError(
                f"{listing.name}: {error.filename}: cannot be read: {error.strerror}; check the disk or its "
                f"connection, and try again{stays}"
            ) from error
        raise DataError(
            f"{folder.parent}: cannot pack {listing.name} there: {error}; free some space or make it writable, or "
            f"set data.cache or AIM_CACHE_DIR to another folder{stays}"
        ) from error


def _made(folder: Path, listing: PhotoListing, recipe: Recipe, progress: Progress | None) -> Pack:
    """Return the store; build it unless another process has done so in the meantime. The caller holds the lock."""
    content, stamp = listing.content(), listing.stamp()
    found = _open(folder, recipe, content, stamp) or _restamped(folder, listing, recipe, stamp)
    if found is not None:
        return found
    log.info("packing %d photos from %s into %s", len(listing.paths()), listing.name, folder)
    build(folder, listing, recipe, stamp, progress)
    built = _open(folder, recipe, content, stamp)
    if built is None:
        raise DataError(f"{folder}: another program changed it right after it was built; try again")
    return built


def pack_folder(listing: PhotoListing, recipe: Recipe, cache: str | None = None) -> Path:
    """Return the folder of the store for `listing` and `recipe`, whether or not it exists."""
    return folder_of(listing.name, listing.root, listing.variant, recipe, cache)


def folder_of(data: str, root: Path, variant: str, recipe: Recipe, cache: str | None = None) -> Path:
    """Return the folder of a store from only the name, root and variant of its `PhotoListing`."""
    key = {"data": data, "root": str(resolved(root)), **recipe.key(), "variant": variant}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]
    how = "".join(
        f"-{word}"
        for word, used in (
            ("sampled", not recipe.antialias),
            ("fast", recipe.decoder == "fast"),
            ("fine", recipe.pixels == "fine"),
        )
        if used
    )
    name = re.sub(r"[^\w.-]", "_", f"{data}-{recipe.resize}-{recipe.size}{how}-{digest}")
    return cache_folder(cache) / name


def open_known(folder: Path, known: str) -> Pack | None:
    """Return the store in `folder` if it is complete and has the known fingerprint, without opening any photos.

    The photos were compared with the store when the study was planned. If 32 workers each compared 20,580 photos again,
    a file server would receive 660,000 requests.
    """
    return _open_if(folder, lambda manifest: manifest.fingerprint == known)


def _open(folder: Path, recipe: Recipe, content: str, stamp: str | None) -> Pack | None:
    """Return the store in `folder` if it is complete and was built from the listed photos with `recipe`.

    The folder's name does not prove this, because the folder may be a copy of a different store. If `stamp` is None,
    modification times are not compared.
    """
    made_from = (recipe.key(), content)
    return _open_if(folder, lambda it: (it.recipe, it.listing) == made_from and stamp in (None, it.stamp))


def _open_if(folder: Path, wanted: Callable[[Manifest], bool]) -> Pack | None:
    manifest = read_manifest(folder)
    if manifest is None or not wanted(manifest):
        return None
    if not manifest.whole(folder):
        log.warning("%s: files are missing or have the wrong length; packing it again", folder)
        return None
    try:
        damaged = damaged_files(folder, manifest)
        if damaged or not _describes_itself(manifest):
            log.warning("%s: %s is damaged; packing it again", folder, ", ".join(damaged) or MANIFEST)
            return None
        index = _read_index(folder, manifest)
        stored = stored_type(manifest.recipe.get("pixels", "whole"))
        pixels = {split: mapped(folder / f"{split}.pixels", stored) for split in manifest.splits}
    except (OSError, ValueError, RecursionError):  # for example, another process replaced the store meanwhile
        return None
    again = read_manifest(folder)
    if index is None or again is None or again.build != manifest.build:
        return None
    return Pack(folder, manifest, index, pixels)


def _describes_itself(manifest: Manifest) -> bool:
    """Return whether the fingerprint in a manifest matches the manifest's classes and splits."""
    digests = {name: split.digest for name, split in manifest.splits.items()}
    return manifest.fingerprint == fingerprint(manifest.classes, digests)


def _restamped(folder: Path, listing: PhotoListing, recipe: Recipe, stamp: str) -> Pack | None:
    """Return the store in `folder` if the photos have new modification times but the same bytes as before."""
    content = listing.content()
    found = _open(folder, recipe, content, None)
    if found is None or found.manifest.content != content_digest(listing):
        return None
    write_manifest(folder, found.manifest.model_copy(update={"stamp": stamp}))
    return _open(folder, recipe, content, stamp)


def _read_index(folder: Path, manifest: Manifest) -> dict[str, Any] | None:
    data = read_file(folder / INDEX)
    if hashlib.sha256(data).hexdigest() != manifest.files[INDEX].sha256:
        return None
    index: dict[str, Any] = json.loads(data)
    return index
