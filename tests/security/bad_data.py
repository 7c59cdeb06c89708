"""Kinds of bad data: photos, photo folders, other image files, and archives."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from bad_input_kinds import Kind
from victims import Victim


def photos(victim: Victim, change: Callable[[Path], object] | None = None) -> None:
    """Write photos of two classes for each split, and then call `change` with their folder."""
    from PIL import Image

    root = victim.folder / "data" / "image_folder"
    for split in ("train", "test"):
        for number, label in enumerate(("cat", "dog")):
            folder = root / split / label
            folder.mkdir(parents=True)
            for photo in range(2):
                Image.new("RGB", (9, 9), (20 * number, 9 * photo, len(split))).save(folder / f"{photo}.png")
    if change is not None:
        change(root)


def data(change: Callable[[Path], object]) -> Callable[[Victim, pytest.MonkeyPatch], object]:
    return lambda victim, patch: photos(victim, change)


def photo_of(content: bytes) -> Callable[[Victim, pytest.MonkeyPatch], object]:
    return data(lambda root: (root / "train/cat/0.png").write_bytes(content))


def emptied(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def idx(name: str, content: bytes) -> Callable[[Victim, pytest.MonkeyPatch], object]:
    def arrange(victim: Victim, patch: pytest.MonkeyPatch) -> None:
        root = victim.folder / "data" / "fashion_mnist"
        root.mkdir(parents=True)
        for each in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
            (root / f"{each}-ubyte.gz").write_bytes(content if each.startswith(name) else gzip.compress(b""))

    return arrange


def saved(kind: str, mode: str = "RGB") -> bytes:
    """Return a photo in the given format."""
    from PIL import Image

    out = io.BytesIO()
    Image.new(mode, (40, 40)).save(out, kind)
    return out.getvalue()


FOLDER = "data prepare image_folder --size 8 --set classes=2"
FASHION = "data prepare fashion_mnist"
IHDR = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
BOMB = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + IHDR + struct.pack(">I", zlib.crc32(IHDR)) + saved("PNG")[33:]
PIXELS = "900,000,000 pixels"

PHOTO = "train/cat/0.png"


def damaged() -> bytes:
    content = bytearray(saved("PNG"))
    content[content.index(b"IDAT") + 8] ^= 0xFF
    return bytes(content)


def text_bomb() -> bytes:
    """Return a PNG with a compressed text that expands to 200 MB."""
    text = b"zTXt" + b"Comment\0\0" + zlib.compress(bytes(200_000_000), 9)
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    photo = saved("PNG")
    start = photo.index(b"IDAT") - 4
    return photo[:start] + chunk + photo[start:]


def special(kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo("evil")
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def archive(name: str, cause: str, *members: tarfile.TarInfo, keep: int | None = None) -> Kind:
    """Return a kind of archive with these members, truncated to at most `keep` bytes."""

    def unpacked(victim: Victim, patch: pytest.MonkeyPatch) -> None:
        from aimlib.datasets.extraction import Limits, unpack

        path = victim.folder / "photos.tar"
        with tarfile.open(path, "w") as tar:
            for member in members:
                tar.addfile(member)
        path.write_bytes(path.read_bytes()[:keep])
        unpack(path, victim.folder / "unpacked", Limits(members=10))

    return Kind(name, unpacked, "photos.tar", cause, "fetch it again")


KINDS = [
    Kind(
        "photos that are missing",
        FOLDER,
        "image_folder/train",
        "is missing",
        "put the photos in",
        lambda victim, patch: None,
    ),
    Kind("an empty photo", FOLDER, "train/cat/0.png", "the file is empty", "fetch them again, remove", photo_of(b"")),
    Kind(
        "text in place of a photo",
        FOLDER,
        "train/cat/0.png",
        "format cannot be identified",
        "convert the photo or remove it",
        photo_of(b"text"),
    ),
    Kind(
        "a photo that an external program would open",
        FOLDER,
        "train/cat/0.png",
        "format cannot be identified",
        "must be one of BMP, GIF",
        photo_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
    ),
    Kind(
        "a class without photos",
        FOLDER,
        "no train photos of cat",
        "in ",
        "add some",
        data(lambda root: emptied(root / "train/cat")),
    ),
    Kind(
        "a wrong number of classes",
        FOLDER,
        "image_folder",
        "3 classes found",
        "set data.classes=3",
        data(lambda root: [(root / split / "dog").rename(root / split / "emu") for split in ("train",)]),
    ),
    Kind(
        "a damaged compressed file",
        FASHION,
        "train-images-idx3-ubyte.gz",
        "cannot be read",
        "fetch it again",
        idx("train-images", b"no gzip"),
    ),
    Kind(
        "a different file in place of images",
        FASHION,
        "train-images-idx3-ubyte.gz",
        "not an IDX file",
        "fetch it again",
        idx("train-images", gzip.compress(b"text of a page")),
    ),
    Kind(
        "a label file in place of images",
        FASHION,
        "train-images-idx3-ubyte.gz",
        "with 1 dimensions instead of 0x08 with 3",
        "use the right file",
        idx("train-images", gzip.compress(b"\0\0\x08\x01" + b"\0" * 9)),
    ),
    Kind(
        "truncated image data",
        FASHION,
        "train-images-idx3-ubyte.gz",
        "truncated or damaged",
        "fetch it again",
        idx("train-images", gzip.compress(b"\0\0\x08\x03" + b"\0\0\0\x09" * 3)),
    ),
    Kind(
        "a data set that was not downloaded",
        "data prepare stanford_dogs",
        "stanford_dogs/Images",
        "is missing",
        "ablate data download stanford_dogs",
    ),
    Kind(
        "a truncated photo", FOLDER, PHOTO, "Truncated File Read", "fetch|convert|remove", photo_of(saved("JPEG")[:400])
    ),
    Kind(
        "a photo with damaged data", FOLDER, PHOTO, "broken|CRC|incorrect", "fetch|convert|remove", photo_of(damaged())
    ),
    Kind("a photo with billions of pixels", FOLDER, PHOTO, PIXELS, "shrink the photo or remove it", photo_of(BOMB)),
    Kind(
        "a compressed text in a photo that expands enormously",
        FOLDER,
        PHOTO,
        "too large",
        "fetch|convert|remove",
        photo_of(text_bomb()),
    ),
    Kind(
        "a photo whose pixel values have no fixed range",
        FOLDER,
        PHOTO,
        "floating-point",
        "fetch|convert|remove",
        photo_of(saved("TIFF", "F")),
    ),
    Kind(
        "a photo whose name is not UTF-8",
        FOLDER,
        "train/cat/caf",
        "not UTF-8",
        "rename the files",
        data(lambda root: (root / "train/cat/0.png").rename(root / "train/cat" / os.fsdecode(b"caf\xe9.png"))),
    ),
    archive("an archive path that leads outside the folder", "leads out of the folder", tarfile.TarInfo("../evil")),
    archive("an archive path that leads outside the folder", "leads out of the folder", tarfile.TarInfo("/tmp/evil")),
    archive("an archive with a link", "not a plain file or folder", special(tarfile.SYMTYPE)),
    archive("a special file in an archive", "not a plain file or folder", special(tarfile.CHRTYPE)),
    archive("a special file in an archive", "not a plain file or folder", special(tarfile.FIFOTYPE)),
    archive(
        "an archive that contains a file twice",
        "is in the archive twice",
        tarfile.TarInfo("a.jpg"),
        tarfile.TarInfo("A.JPG"),
    ),
    archive(
        "an archive with too many files",
        "more than 10 members",
        *(tarfile.TarInfo(str(number)) for number in range(11)),
    ),
    archive("a truncated archive", "a damaged or incomplete archive", tarfile.TarInfo("a"), keep=700),
]
