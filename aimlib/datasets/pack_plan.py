"""Estimate the time and space that packing a photo data set will take, without writing anything."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from aimlib.datasets.listing import PhotoListing
from aimlib.datasets.pack_locks import Holder, holder_of
from aimlib.datasets.packed import find_pack, pack_folder
from aimlib.datasets.packing import decoded, pixel_bytes, resumable
from aimlib.datasets.parallel import cores
from aimlib.datasets.photos import PhotoPlugin
from aimlib.datasets.recipe import Recipe
from aimlib.seeding import seed_for

SAMPLE = 64
"""Number of photos that are decoded for the estimate, or four photos per thread if that is more."""
_INDEX_BYTES = 24
"""Number of bytes that a photo takes up in the index, in addition to its name."""


@dataclass(frozen=True)
class PackPlan:
    """The estimated time and space that packing a photo data set will take.

    Attributes
    ----------
    name : the data set's name.
    size : height and width of a packed photo, in pixels.
    splits : number of photos in each split.
    folder : where the pack is, or will be.
    state : ``packed``: the pack exists and is up to date. ``unfinished``: an interrupted pack will be continued.
        ``outdated``: a pack exists, but the photos have changed since; the old pack remains until a new one replaces
        it. ``missing``: there is no pack.
    bytes : approximate size of the entire pack.
    bytes_left : approximate number of bytes still to be written.
    bytes_free : number of free bytes on the disk with `folder`.
    photos_left : number of photos still to be decoded.
    seconds : estimated time to decode and resize the remaining photos, based on `sampled`; 0 if none are left.
    sampled : number of photos decoded for the estimate.
    undecodable : why sampled photos could not be decoded, by path.
    threads : number of threads that decode in parallel, in the sample and when the photos are packed.
    holder : the process that is packing these photos now; None if there is none.
    """

    name: str
    size: int
    splits: dict[str, int]
    folder: Path
    state: Literal["packed", "unfinished", "outdated", "missing"]
    bytes: int
    bytes_left: int
    bytes_free: int
    photos_left: int
    seconds: float
    sampled: int
    undecodable: dict[str, str]
    threads: int
    holder: Holder | None

    @property
    def photos(self) -> int:
        """Number of photos in all splits."""
        return sum(self.splits.values())


def plan_pack(plugin: PhotoPlugin) -> PackPlan:
    """Return an estimate of the time and space that `plugin.pack` will take.

    The photos are listed and compared with an existing pack, and some of them are decoded: `SAMPLE` of the remaining
    photos, evenly spread and the same in every call.

    Raises
    ------
    DataError: the data is missing or does not match the configuration.
    """
    listing, recipe, cache = plugin.checked(), plugin.recipe(), plugin.config.cache
    folder, stamp = pack_folder(listing, recipe, cache), listing.stamp()
    is_packed = find_pack(listing, recipe, cache) is not None
    paths = listing.paths()
    done = len(paths) if is_packed else resumable(folder, listing, recipe, stamp)
    left = paths[done:]
    sampled, undecodable, seconds = _sampled(listing, left, recipe)
    holder = holder_of(folder)
    return PackPlan(
        name=listing.name,
        size=recipe.size,
        splits={name: len(split.paths) for name, split in listing.splits.items()},
        folder=folder,
        state="packed" if is_packed else "unfinished" if done else "outdated" if folder.exists() else "missing",
        bytes=_bytes(paths, recipe),
        bytes_left=_bytes(left, recipe),
        bytes_free=shutil.disk_usage(next(place for place in folder.absolute().parents if place.is_dir())).free,
        photos_left=len(left),
        seconds=seconds / sampled * len(left) if sampled else 0.0,
        sampled=sampled,
        undecodable=undecodable,
        threads=cores(),
        holder=None if holder is None or holder.is_gone() else holder,
    )


def _sampled(listing: PhotoListing, paths: Sequence[str], recipe: Recipe) -> tuple[int, dict[str, str], float]:
    """Decode a sample of a list of photos: one photo from each of several equal parts of the list.

    Returns
    -------
    The number of decoded photos, the reasons why some could not be decoded, by path, and the time in seconds.
    """
    count = min(len(paths), max(SAMPLE, 4 * cores()))
    edges = np.linspace(0, len(paths), count + 1).astype(int)
    draw = np.random.default_rng(seed_for(0, "sample of photos to pack"))
    chosen = [paths[draw.integers(first, end)] for first, end in pairwise(edges)]
    for _ in decoded(listing, chosen[:1], recipe):  # imports the decoder before time is measured
        pass
    began = time.perf_counter()
    broken = {photo.path: photo.cause for photo in decoded(listing, chosen, recipe) if photo.pixels is None}
    return count, broken, time.perf_counter() - began


def _bytes(paths: Sequence[str], recipe: Recipe) -> int:
    return pixel_bytes(len(paths), recipe) + sum(len(path) + _INDEX_BYTES for path in paths)
