"""Read IDX files, the format of MNIST and its successors (Y. LeCun, yann.lecun.com/exdb/mnist)."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aimlib.errors import DataError

UNSIGNED_BYTES = 0x08
MOST_BYTES = 2_000_000_000
"""Maximum number of decompressed bytes in a file; even a small file can decompress to any size."""


def read_idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """Return the array of unsigned bytes in an IDX file.

    Parameters
    ----------
    path : the file; it is decompressed with gzip if its name ends in .gz.
    dimensions : the expected number of dimensions: 3 for images [images, rows, columns], 1 for labels.

    Raises
    ------
    DataError: the file is unreadable, damaged, truncated or too long, or is not an IDX file with that many dimensions.
    """
    data = _content(path)
    if len(data) < 4 or data[:2] != b"\0\0":
        raise DataError(f"{path}: not an IDX file: it starts with {data[:4].hex()}; fetch it again")
    if data[2] != UNSIGNED_BYTES or data[3] != dimensions:
        raise DataError(
            f"{path}: IDX type 0x{data[2]:02x} with {data[3]} dimensions instead of 0x08 with {dimensions}; "
            f"use the right file"
        )
    start = 4 + 4 * dimensions
    shape = tuple(np.frombuffer(data[4:start], dtype=">u4").tolist()) if len(data) >= start else ()
    if len(shape) != dimensions or len(data) - start != math.prod(shape):
        raise DataError(
            f"{path}: {len(data):,} bytes do not match the file's own dimensions {shape}: truncated or damaged; "
            f"fetch it again"
        )
    return np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape)


def _content(path: Path) -> bytes:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data: bytes = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}; fetch it again") from error
    if len(data) > MOST_BYTES:
        raise DataError(f"{path}: more than {MOST_BYTES:,} bytes when decompressed, the limit; use the right file")
    return data
