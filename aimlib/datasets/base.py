"""The interface for data set plugins, which provide images decoded once, at the size used for training.

>>> from aimlib.registry import datasets
>>> digits = datasets.create(datasets.parse("digits")).load()
>>> digits.train.pixels.dtype
dtype('uint8')
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from aimlib.component import ComponentConfig
from aimlib.datasets.decoding import decode
from aimlib.datasets.resize import bilinear, to_uint8


@dataclass(frozen=True)
class ImageShape:
    """The properties of a data set that determine a network's input and output, known without reading any file.

    Attributes
    ----------
    channels, height, width : number of channels, and height and width in pixels, the same for every image.
    classes : number of classes.
    """

    channels: int
    height: int
    width: int
    classes: int


@dataclass(frozen=True)
class Images:
    """One split.

    Attributes
    ----------
    pixels : [images, height, width, channels], uint8, 0 to 255; or uint16 in steps of 1/256 (255 is stored as 65,280).
        The array may be a read-only memory map.
    labels : [images], int64, class numbers from 0.
    names : for each image, its path below the data's root, or a number as text.
    """

    pixels: npt.NDArray[np.uint8 | np.uint16]
    labels: npt.NDArray[np.int64]
    names: tuple[str, ...]


@dataclass(frozen=True)
class DataSet:
    """A data set, loaded or memory-mapped.

    Attributes
    ----------
    train, test : the official splits; the training loop holds validation images out of `train`.
    classes : names of the classes, in the order of the class numbers.
    fingerprint : 20 hexadecimal digits that change if any pixel, label, name or split changes, or if the order changes.
    validation : the data's own validation images, used instead of held-out training images; None if there are none.
    """

    train: Images
    test: Images
    classes: tuple[str, ...]
    fingerprint: str
    validation: Images | None = None

    def splits(self) -> dict[str, Images]:
        """Return the images of every existing split, keyed by the split's name."""
        own = {} if self.validation is None else {"validation": self.validation}
        return {"train": self.train, **own, "test": self.test}


class DatasetPlugin(ABC):
    """Base class of the `aimlib.datasets` plugins.

    A plugin is created from its Config; creating it does not access any file.

    Attributes
    ----------
    has_pixels : whether the data set has images; otherwise, only the user's own training code can train on it.
    """

    has_pixels: ClassVar[bool] = True

    def __init__(self, config: ComponentConfig) -> None:
        self.config = config

    @abstractmethod
    def shape(self) -> ImageShape:
        """Return the shape of the images from the configuration alone, without reading any file."""

    @abstractmethod
    def load(self) -> DataSet:
        """Return the data; prepare it first if necessary.

        Raises
        ------
        DataError: the data is missing or does not match the configuration; the message says what to do.
        """

    def notes(self) -> list[str]:
        """Return sentences that a user should see before training; `ablate check` prints them. Default: none."""
        return []

    def load_known(self, fingerprint: str) -> DataSet:
        """Return data that was loaded before with this fingerprint, without checking it again.

        Data whose fingerprint has changed is also returned; the caller compares the fingerprints.

        Raises
        ------
        DataError: see `load`.
        """
        return self.load()

    def pixels(self, content: bytes) -> npt.NDArray[np.uint8 | np.uint16]:
        """Return an image file's pixels as this data set would store them, for predictions on other images.

        The image may have any size. By default, it is resized bilinearly to the data set's shape, without keeping its
        aspect ratio, and becomes gray if the data set has one channel.

        Parameters
        ----------
        content : the file's bytes, in one of `aimlib.datasets.decoding.FORMATS`.

        Returns
        -------
        [height, width, channels], in the data type of the data set's pixels.

        Raises
        ------
        DecodeError: the file is not an image in one of these formats.
        """
        shape, photo = self.shape(), decode(content)
        values = np.asarray(photo.convert("L"))[..., None] if shape.channels == 1 else np.asarray(photo)
        return to_uint8(bilinear(values, shape.height, shape.width))
