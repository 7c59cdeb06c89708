from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from aimlib.datasets.decoding import DecodeError, decode


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("RGB", "JPEG"),
        ("L", "JPEG"),
        ("CMYK", "JPEG"),
        ("RGBA", "PNG"),
        ("LA", "PNG"),
        ("P", "GIF"),
        ("1", "PNG"),
    ],
)
def test_every_mode_becomes_rgb(mode: str, kind: str) -> None:
    image = decode(encoded(Image.new("RGB", (5, 4), (200, 30, 60)).convert(mode), kind))
    assert (image.mode, image.size) == ("RGB", (5, 4))


def test_alpha_is_dropped_and_not_blended() -> None:
    image = decode(encoded(Image.new("RGBA", (2, 2), (10, 20, 30, 0))))
    assert image.getpixel((0, 0)) == (10, 20, 30)


def test_of_sixteen_bits_the_high_byte_counts() -> None:
    grey = np.array([[0x1234, 0xFFFF], [0x00FF, 0x8000]], dtype=np.uint16)
    assert np.asarray(decode(encoded(Image.fromarray(grey))))[..., 0].tolist() == [[0x12, 0xFF], [0, 0x80]]


def test_exif_orientation_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by a quarter turn
    image = decode(encoded(Image.new("RGB", (8, 4)), "JPEG", exif=exif))
    assert image.size == (8, 4)


def test_damage_is_an_error_with_its_cause(photo: Callable[..., bytes]) -> None:
    whole = photo(0, 64, 64, kind="JPEG")
    for content, cause in (
        (b"", "empty"),
        (whole[: len(whole) // 2], "truncated"),
        (b"no image", "identify"),
    ):
        with pytest.raises(DecodeError, match=cause):
            decode(content)
    png = bytearray(photo(0, 64, 64))
    png[len(png) // 2] ^= 0xFF
    with pytest.raises(DecodeError):
        decode(bytes(png))
    with pytest.raises(DecodeError, match="floating"):
        decode(encoded(Image.new("F", (2, 2)), "TIFF"))
