"""How pixel values are stored: the data type, and how stored values map to the range from 0 to 255."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


@dataclass(frozen=True)
class PixelFormat:
    """A way of storing pixel values.

    Attributes
    ----------
    stored : NumPy's type for a stored value.
    step : the pixel value, from 0 to 255, of one stored unit.
    """

    stored: np.dtype[Any]
    step: float

    @property
    def values(self) -> int:
        """Number of values that can be stored, starting from 0."""
        return int(np.iinfo(self.stored).max) + 1


WHOLE = PixelFormat(np.dtype(np.uint8), 1.0)
"""Whole pixel values."""
FINE = PixelFormat(np.dtype(np.uint16), 1 / 256)
"""Pixel values in steps of 1/256, for images that were resized without rounding."""

_BY_TORCH = {torch.uint8: WHOLE, torch.uint16: FINE}


def format_of(pixels: npt.NDArray[Any]) -> PixelFormat:
    """Return the format of stored pixels.

    Raises
    ------
    TypeError: no format uses their type.
    """
    for known in (WHOLE, FINE):
        if pixels.dtype == known.stored:
            return known
    raise TypeError(f"pixels of type {pixels.dtype}; stored pixels are uint8, or uint16 in steps of 1/256")


def to_floats(
    x: Tensor, dtype: torch.dtype = torch.float32, memory_format: torch.memory_format = torch.preserve_format
) -> Tensor:
    """Return stored pixels as values from 0 to 255; floats are already in that range."""
    known = _BY_TORCH.get(x.dtype, WHOLE)
    floats = x.to(dtype, memory_format=memory_format)
    return floats if known.step == 1 else floats.mul_(known.step)
