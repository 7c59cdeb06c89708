"""How a photo of any size becomes an array: the recipe, which is part of the key of a packed store."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from aimlib.datasets.decoding import DECODE_VERSION
from aimlib.datasets.resize import bilinear, to_uint8

if TYPE_CHECKING:
    from PIL import Image

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Recipe:
    """How photos are resized; always bilinearly.

    Attributes
    ----------
    resize : ``squash``: to size × size without keeping the aspect ratio. ``center_crop``: the shorter side to
        `size`, then the size × size middle, both rounded as torchvision's `Resize` and `CenterCrop` do.
        ``shorter_side``: the shorter side to `size`, nothing cut off; the arrays differ in shape (ragged).
    size : in pixels.
    antialias : True averages over the area of an output pixel (Pillow, torchvision); False samples between
        the four nearest input pixels (TensorFlow's default, what TFDS pipelines usually do).
    """

    resize: Literal["squash", "center_crop", "shorter_side"]
    size: int
    antialias: bool

    @property
    def ragged(self) -> bool:
        """Whether the images of one store differ in shape."""
        return self.resize == "shorter_side"

    def key(self) -> dict[str, Any]:
        """Return, as plain JSON, everything that determines the pixels of a decoded file."""
        return {"decode": DECODE_VERSION, **asdict(self)}

    def apply(self, photo: Image.Image) -> Pixels:
        """Return `photo` (mode RGB) as [height, width, 3], uint8."""
        if self.resize == "squash":
            return self._resized(photo, self.size, self.size)
        height, width = self._shorter_side(photo.height, photo.width)
        pixels = self._resized(photo, height, width)
        if self.resize == "shorter_side":
            return pixels
        top, left = round((height - self.size) / 2), round((width - self.size) / 2)
        return pixels[top : top + self.size, left : left + self.size]

    def _shorter_side(self, height: int, width: int) -> tuple[int, int]:
        shorter = min(height, width)
        return self.size * height // shorter, self.size * width // shorter

    def _resized(self, photo: Image.Image, height: int, width: int) -> Pixels:
        from PIL import Image  # noqa: PLC0415 -- needed only for decoding

        if self.antialias:
            return np.asarray(photo.resize((width, height), Image.Resampling.BILINEAR))
        return to_uint8(bilinear(np.asarray(photo), height, width))
