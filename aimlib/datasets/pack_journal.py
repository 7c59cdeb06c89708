"""The journal of a build: which parts of a packed store are safely on the disk, so an interrupted build can continue.

Each line describes one block of photos. The line contains a checksum of the block's pixels, and facts that are not in
the pixel files: the hash of each photo's bytes, each photo's shape, and why photos are broken or were decoded by
Pillow. A line is written only when the block's pixels are on the disk. Every line starts with a checksum of its own
text and all lines before it. If a line is incomplete, damaged, out of order or from a different build, that line and
all later lines are ignored.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import xxhash

from aimlib.paths import share

JOURNAL = "journal"
_VERSION = 1
_MOST_BYTES = 1 << 28
"""Maximum size of a line in bytes; one line can describe hundreds of thousands of photos."""


@dataclass
class Block:
    """Consecutive photos of one split.

    Attributes
    ----------
    split : name of the split.
    photos : number of listed photos, including broken ones.
    bytes : number of bytes of pixels.
    checksum : XXH3 hash of the pixels, in hexadecimal digits.
    content : the SHA-256 of every photo's bytes, for all photos that could be read, concatenated as hexadecimal digits.
    shapes : [height, width] of every photo that was decoded.
    broken : why each broken photo cannot be decoded, by path.
    by_pillow : for each photo that Pillow decoded instead, why the recipe's decoder did not, by path.
    """

    split: str
    photos: int = 0
    bytes: int = 0
    checksum: str = ""
    content: str = ""
    shapes: list[list[int]] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    by_pillow: dict[str, str] = field(default_factory=dict)


class Place(NamedTuple):
    """The end of a line in a journal: the checksum of all lines so far, and their length in bytes."""

    chain: str
    end: int


class Journal:
    """The journal in the folder of an unfinished build.

    Attributes
    ----------
    path : path of the file.
    """

    def __init__(self, folder: Path, build: dict[str, Any]) -> None:
        """Describe the journal of a build.

        Parameters
        ----------
        folder : folder of the build.
        build : description of the build, plain JSON; a journal with a different description is not continued.
        """
        self.path = folder / JOURNAL
        self._head = json.dumps({"journal": _VERSION, **build}, sort_keys=True)
        self._place = Place("", 0)

    def is_of_this_build(self) -> bool:
        """Return whether the file exists and its first line describes this build."""
        return next((text for text, _ in self._lines()), None) == self._head

    def begin(self) -> None:
        """Start a new file without blocks; an existing file is overwritten.

        Raises
        ------
        OSError: the file cannot be written.
        """
        with self.path.open("wb") as file:
            self._write(file, self._head, Place("", 0))
        share(self.path)

    def blocks(self) -> Iterator[tuple[Block, Place]]:
        """Yield every block whose line can be trusted, and the place after that line; the first line is not a block."""
        for number, (text, place) in enumerate(self._lines()):
            if number:
                yield Block(**json.loads(text)), place
            else:
                self._place = place

    def keep_until(self, place: Place) -> None:
        """Continue after this place; the next `append` removes everything that follows it."""
        self._place = place

    def append(self, block: Block) -> None:
        """Add a block whose pixels are on the disk.

        Raises
        ------
        OSError: the file cannot be written.
        """
        with self.path.open("r+b") as file:
            file.truncate(self._place.end)
            file.seek(self._place.end)
            self._write(file, json.dumps(asdict(block), separators=(",", ":")), self._place)

    def _write(self, file: IO[bytes], text: str, after: Place) -> None:
        chain = _chained(after.chain, text.encode())
        line = f"{chain} {text}\n".encode()
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
        self._place = Place(chain, after.end + len(line))

    def _lines(self) -> Iterator[tuple[str, Place]]:
        """Yield each line's text and the place after the line, up to the first line that cannot be trusted."""
        place = Place("", 0)
        if not self.path.is_file():  # if the path were a pipe, opening it would block
            return
        with suppress(OSError), self.path.open("rb") as file:
            while line := file.readline(_MOST_BYTES):
                chain, _, text = line.rstrip(b"\n").partition(b" ")
                if not line.endswith(b"\n") or chain != _chained(place.chain, text).encode():
                    return
                place = Place(chain.decode(), place.end + len(line))
                yield text.decode(), place


def _chained(before: str, text: bytes) -> str:
    return xxhash.xxh3_128_hexdigest(before.encode() + text)
