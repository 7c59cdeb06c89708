"""The common base of data sets of photo files, which are packed before use."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from aimlib.component import ComponentConfig, local
from aimlib.datasets.base import DataSet, DatasetPlugin, ImageShape
from aimlib.datasets.exclusions import exclude, read_exclusions
from aimlib.datasets.listing import PhotoListing, check_listing
from aimlib.datasets.locations import cache_folder, without_comparing
from aimlib.datasets.packed import Pack, Progress, folder_of, pack, pack_once
from aimlib.datasets.photo_tree import Oddity
from aimlib.datasets.recipe import Decoder, Kept, Pixels, Recipe
from aimlib.errors import DataError

_NOT_OF_LISTING = {"size", "resize", "antialias", "decoder", "pixels", "cache"}
"""Options that say how photos are packed, not which photos."""
_listed: ContextVar[dict[str, PhotoListing] | None] = ContextVar("listed", default=None)


@contextmanager
def listed_once() -> Iterator[None]:
    """List every set of photos once, even if it is loaded several times or with several recipes inside.

    Otherwise a study with arms at several sizes would list the same tree, and compare its photos, for every size.
    Inside another `listed_once`, this one does nothing.
    """
    if _listed.get() is not None:
        yield
        return
    token = _listed.set({})
    try:
        yield
    finally:
        _listed.reset(token)


class PhotoConfig(ComponentConfig):
    """Options of every data set of photos."""

    classes: Annotated[int, Field(ge=2)]
    """Number of classes; compared with the number found."""
    size: Annotated[int, Field(ge=8, le=1024)] = 224
    """Height and width that photos are resized to, in pixels."""
    resize: Literal["squash", "center_crop"] = "squash"
    """squash: the whole photo is resized, without keeping its aspect ratio; center_crop: the shorter side is resized to
    `size`, and the middle is used.
    """
    antialias: bool = True
    """Average over the area of an output pixel; false samples as TensorFlow's resize does by default."""
    decoder: Decoder = "accurate"
    """How JPEG files are decoded. accurate: Pillow; fast: as TensorFlow decodes them (as run), which differs in the
    last bits. Other files and damaged ones are decoded by Pillow in either case.
    """
    pixels: Kept = "whole"
    """How resized values are kept. whole: rounded to 0, 1, ... 255; fine: in steps of 1/256, in twice the bytes, where
    the author's code did not round (as run). fine needs antialias: false."""
    root: str | None = local(
        None,
        "Folder of the data, an archive of it, or its URL in object storage; default $AIM_DATA_ROOT/<name>, else the "
        "user's data folder.",
    )
    cache: str | None = local(
        None, "Folder of packed data; default $AIM_CACHE_DIR, else ~/.cache/aim-ablations/packed."
    )
    exclude: str | None = local(
        None,
        "List of photos to leave out, a CSV with the columns path and reason, relative to the study file. The "
        "fingerprint of the data, and so the run id, depends only on the photos that remain.",
    )

    @model_validator(mode="after")
    def _fine_pixels_are_sampled(self) -> Self:
        if self.pixels == "fine" and self.antialias:
            raise ValueError("pixels: fine needs antialias: false, because antialiasing rounds to whole values; set it")
        return self


@dataclass(frozen=True)
class Survey:
    """What exists of a data set, even if it cannot be used unchanged.

    Attributes
    ----------
    listing : the photos that were found.
    oddities : everything else that was found; None if the photos are those of a list, with which files are compared.
    labels : what is odd about the labels of a list.
    """

    listing: PhotoListing
    oddities: tuple[Oddity, ...] | None = None
    labels: tuple[Oddity, ...] = ()


class PhotoPlugin(DatasetPlugin):
    """Base of the data sets of photos."""

    config: PhotoConfig

    @abstractmethod
    def listing(self) -> PhotoListing:
        """Return the expected photos, without opening any of them.

        Raises
        ------
        DataError: the data is missing or its lists are unreadable.
        """

    def survey(self) -> Survey:
        """Return the photos and what is odd next to them, without refusing the data because of it, for `verify`.

        Raises
        ------
        DataError: there is nothing that could be listed.
        """
        return Survey(self.listing())

    def used(self) -> PhotoListing:
        """Return the photos without those that `exclude` lists.

        Raises
        ------
        DataError: see `listing`; the list cannot be used.
        """
        listing = self.listing()
        if self.config.exclude is None:
            return listing
        return exclude(listing, read_exclusions(self.config.exclude))

    def checked(self) -> PhotoListing:
        """Return the photos that are packed; within `listed_once`, those of data that differs only in the recipe.

        Raises
        ------
        DataError: see `used` and `aimlib.datasets.listing.check_listing`.
        """
        known = _listed.get()
        key = f"{type(self).__qualname__} {self.config.model_dump_json(exclude=_NOT_OF_LISTING)}"
        if known is not None and key in known:
            return known[key]
        listing = self.used()
        check_listing(listing, self.config.classes)
        if known is not None:
            known[key] = listing
        return listing

    def notes(self) -> list[str]:
        """Return how many photos `exclude` leaves out, and why."""
        return [] if self.config.exclude is None else [str(read_exclusions(self.config.exclude))]

    def whereabouts(self) -> tuple[Path, str] | None:
        """Return `root` and `variant` of the listing, or None if they are unknown before the photos are listed."""
        return None

    def count_problems(self, listing: PhotoListing) -> list[str]:
        """Return the differences between the numbers of photos and the published ones; by default none."""
        return []

    def shape(self) -> ImageShape:
        """Return the shape that `size` and `classes` give."""
        return ImageShape(3, self.config.size, self.config.size, self.config.classes)

    def recipe(self) -> Recipe:
        """Return the recipe that converts photos to arrays."""
        options = self.config
        return Recipe(options.resize, options.size, options.antialias, options.decoder, options.pixels)

    def pixels(self, content: bytes) -> Pixels:
        """Return a photo as the recipe converts it."""
        return self.recipe().convert(content)[0]

    def pack(self, progress: Progress | None = None) -> Pack:
        """Return the packed data, building it if it is missing or stale.

        Parameters
        ----------
        progress : called as progress("packing", photos done, photos in total).
        """
        listing = self.checked()
        _refuse_cache_among_photos(listing, self.config.cache)
        return pack(listing, self.recipe(), self.config.cache, progress)

    def load(self) -> DataSet:
        """Return the packed data, mapped read-only; the names are paths below the listing's root."""
        return self.pack().data_set()

    def load_known(self, fingerprint: str) -> DataSet:
        """Return the data with this fingerprint; if it is already packed here, no photo is read.

        If it is not, one of the processes that share the cache lists and packs the photos, and the others wait. The
        fingerprint covers every pixel, so it does not matter to the caller whether photos have changed since.
        """
        with without_comparing():
            where = self.whereabouts()
        if where is None:
            return self.load()
        root, variant = where
        if self.config.exclude is not None:
            variant = read_exclusions(self.config.exclude).variant(variant)
        folder = folder_of(self.config.name, root, variant, self.recipe(), self.config.cache)
        return pack_once(folder, fingerprint, self.checked, self.recipe()).data_set()


def _refuse_cache_among_photos(listing: PhotoListing, cache: str | None) -> None:
    """Refuse a cache in a folder of classes, where the next listing would take packs for a class."""
    place = cache_folder(cache).absolute()
    for folder in listing.folders:
        top = (listing.root / folder).absolute()
        if place.is_relative_to(top) and not any(part.startswith(".") for part in place.relative_to(top).parts):
            raise DataError(
                f"{listing.name}: the cache {place} is inside {top}, whose folders are classes; set data.cache or "
                f"AIM_CACHE_DIR to a folder elsewhere"
            )
