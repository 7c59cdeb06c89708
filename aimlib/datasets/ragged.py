"""Photos of different shapes, read from a ragged packed store, for random crops from whole photos."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aimlib.datasets.recipe import Pixels


@dataclass(frozen=True)
class RaggedImages:
    """One split, with photos of different shapes.

    Attributes
    ----------
    pixels : flat, uint8, one photo after another.
    offsets : [photos + 1], int64, the start of each photo in `pixels`.
    shapes : [photos, 2], int64, height and width.
    labels : [photos], int64.
    names : the path of each photo.
    """

    pixels: Pixels
    offsets: npt.NDArray[np.int64]
    shapes: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> Pixels:
        """Return photo `number` as [height, width, 3], without copying it."""
        number = range(len(self))[number]
        height, width = self.shapes[number]
        return self.pixels[self.offsets[number] : self.offsets[number + 1]].reshape(height, width, 3)


@dataclass(frozen=True)
class RaggedDataSet:
    """Both splits of a ragged store; see `DataSet` for the attributes."""

    train: RaggedImages
    test: RaggedImages
    classes: tuple[str, ...]
    fingerprint: str
