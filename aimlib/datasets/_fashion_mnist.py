"""Fashion-MNIST: 60,000 training and 10,000 test images of clothes, 28 × 28 pixels, gray, in ten classes.

Source: H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST: a novel image dataset for benchmarking machine
learning algorithms, arXiv 1708.07747, 2017.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from aimlib.component import ComponentConfig, local
from aimlib.datasets.base import DataSet, DatasetPlugin, Images, ImageShape
from aimlib.datasets.fingerprint import with_fingerprint
from aimlib.datasets.grey import grey_images
from aimlib.datasets.idx import read_idx
from aimlib.datasets.locations import data_folder
from aimlib.datasets.stratified import choose
from aimlib.errors import DataError
from aimlib.registry import datasets

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
PREFIXES = {"train": "train", "test": "t10k"}


@datasets.register("fashion_mnist")
class FashionMnist(DatasetPlugin):
    """The four IDX files, gzipped or not, in the layout of torchvision, Debian's package or the authors."""

    source = "https://github.com/zalandoresearch/fashion-mnist"

    class Config(ComponentConfig):
        """Options for Fashion-MNIST.

        All pixels are kept in RAM: 70,000 × size² × channels bytes, 55 MB with the default values.
        """

        size: Annotated[int, Field(ge=28, le=224)] = 28
        """Height and width in pixels; the 28 × 28 originals are enlarged bilinearly."""
        channels: Literal[1, 3] = 1
        """Number of channels; 3 repeats the gray channel, for networks that expect color."""
        train_images: Annotated[int, Field(ge=10)] | None = None
        """Number of training images, a fixed stratified choice; None: all of them."""
        root: str | None = local(
            None,
            "Folder that contains the files, or the one that contains FashionMNIST/raw; default: "
            "$AIM_DATA_ROOT/fashion_mnist, else the user's data folder, else Debian's.",
        )

    config: Config

    def shape(self) -> ImageShape:
        """Return the shape that follows from `size` and `channels`."""
        return ImageShape(self.config.channels, self.config.size, self.config.size, len(CLASSES))

    def load(self) -> DataSet:
        """Return the images; an image's name is its position in the file of its split."""
        return with_fingerprint(self._split("train", self.config.train_images), self._split("test", None), CLASSES)

    def folders(self) -> tuple[Path, ...]:
        """Return the folders that are searched for the files, in search order."""
        root = data_folder("fashion_mnist", self.config.root)
        below = (root, root / "FashionMNIST" / "raw")
        return below if self.config.root is not None else (*below, DEBIAN_FOLDER)

    def _split(self, split: str, count: int | None) -> Images:
        values, labels = self._read(split)
        numbers = np.arange(len(labels))
        if count is not None:
            numbers, _ = choose(labels, count, "fashion_mnist/train", "data.train_images")
        return grey_images(values, labels, numbers, self.config.size, self.config.channels)

    def _read(self, split: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        images = self._find(f"{PREFIXES[split]}-images-idx3-ubyte")
        labels = self._find(f"{PREFIXES[split]}-labels-idx1-ubyte", images.parent)
        values, numbers = read_idx(images, 3), read_idx(labels, 1).astype(np.int64)
        if values.shape[1:] != (28, 28) or len(values) != len(numbers):
            raise DataError(
                f"{images}: images of shape {values.shape} for {len(numbers)} labels, so this is not "
                f"Fashion-MNIST; fetch the files again"
            )
        if not np.array_equal(np.unique(numbers), np.arange(len(CLASSES))):
            raise DataError(f"{labels}: labels are not 0 to {len(CLASSES) - 1}; fetch the files again")
        return values, numbers

    def _find(self, name: str, folder: Path | None = None) -> Path:
        folders = self.folders() if folder is None else (folder,)
        for place in folders:
            for path in (place / name, place / f"{name}.gz"):
                if path.is_file():
                    return path
        raise DataError(
            f"fashion_mnist: {name}[.gz] is not in any of {', '.join(map(str, folders))}; on Debian and Ubuntu, "
            f"run `apt-get install dataset-fashion-mnist`; otherwise fetch the four files from {self.source} and "
            f"set data.root to their folder"
        )
