"""The common base of CIFAR-10 and CIFAR-100, which torchvision's own classes read.

A batch file is a pickle, and unpickling a file can run arbitrary code. Before torchvision opens any batch, it compares
the MD5 hashes of all batches with the published hashes, and it does the same before it opens the file of class names.
Only the authors' own files are therefore unpickled, because there is no known way to create a different file with a
given MD5.

Source: A. Krizhevsky, Learning multiple layers of features from tiny images, 2009; Python version, as torchvision
stores it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from aimlib.component import ComponentConfig, local
from aimlib.datasets.base import DataSet, DatasetPlugin, Images, ImageShape
from aimlib.datasets.fingerprint import with_fingerprint
from aimlib.datasets.locations import data_folder
from aimlib.datasets.resize import bilinear, to_uint8
from aimlib.datasets.stratified import choose
from aimlib.errors import DataError

SOURCE = "https://www.cs.toronto.edu/~kriz/cifar.html"
_SIDE = 32
_CHUNK = 512
"""Number of images resized at a time, which limits the RAM used for intermediate floats."""


class CifarConfig(ComponentConfig):
    """Options for CIFAR-10 and CIFAR-100.

    All pixels are kept in RAM: 60,000 × size² × 3 bytes, 184 MB at the default size.
    """

    size: Annotated[int, Field(ge=_SIDE, le=224)] = _SIDE
    """Height and width in pixels; the 32 × 32 originals are enlarged bilinearly."""
    train_images: Annotated[int, Field(ge=10)] | None = None
    """Number of training images, a fixed stratified choice; None: all 50,000."""
    root: str | None = local(
        None,
        "Folder that contains the folder of batches (torchvision's root), or the folder of batches itself, or the "
        "archive; default: "
        "$AIM_DATA_ROOT/<name>, else the user's data folder.",
    )


class CifarPlugin(DatasetPlugin):
    """Base class of CIFAR-10 and CIFAR-100.

    Attributes
    ----------
    of_torchvision : name of torchvision's class.
    classes : number of classes.
    """

    source = SOURCE
    of_torchvision: ClassVar[str]
    classes: ClassVar[int]
    config: CifarConfig

    def shape(self) -> ImageShape:
        """Return the shape that follows from `size`."""
        return ImageShape(3, self.config.size, self.config.size, self.classes)

    def load(self) -> DataSet:
        """Return the images; an image's name is its position among the images of its split."""
        from torchvision import datasets as of_torchvision  # noqa: PLC0415 -- imports torch

        kind = getattr(of_torchvision, self.of_torchvision)
        root = self._root(kind)
        try:
            train, test = (kind(root, train=train, download=False) for train in (True, False))
        except RuntimeError as error:
            raise DataError(self._message(kind, root)) from error
        except OSError as error:
            raise DataError(
                f"{self.config.name}: {error.filename or root}: cannot be read: {error.strerror}"
            ) from error
        labels = np.array(train.targets, dtype=np.int64)
        numbers = np.arange(len(labels))
        if self.config.train_images is not None:
            stream = f"{self.config.name}/train"
            numbers, _ = choose(labels, self.config.train_images, stream, "data.train_images")
        return with_fingerprint(
            self._images(train.data, labels, numbers),
            self._images(test.data, np.array(test.targets, dtype=np.int64), np.arange(len(test.targets))),
            tuple(map(str, train.classes)),
        )

    def _root(self, kind: Any) -> Path:
        """Return the folder that torchvision calls the root."""
        root = data_folder(self.config.name, self.config.root)
        return root.parent if root.name == kind.base_folder else root

    def _images(
        self, values: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], numbers: npt.NDArray[np.int64]
    ) -> Images:
        size = self.config.size
        pixels = np.empty((len(numbers), size, size, 3), dtype=np.uint8)
        for start in range(0, len(numbers), _CHUNK):
            part = values[numbers[start : start + _CHUNK]]
            pixels[start : start + _CHUNK] = part if size == _SIDE else to_uint8(bilinear(part, size, size))
        return Images(pixels, labels[numbers], tuple(map(str, numbers.tolist())))

    def _message(self, kind: Any, root: Path) -> str:
        """Return a message about missing or changed files, because torchvision does not say which file it refuses."""
        from torchvision.datasets.utils import check_integrity  # noqa: PLC0415 -- imports torch

        folder = root / kind.base_folder
        listed = [*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])]
        missing = [name for name, _ in listed if not (folder / name).is_file()]
        changed = [name for name, md5 in listed if name not in missing and not check_integrity(str(folder / name), md5)]
        archive = root / kind.filename
        if missing and archive.is_file():
            remedy = f"unpack {archive}, or set data.root to it"
        else:
            remedy = f"fetch {kind.filename} from {SOURCE}, unpack it, and set data.root to the folder that contains it"
        if missing:
            return f"{self.config.name}: {', '.join(missing)} missing in {folder}; {remedy}"
        return (
            f"{self.config.name}: {', '.join(changed)} in {folder}: not as published (different MD5), so not opened; "
            f"{remedy}"
        )
