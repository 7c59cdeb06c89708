"""The 1,797 handwritten digits included in scikit-learn: real images that need no download.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
1998 (the test part), 8 × 8 pixels with values 0 to 16.
"""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from aimlib.component import ComponentConfig
from aimlib.datasets.base import DataSet, DatasetPlugin, ImageShape
from aimlib.datasets.fingerprint import with_fingerprint
from aimlib.datasets.grey import grey_images
from aimlib.datasets.stratified import choose
from aimlib.errors import DataError
from aimlib.registry import datasets

TEST_IMAGES = 500
TRAIN_IMAGES = 1297


@datasets.register("digits")
class Digits(DatasetPlugin):
    """scikit-learn's digits: 500 fixed test images, and training images chosen from the other 1,297."""

    source = "https://archive.ics.uci.edu/dataset/80, as shipped with scikit-learn"

    class Config(ComponentConfig):
        """Options for the digits."""

        size: Annotated[int, Field(ge=8, le=224)] = 16
        """Height and width in pixels; the 8 × 8 originals are enlarged bilinearly."""
        channels: Literal[1, 3] = 1
        """Number of channels; 3 repeats the gray channel, for networks that expect color."""
        train_images: Annotated[int, Field(ge=10, le=TRAIN_IMAGES)] = 1000
        """Number of training images, a fixed stratified choice; the test images are the same for every number."""
        test_images: Annotated[int, Field(ge=10, le=TEST_IMAGES)] = TEST_IMAGES
        """Number of test images, a fixed stratified choice; the training images are the same for every number."""

    config: Config

    def shape(self) -> ImageShape:
        """Return the shape that follows from `size` and `channels`."""
        return ImageShape(self.config.channels, self.config.size, self.config.size, classes=10)

    def load(self) -> DataSet:
        """Return the digits; an image's name is its position in scikit-learn's order."""
        table = _table()
        labels = table[:, 64].astype(np.int64)
        values = (table[:, :64].reshape(-1, 8, 8) * (255 / 16)).astype(np.float32)
        test, rest = choose(labels, TEST_IMAGES, "digits/test", "test images")
        chosen, _ = choose(labels[rest], self.config.train_images, "digits/train", "data.train_images")
        tested, _ = choose(labels[test], self.config.test_images, "digits/test", "data.test_images")
        size, channels = self.config.size, self.config.channels
        return with_fingerprint(
            grey_images(values, labels, rest[chosen], size, channels),
            grey_images(values, labels, test[tested], size, channels),
            tuple("0123456789"),
        )


def _table() -> npt.NDArray[np.float64]:
    """Return scikit-learn's own file [images, 65]: 64 values, then the label.

    ``sklearn.datasets.load_digits`` returns the same numbers, but importing scikit-learn takes seconds in every
    worker.
    """
    spec = importlib.util.find_spec("sklearn")
    folder = Path(spec.origin).parent if spec is not None and spec.origin else None
    path = folder / "datasets" / "data" / "digits.csv.gz" if folder else None
    if path is None or not path.is_file():
        raise DataError(f"digits: scikit-learn or its file {path or 'digits.csv.gz'} is missing; run `make setup`")
    with gzip.open(path, "rt", encoding="ascii") as file:
        return np.loadtxt(file, delimiter=",")
