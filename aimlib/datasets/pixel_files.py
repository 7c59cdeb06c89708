"""The pixel files of a packed store, which are written block by block and continued after an interruption."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import xxhash

from aimlib.datasets.manifest import BLOCK, PackedFile
from aimlib.datasets.pack_journal import Block, Journal
from aimlib.datasets.recipe import Pixels
from aimlib.paths import share

Progress = Callable[[str, int, int], None]
"""A function that is called as progress(name of the task, amount done, total amount)."""

BLOCK_PHOTOS = 256
"""Maximum number of photos in a block; after an interruption, at most this many are decoded again."""
BLOCK_BYTES = 1 << 26
"""Number of bytes of pixels at which a block ends before it contains `BLOCK_PHOTOS` photos."""


@dataclass(frozen=True)
class Decoded:
    """One photo.

    Attributes
    ----------
    content : SHA-256 of the file's bytes.
    pixels : the photo's pixels; None if it cannot be decoded.
    cause : why the photo cannot be decoded, or why the recipe's decoder did not decode it.
    """

    path: str
    content: bytes
    pixels: Pixels | None
    cause: str = ""


@dataclass
class Tally:
    """Running totals while photos are packed."""

    progress: Progress | None
    total: int
    done: int = 0
    content: Any = field(default_factory=hashlib.sha256)
    broken: dict[str, str] = field(default_factory=dict)
    by_pillow: dict[str, str] = field(default_factory=dict)

    def add(self, photo: Decoded) -> None:
        """Add `photo` to the totals."""
        self.content.update(photo.content)
        if photo.pixels is None:
            self.broken[photo.path] = photo.cause
        elif photo.cause:
            self.by_pillow[photo.path] = photo.cause
        self._advance(1)

    def add_block(self, block: Block) -> None:
        """Add the photos in a block that was packed before."""
        self.content.update(bytes.fromhex(block.content))
        self.broken |= block.broken
        self.by_pillow |= block.by_pillow
        self._advance(block.photos)

    def _advance(self, photos: int) -> None:
        self.done += photos
        if self.progress is not None:
            self.progress("packing", self.done, self.total)


class SplitFile:
    """The file with one split's pixels while it is being written.

    Attributes
    ----------
    path : path of the file.
    bytes : number of bytes written.
    photos : number of photos done, including broken ones.
    shapes : height and width of every photo that was decoded, one after another.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.bytes, self.photos = path, 0, 0
        self.shapes = array("I")
        self._sha256, self._checksum = hashlib.sha256(), xxhash.xxh3_128()

    def checksum(self) -> str:
        """Return the XXH3 hash of what has been written, so that the file can be checked."""
        return self._checksum.hexdigest()

    def shapes_of_photos(self) -> list[list[int]]:
        """Return [height, width] of every decoded photo; equal shapes are the same list object, to save RAM."""
        known: dict[tuple[int, int], list[int]] = {}
        pairs = zip(self.shapes[::2], self.shapes[1::2], strict=True)
        return [known.setdefault(pair, list(pair)) for pair in pairs]

    def take(self, block: Block) -> bool:
        """Continue after a block that was written earlier and return True; if the block is damaged, return False."""
        sha256, whole, checksum = self._sha256.copy(), self._checksum.copy(), xxhash.xxh3_128()
        with suppress(OSError), self.path.open("rb") as file:
            file.seek(self.bytes)
            left = block.bytes
            while left and (data := file.read(min(left, BLOCK))):
                for digest in (sha256, whole, checksum):
                    digest.update(data)
                left -= len(data)
        if checksum.hexdigest() != block.checksum:
            return False
        self._sha256, self._checksum = sha256, whole
        self.bytes += block.bytes
        self.photos += block.photos
        self.shapes.extend(side for shape in block.shapes for side in shape)
        return True

    def write(self, photos: Iterable[Decoded], tally: Tally, journal: Journal) -> PackedFile:
        """Write the pixels of all remaining photos in order.

        Raises
        ------
        OSError: the pixels cannot be written.
        """
        with self.path.open("ab") as file:  # with a memory map, a full disk would kill the process instead of raising
            file.truncate(self.bytes)
            for block in self._blocks(file, photos, tally):
                file.flush()
                os.fsync(file.fileno())
                journal.append(block)
        share(self.path)
        return PackedFile(bytes=self.bytes, sha256=self._sha256.hexdigest())

    def _blocks(self, file: IO[bytes], photos: Iterable[Decoded], tally: Tally) -> Iterator[Block]:
        """Yield each block once its pixels have been passed to the file."""
        block, checksum = Block(self.path.stem), xxhash.xxh3_128()
        for photo in photos:
            tally.add(photo)
            data = _noted(block, photo)
            for digest in (self._sha256, self._checksum, checksum):
                digest.update(data)
            self.bytes += file.write(data)
            self.photos += 1
            if block.photos >= BLOCK_PHOTOS or block.bytes >= BLOCK_BYTES:
                yield self._finished(block, checksum.hexdigest())
                block, checksum = Block(self.path.stem), xxhash.xxh3_128()
        if block.photos:
            yield self._finished(block, checksum.hexdigest())

    def _finished(self, block: Block, checksum: str) -> Block:
        self.shapes.extend(side for shape in block.shapes for side in shape)
        return replace(block, checksum=checksum)


def _noted(block: Block, photo: Decoded) -> bytes:
    """Add a photo to a block; return the photo's pixels, an empty array if it is broken."""
    block.photos += 1
    block.content += photo.content.hex()
    if photo.pixels is None:
        block.broken[photo.path] = photo.cause
        return b""
    if photo.cause:
        block.by_pillow[photo.path] = photo.cause
    block.shapes.append(list(photo.pixels.shape[:2]))
    data = photo.pixels.tobytes()
    block.bytes += len(data)
    return data
