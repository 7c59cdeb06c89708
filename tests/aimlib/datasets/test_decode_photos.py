from __future__ import annotations

import io
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aimlib.datasets import decoding
from aimlib.datasets.decoding import FORMATS, DecodeError, decode


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
def test_every_mode_is_converted_to_rgb(mode: str, kind: str) -> None:
    image = decode(encoded(Image.new("RGB", (5, 4), (200, 30, 60)).convert(mode), kind))
    assert (image.mode, image.size) == ("RGB", (5, 4))


def test_alpha_is_dropped_and_not_blended() -> None:
    image = decode(encoded(Image.new("RGBA", (2, 2), (10, 20, 30, 0))))
    assert image.getpixel((0, 0)) == (10, 20, 30)


def test_the_high_byte_of_16_bit_values_is_used() -> None:
    grey = np.array([[0x1234, 0xFFFF], [0x00FF, 0x8000]], dtype=np.uint16)
    assert np.asarray(decode(encoded(Image.fromarray(grey))))[..., 0].tolist() == [[0x12, 0xFF], [0, 0x80]]


def test_exif_orientation_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    image = decode(encoded(Image.new("RGB", (8, 4)), "JPEG", exif=exif))
    assert image.size == (8, 4)


def test_damaged_files_raise_an_error_with_the_cause(photo: Callable[..., bytes]) -> None:
    whole = photo(0, 64, 64, kind="JPEG")
    for content, cause in (
        (b"", "empty"),
        (whole[: len(whole) // 2], "truncated"),
        (b"no image", "cannot be identified"),
    ):
        with pytest.raises(DecodeError, match=cause):
            decode(content)
    png = bytearray(photo(0, 64, 64))
    png[len(png) // 2] ^= 0xFF
    with pytest.raises(DecodeError):
        decode(bytes(png))
    with pytest.raises(DecodeError, match="floating"):
        decode(encoded(Image.new("F", (2, 2)), "TIFF"))


@pytest.mark.parametrize("kind", ["EPS", "ICO", "TGA", "PCX", "SGI", "JPEG2000", "PDF"])
def test_only_the_listed_formats_are_opened(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*arguments: object, **options: object) -> None:
        raise AssertionError(f"a program was started: {arguments}")

    content = encoded(Image.new("RGB", (4, 4)), kind)
    monkeypatch.setattr(subprocess, "Popen", started)
    with pytest.raises(
        DecodeError,
        match=r"must be one of BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP; convert the photo or remove|PDF file; convert",
    ):
        decode(content)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_listed_format_is_opened(kind: str) -> None:
    assert decode(encoded(Image.new("RGB", (4, 3)), kind)).size == (4, 3)


def test_a_jpeg_file_with_several_photos_is_opened() -> None:
    first, second = Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8), (9, 9, 9))
    content = encoded(first, "MPO", save_all=True, append_images=[second])
    assert decode(content).size == (8, 8)


def claims(width: int, height: int) -> bytes:
    """Return a PNG file of a few bytes that declares the given size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(99))), (b"IEND", b""))
    chunks = [struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [14_000, 20_000, 2**31 - 1])
def test_a_photo_that_would_fill_the_ram_is_refused_before_it_is_decoded(side: int) -> None:
    with pytest.raises(
        DecodeError, match=f"{side**2:,} pixels, but the limit is 178,956,970; shrink the photo or remove"
    ):
        decode(claims(side, side))


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MOST_BYTES", 1000)
    (tmp_path / "x.png").write_bytes(bytes(1001))
    with pytest.raises(DecodeError, match="more than 1,000 bytes, the limit; shrink the photo or remove it"):
        decoding.read(tmp_path / "x.png")
    (tmp_path / "x.png").write_bytes(bytes(1000))
    assert len(decoding.read(tmp_path / "x.png")) == 1000
