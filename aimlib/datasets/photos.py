"""The common base of data sets that consist of photo files, which are packed before use."""

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
"""Options that determine how photos are packed, but not which photos are packed."""
_listed: ContextVar[dict[str, PhotoListing] | None] = ContextVar("listed", default=None)


@contextmanager
def listed_once() -> Iterator[None]:
    """List every set of photos only once, even if the photos are loaded several times or with several recipes.

    Without this context manager, a study whose arms use several sizes would list the same tree, and compare its photos,
    for every size. Inside another `listed_once`, the context manager does nothing.
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
    """Options for every photo data set."""

    classes: Annotated[int, Field(ge=2)]
    """Number of classes; it is compared with the number found."""
    size: Annotated[int, Field(ge=8, le=1024)] = 224
    """Height and width to which photos are resized, in pixels."""
    resize: Literal["squash", "center_crop"] = "squash"
    """How photos are resized. squash: the entire photo is resized, without keeping its aspect ratio; center_crop: the
    shorter side is resized to `size`, and the center is used.
    """
    antialias: bool = True
    """true averages over the area of an output pixel; false samples, as TensorFlow's resize does by default."""
    decoder: Decoder = "accurate"
    """How JPEG files are decoded. accurate: by Pillow; fast: as TensorFlow decodes them (as run), with differences in
    the last bits. Other files, and damaged JPEG files, are decoded by Pillow in both cases.
    """
    pixels: Kept = "whole"
    """How resized values are stored. whole: rounded to 0, 1, ... 255; fine: in steps of 1/256, which takes twice the
    space, because the author's code did not round (as run). fine needs antialias: false."""
    root: str | None = local(
        None,
        "Folder with the data, an archive of it, or its URL in object storage; default: $AIM_DATA_ROOT/<name>, "
        "else the "
        "user's data folder.",
    )
    cache: str | None = local(
        None, "Folder for packed data; default: $AIM_CACHE_DIR, else ~/.cache/aim-ablations/packed."
    )
    exclude: str | None = local(
        None,
        "List of photos to leave out: a CSV file, relative to the study file, with the columns path and reason. "
        "The data's fingerprint, and therefore the run id, depends only on the photos that remain.",
    )

    @model_validator(mode="after")
    def _fine_pixels_are_sampled(self) -> Self:
        if self.pixels == "fine" and self.antialias:
            raise ValueError(
                "pixels: fine needs antialias: false, because antialiasing rounds to whole values; set antialias: false"
            )
        return self


@dataclass(frozen=True)
class Survey:
    """The photos and oddities found in a data set, even if the data cannot be used unchanged.

    Attributes
    ----------
    listing : the photos found.
    oddities : everything else that was found; None if a list names the photos, because the files are then compared with
        the list.
    labels : oddities in the labels of a list.
    """

    listing: PhotoListing
    oddities: tuple[Oddity, ...] | None = None
    labels: tuple[Oddity, ...] = ()


class PhotoPlugin(DatasetPlugin):
    """Base class of the photo data sets."""

    config: PhotoConfig

    @abstractmethod
    def listing(self) -> PhotoListing:
        """Return the expected photos without opening any of them.

        Raises
        ------
        DataError: the data is missing or its lists are unreadable.
        """

    def survey(self) -> Survey:
        """Return the photos and all oddities, without refusing the data because of them; used by `verify`.

        Raises
        ------
        DataError: there are no photos that could be listed.
        """
        return Survey(self.listing())

    def used(self) -> PhotoListing:
        """Return the photos, except those that `exclude` lists.

        Raises
        ------
        DataError: see `listing`; or the list of excluded photos cannot be used.
        """
        listing = self.listing()
        if self.config.exclude is None:
            return listing
        return exclude(listing, read_exclusions(self.config.exclude))

    def checked(self) -> PhotoListing:
        """Return the photos to pack; within `listed_once`, data sets that differ only in the recipe are listed once.

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
        """Return how many photos `exclude` leaves out and why."""
        return [] if self.config.exclude is None else [str(read_exclusions(self.config.exclude))]

    def whereabouts(self) -> tuple[Path, str] | None:
        """Return the listing's `root` and `variant`; None if they are unknown before the photos are listed."""
        return None

    def count_problems(self, listing: PhotoListing) -> list[str]:
        """Return how the numbers of photos differ from the published numbers; by default, an empty list."""
        return []

    def shape(self) -> ImageShape:
        """Return the shape that follows from `size` and `classes`."""
        return ImageShape(3, self.config.size, self.config.size, self.config.classes)

    def recipe(self) -> Recipe:
        """Return the recipe that converts photos to arrays."""
        options = self.config
        return Recipe(options.resize, options.size, options.antialias, options.decoder, options.pixels)

    def pixels(self, content: bytes) -> Pixels:
        """Return a photo as the recipe converts it."""
        return self.recipe().convert(content)[0]

    def pack(self, progress: Progress | None = None) -> Pack:
        """Return the packed data; build it first if it is missing or stale.

        Parameters
        ----------
        progress : called as progress("packing", photos done, total photos).
        """
        listing = self.checked()
        _refuse_cache_among_photos(listing, self.config.cache)
        return pack(listing, self.recipe(), self.config.cache, progress)

    def load(self) -> DataSet:
        """Return the packed data, mapped read-only; the images' names are paths below the listing's root."""
        return self.pack().data_set()

    def load_known(self, fingerprint: str) -> DataSet:
        """Return the data with this fingerprint; if it is already packed on this machine, no photos are read.

        Otherwise, one of the processes that share the cache lists and packs the photos, while the others wait. The
        fingerprint covers every pixel, so it does not matter to the caller whether the photos have changed since.
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
    """Refuse a cache inside a folder of classes, because the next listing would take the cache for a class."""
    place = cache_folder(cache).absolute()
    for folder in listing.folders:
        top = (listing.root / folder).absolute()
        if place.is_relative_to(top) and not any(part.startswith(".") for part in place.relative_to(top).parts):
            raise DataError(
                f"{listing.name}: the cache {place} is inside {top}, whose subfolders are classes; set data.cache or "
                f"AIM_CACHE_DIR to a folder elsewhere"
            )
