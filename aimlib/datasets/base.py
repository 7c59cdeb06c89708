"""The interface of every data set plugin: images as they are trained on, decoded once, as uint8.

>>> from aimlib.registry import datasets
>>> digits = datasets.create(datasets.parse("digits")).load()
>>> digits.train.pixels.dtype
dtype('uint8')
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aimlib.component import ComponentConfig


@dataclass(frozen=True)
class ImageShape:
    """What a network must know about a data set; known without reading any file.

    Attributes
    ----------
    channels, height, width : of every image, in pixels.
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
    pixels : [images, height, width, channels], uint8, 0 to 255; may be a read-only memory map.
    labels : [images], int64, class numbers from 0.
    names : one per image: its path below the data's root, or a number as text.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    names: tuple[str, ...]


@dataclass(frozen=True)
class DataSet:
    """A data set in memory or mapped into it.

    Attributes
    ----------
    train, test : the official splits; validation images are held out of `train` by the training loop.
    classes : names, in the order of the class numbers.
    fingerprint : 20 hexadecimal digits that change when any pixel, label, name, split or the order changes.
    """

    train: Images
    test: Images
    classes: tuple[str, ...]
    fingerprint: str


class DatasetPlugin(ABC):
    """Base of the family `aimlib.datasets`.

    A plugin is created from its Config; creating it touches no file.
    """

    def __init__(self, config: ComponentConfig) -> None:
        self.config = config

    @abstractmethod
    def shape(self) -> ImageShape:
        """Return the shape of the images from the configuration alone, without reading any file."""

    @abstractmethod
    def load(self) -> DataSet:
        """Return the data, preparing what must be prepared first.

        Raises
        ------
        DataError: the data is missing or does not match the configuration; the message says what to do.
        """

    def load_known(self, fingerprint: str) -> DataSet:
        """Return data that was loaded before with this fingerprint and need not be checked again.

        If the fingerprint has changed, the data is returned nevertheless; the caller compares.

        Raises
        ------
        DataError: as `load`.
        """
        return self.load()
