"""The recipe, which says how a photo of any size becomes an array; part of a packed store's key."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from aimlib.datasets.decoding import DECODE_VERSION, MOST_PIXELS, DecodeError, decode
from aimlib.datasets.fast_decoding import decode_fast
from aimlib.datasets.resize import bilinear, to_fine, to_uint8

if TYPE_CHECKING:
    from PIL import Image

Pixels = npt.NDArray[np.uint8 | np.uint16]
Decoder = Literal["accurate", "fast"]
Kept = Literal["whole", "fine"]


@dataclass(frozen=True)
class Recipe:
    """How photos are decoded and resized; resizing is always bilinear.

    Attributes
    ----------
    resize : ``squash``: resize to size × size without keeping the aspect ratio. ``center_crop``: resize the shorter
        side to `size`, then keep the center, size × size; both steps round as torchvision's `Resize` and `CenterCrop`
        do. ``shorter_side``: resize the shorter side to `size` and cut nothing off; the arrays differ in shape
        (ragged).
    size : side in pixels.
    antialias : True averages over the area of an output pixel (Pillow, torchvision); False samples between the four
        nearest input pixels (TensorFlow's default, and what TFDS pipelines usually do).
    decoder : ``accurate``: Pillow. ``fast``: JPEG files are decoded as in TensorFlow; see `fast_decoding`.
    pixels : ``whole``: rounded to whole values, uint8. ``fine``: in steps of 1/256, uint16; not available with
        `antialias`, because Pillow rounds the resized values.
    """

    resize: Literal["squash", "center_crop", "shorter_side"]
    size: int
    antialias: bool
    decoder: Decoder = "accurate"
    pixels: Kept = "whole"

    def __post_init__(self) -> None:
        if self.pixels == "fine" and self.antialias:
            raise ValueError("pixels: fine needs antialias: false")

    @property
    def ragged(self) -> bool:
        """Whether the images in one store differ in shape."""
        return self.resize == "shorter_side"

    @property
    def stored(self) -> str:
        """NumPy's name for the type of a stored value."""
        return stored_type(self.pixels)

    def key(self) -> dict[str, Any]:
        """Return everything that determines a photo's pixels, as plain JSON values.

        Options that were added after the first version are left out if they have their default values, so older stores
        keep their names.
        """
        found = {"decode": DECODE_VERSION, **asdict(self)}
        return {name: value for name, value in found.items() if (name, value) not in _DEFAULTS}

    def convert(self, content: bytes) -> tuple[Pixels, str]:
        """Return an image file as [height, width, 3], and why `decoder` did not decode it (an empty string if it did).

        Raises
        ------
        DecodeError: see `aimlib.datasets.decoding.decode`.
        """
        if self.decoder == "accurate":
            return self.apply(decode(content)), ""
        values, reason = decode_fast(content)
        return self.apply(values), reason

    def apply(self, photo: Image.Image | npt.NDArray[np.uint8]) -> Pixels:
        """Return `photo` (mode RGB, or [height, width, 3]) as [height, width, 3].

        Raises
        ------
        DecodeError: see `refuse_long`.
        """
        if self.resize == "squash":
            return self._resized(photo, self.size, self.size)
        rows, columns = photo.shape[:2] if isinstance(photo, np.ndarray) else (photo.height, photo.width)
        self.refuse_long(rows, columns)
        height, width = self._shorter_side(rows, columns)
        pixels = self._resized(photo, height, width)
        if self.resize == "shorter_side":
            return pixels
        top, left = round((height - self.size) / 2), round((width - self.size) / 2)
        return pixels[top : top + self.size, left : left + self.size]

    def refuse_long(self, height: int, width: int) -> None:
        """Refuse a photo so narrow that it would have more than `MOST_PIXELS` pixels once its shorter side is `size`.

        Raises
        ------
        DecodeError: the photo is too narrow.
        """
        if self.resize == "squash":
            return
        high, wide = self._shorter_side(height, width)
        if high * wide > MOST_PIXELS:
            raise DecodeError(
                f"{width:,} x {height:,} pixels would become {wide:,} x {high:,} for data.resize: {self.resize}, "
                f"but the limit is {MOST_PIXELS:,} pixels; crop the photo, remove it, or set data.resize: squash"
            )

    def _shorter_side(self, height: int, width: int) -> tuple[int, int]:
        shorter = min(height, width)
        return self.size * height // shorter, self.size * width // shorter

    def _resized(self, photo: Image.Image | npt.NDArray[np.uint8], height: int, width: int) -> Pixels:
        from PIL import Image  # noqa: PLC0415 -- needed only for decoding

        if self.antialias:
            image = Image.fromarray(photo) if isinstance(photo, np.ndarray) else photo
            return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
        values = bilinear(np.asarray(photo), height, width)
        return to_fine(values) if self.pixels == "fine" else to_uint8(values)


_DEFAULTS = (("decoder", "accurate"), ("pixels", "whole"))


def stored_type(pixels: str) -> str:
    """Return NumPy's name for the little-endian type in which a recipe with these `pixels` stores values."""
    return "<u2" if pixels == "fine" else "|u1"
