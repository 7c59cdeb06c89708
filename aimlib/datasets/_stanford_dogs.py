"""Stanford Dogs: 20,580 photos of 120 breeds; 100 per breed are for training, the other 8,580 for testing.

Source: A. Khosla, N. Jayadevaprakash, B. Yao and L. Fei-Fei, Novel dataset for fine-grained image
categorization, First Workshop on Fine-Grained Visual Categorization, CVPR 2011; photos from ImageNet.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from aimlib.datasets.dogs_lists import LISTS, read_listing
from aimlib.datasets.listing import PhotoListing
from aimlib.datasets.locations import data_folder
from aimlib.datasets.photos import PhotoConfig, PhotoPlugin
from aimlib.datasets.pixel_files import Progress
from aimlib.errors import DataError
from aimlib.registry import datasets

BREEDS = 120
TRAIN_PER_BREED = 100
TEST_PHOTOS = 8580


@datasets.register("stanford_dogs")
class StanfordDogs(PhotoPlugin):
    """The official layout: ``Images/<wnid>-<Breed>/*.jpg`` and ``lists/{train,test}_list.mat``.

    The list files may also be next to ``Images``. An image's name is its path below ``Images``.
    """

    source = "http://vision.stanford.edu/aditya86/ImageNetDogs/"

    class Config(PhotoConfig):
        """Options for Stanford Dogs."""

        classes: Annotated[int, Field(ge=2)] = BREEDS
        """Number of breeds in the folder tree; smaller for a subset."""
        lists: Annotated[str, Field(pattern=r"^\w[\w.-]*$")] = "lists"
        """Folder that contains the two list files, next to Images; a different folder is a different split."""

    config: Config

    def root(self) -> Path:
        """Return the folder that contains ``Images``, whether or not it exists."""
        return data_folder("stanford_dogs", self.config.root)

    def whereabouts(self) -> tuple[Path, str]:
        """Return the folder ``Images`` and the name of the lists' folder."""
        return self.root() / "Images", self.config.lists

    def listing(self) -> PhotoListing:
        """Return the photos that are in the list files."""
        root = self.root()
        (images, variant), lists = self.whereabouts(), root / self.config.lists
        if not lists.is_dir() and self.config.lists == "lists" and (root / LISTS["train"]).is_file():
            lists = root
        missing = [path for path in (images, *(lists / name for name in LISTS.values())) if not path.exists()]
        if missing:
            raise DataError(self._missing_message(missing[0], root))
        return read_listing(self.config.name, variant, images, lists)

    def download(self, base_url: str | None = None, progress: Progress | None = None) -> Path:
        """Download the data into its folder; see `aimlib.datasets.download.download_stanford_dogs`."""
        from aimlib.datasets.download import BASE_URL, download_stanford_dogs  # noqa: PLC0415 -- urllib, ssl

        return download_stanford_dogs(self.root(), base_url or BASE_URL, progress)

    def count_problems(self, listing: PhotoListing) -> list[str]:
        """Compare the numbers of photos with the published numbers, which exist only for the tree of all 120 breeds."""
        if len(listing.classes) != BREEDS:
            return []
        problems = []
        train, test = listing.splits["train"], listing.splits["test"]
        counts = np.bincount(train.labels, minlength=BREEDS)
        for label in np.flatnonzero(counts != TRAIN_PER_BREED):
            breed = listing.classes[label]
            problems.append(f"{breed}: {counts[label]} training photos listed instead of {TRAIN_PER_BREED}")
        for name, split, right in (
            ("training", train, TRAIN_PER_BREED * BREEDS),
            ("test", test, TEST_PHOTOS),
        ):
            if len(split.paths) != right:
                problems.append(f"{len(split.paths):,} {name} photos listed instead of {right:,}")
        return problems

    def _missing_message(self, path: Path, root: Path) -> str:
        packed = [name for name in ("images.tar", "lists.tar") if (root / name).is_file()]
        what = f"unpack {' and '.join(packed)} there" if packed else "fetch it"
        return (
            f"stanford_dogs: {path} is missing; {what} with `ablate data download stanford_dogs --root {root}`, or "
            f"set data.root to the folder that contains Images and lists, or put that folder in AIM_DATA_ROOT as "
            f"stanford_dogs"
        )
