"""ImageNet (ILSVRC 2012): 1,281,167 training photos of 1,000 classes; the 50,000 validation photos are the test set.

Source: O. Russakovsky et al., ImageNet large scale visual recognition challenge, IJCV 2015. The labels of the official
    test set are not published, so results are usually reported on the validation set, as here.
"""

from __future__ import annotations

import logging
import pickle
import re
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from aimlib.datasets._image_folder import photos_by_class, split_of
from aimlib.datasets.listing import PhotoListing, named
from aimlib.datasets.locations import data_folder
from aimlib.datasets.photos import PhotoConfig, PhotoPlugin
from aimlib.errors import DataError
from aimlib.registry import datasets

log = logging.getLogger(__name__)

CLASSES = 1000
PHOTOS = {"train": 1_281_167, "test": 50_000}
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
META = "meta.bin"
_DAMAGED = (
    RuntimeError,
    OSError,
    ValueError,
    LookupError,
    EOFError,
    TypeError,
    tarfile.TarError,
    pickle.UnpicklingError,
)
"""Exceptions that torchvision, torch and SciPy raise for damaged files."""
_WNID = re.compile(r"n\d{8}")
_OF_VALIDATION = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG", re.IGNORECASE)


@datasets.register("imagenet")
class ImageNet(PhotoPlugin):
    """``<root>/train/<wnid>/*`` and ``<root>/val/<wnid>/*``, as torchvision unpacks ImageNet, or a flat ``val``.

    With a flat ``val`` (ILSVRC2012_val_00000001.JPEG, ...), the root must also contain the development kit, or the
    meta.bin that torchvision creates from it. The classes are the WordNet ids in ascending order, which is the order
    used by torchvision's weights. The tree may contain only a subset of the classes.
    """

    source = "https://image-net.org/challenges/LSVRC/2012/2012-downloads.php"

    class Config(PhotoConfig):
        """Options for ImageNet."""

        classes: Annotated[int, Field(ge=2)] = CLASSES
        """Number of classes in the folder tree; smaller for a subset."""

    config: Config

    def whereabouts(self) -> tuple[Path, str]:
        """Return the root."""
        return data_folder("imagenet", self.config.root), "train/val"

    def listing(self) -> PhotoListing:
        """Return the photos in both folders."""
        root, variant = self.whereabouts()
        self._refuse_absent(root)
        train = photos_by_class(self.config.name, root, "train")
        found = {"train": train, "test": self._validation(root, list(train))}
        classes = tuple(sorted({name for by_class in found.values() for name in by_class}))
        if wrong := [name for name in classes if not _WNID.fullmatch(name)]:
            raise DataError(
                f"imagenet: folders in {root} that are not WordNet ids, such as n01440764: {named(wrong)}; remove "
                f"them. To use your own photos, choose the data set image_folder with data.test: val"
            )
        splits = {split: split_of(by_class, classes) for split, by_class in found.items()}
        return PhotoListing(self.config.name, variant, root, ("train", "val"), classes, splits)

    def count_problems(self, listing: PhotoListing) -> list[str]:
        """Compare the numbers of photos with the published numbers, which exist only for the tree of all classes."""
        if len(listing.classes) != CLASSES:
            return []
        counts = {name: len(split.paths) for name, split in listing.splits.items()}
        return [
            f"{counts[name]:,} {name} photos listed instead of {right:,}"
            for name, right in PHOTOS.items()
            if counts[name] != right
        ]

    def _refuse_absent(self, root: Path) -> None:
        missing = [name for name in ("train", "val") if not (root / name).is_dir()]
        if not missing:
            return
        archives = sorted(path.name for path in root.glob("ILSVRC2012_img_*.tar")) if root.is_dir() else []
        if archives:
            remedy = (
                f'unpack {", ".join(archives)} with torchvision, which checks and sorts them: python -c "from '
                f"torchvision.datasets import ImageNet; [ImageNet('{root}', split) for split in ('train', 'val')]\""
            )
        else:
            remedy = (
                f"register at {self.source}, fetch ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and {DEVKIT} into "
                f"{root}, and let torchvision.datasets.ImageNet unpack them; or correct data.root"
            )
        raise DataError(f"imagenet: {' and '.join(missing)} missing in {root}; {remedy}")

    def _validation(self, root: Path, classes: Sequence[str]) -> Mapping[str, list[str]]:
        """Return the validation photos by class; from a flat folder, only those whose class is in `classes`."""
        top = root / "val"
        flat = {number: path.name for path in top.iterdir() if (number := _number_of(path.name)) is not None}
        if not flat:
            return photos_by_class(self.config.name, root, "val")
        others = sorted(path.name for path in top.iterdir() if path.name not in flat.values())
        if unused := [name for name in others if not name.startswith(".")]:
            log.warning("imagenet: %s: not named ILSVRC2012_val_*.JPEG, so not used: %s", top, named(unused))
        wnids = _wnids_of_validation(root)
        if max(flat) > len(wnids) or min(flat) < 1:
            raise DataError(
                f"imagenet: {top / flat[max(flat)]}: the development kit lists the classes of only {len(wnids):,} "
                f"photos; "
                f"remove the file, or fetch {DEVKIT} again"
            )
        found: dict[str, list[str]] = {wnid: [] for wnid in classes}
        for number, name in sorted(flat.items()):
            if wnids[number - 1] in found:
                found[wnids[number - 1]].append(f"val/{name}")
        return found


def _number_of(name: str) -> int | None:
    match = _OF_VALIDATION.fullmatch(name)
    return None if match is None else int(match[1])


def _wnids_of_validation(root: Path) -> list[str]:
    """Return the WordNet ids of all validation photos, read by torchvision, in the order of the photos' numbers."""
    from torchvision.datasets import imagenet  # noqa: PLC0415 -- imports torch

    kit = root / DEVKIT
    if not kit.is_file() and not (root / META).is_file():
        raise DataError(
            f"imagenet: {root / 'val'} is flat, and neither {DEVKIT} nor {META}, which list the classes of its "
            f"photos, is in {root}; fetch {DEVKIT} from {ImageNet.source}"
        )
    try:
        if (root / META).is_file():
            return _listed(imagenet.load_meta_file(str(root)))
        with tempfile.TemporaryDirectory() as folder:  # torchvision writes a file, and the root may be read-only
            (Path(folder) / DEVKIT).symlink_to(kit.resolve())
            imagenet.parse_devkit_archive(folder)
            return _listed(imagenet.load_meta_file(folder))
    except _DAMAGED as error:
        what = root / META if (root / META).is_file() else kit
        digest = "" if what.name == META else f", whose MD5 must be {imagenet.ARCHIVE_META['devkit'][1]}"
        cause = _short(error)
        raise DataError(
            f"imagenet: {what}: not the content that was published ({cause}); fetch it again{digest}"
        ) from error


def _listed(meta: Any) -> list[str]:
    _, wnids = meta
    if not wnids or not all(isinstance(wnid, str) and _WNID.fullmatch(wnid) for wnid in wnids):
        raise ValueError("no list of WordNet ids")
    return list(wnids)


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"[:200]
