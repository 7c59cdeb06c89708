"""Photos that look alike: perceptual hashes, and the search for hashes that differ in few bits.

The hash is `imagehash.phash` with 16 x 16 frequencies: 256 bits, which say whether a frequency of the grey image of
64 x 64 pixels is above the median. Two photos of different scenes differ in about 128 bits; a photo that was compressed
again or enlarged differs in a few. docs/data.md states how often photos that are not alike are found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from aimlib.datasets.parallel import ordered
from aimlib.datasets.verification.inspection import Hash

MOST_BITS = 64
"""Bits of 256 in which two photos that look alike may differ."""
_SIDE = 16
_BLOCK = 512
"""Photos that are compared with all later ones at a time: 512 x 4,096 distances fit into the processor's cache."""
_ACROSS = 4096

Pairs = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""First and second members of pairs, and the number of bits in which they differ."""


def perceptual_hash() -> Hash | None:
    """Return the function that hashes photos, or None if its library is not installed."""
    try:
        import imagehash  # noqa: PLC0415 -- an optional extra
    except ImportError:
        return None

    def hashed(small: Image.Image) -> npt.NDArray[np.uint64]:
        bits = imagehash.phash(small, hash_size=_SIDE).hash
        words: npt.NDArray[np.uint64] = np.packbits(bits.ravel()).view(np.uint64)
        return words

    return hashed


def near_pairs(hashes: npt.NDArray[np.uint64], most: int = MOST_BITS) -> Pairs:
    """Return all pairs of hashes that differ in at most `most` bits.

    Every pair is compared: 20,580 photos take about a second on two cores, and 100,000 about twenty.

    Parameters
    ----------
    hashes : [photos, words].
    """
    starts = range(0, len(hashes), _BLOCK)
    found = list(ordered(lambda start: _near_of_block(hashes, start, most), starts))
    if not found:
        none = np.zeros(0, dtype=np.int64)
        return none, none, none
    first, second, bits = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return first, second, bits


def _near_of_block(hashes: npt.NDArray[np.uint64], start: int, most: int) -> Pairs:
    """Return the pairs whose first member is in the block that begins at `start`."""
    block = hashes[start : start + _BLOCK]
    parts: list[Pairs] = []
    for at in range(start, len(hashes), _ACROSS):
        others = hashes[at : at + _ACROSS]
        bits = np.zeros((len(block), len(others)), dtype=np.uint16)
        for word in range(hashes.shape[1]):
            bits += np.bitwise_count(block[:, word, None] ^ others[None, :, word])
        rows, columns = np.nonzero(bits <= most)
        first, second = rows + start, columns + at
        later = second > first
        parts.append((first[later], second[later], bits[rows[later], columns[later]].astype(np.int64)))
    first, second, bits_found = (np.concatenate(each) for each in zip(*parts, strict=True))
    return first, second, bits_found


def groups(count: int, pairs: Pairs) -> Iterator[tuple[list[int], int, int]]:
    """Yield the members of each group of photos that pairs connect, and the least and most bits of its pairs.

    Two members of a group may differ in more bits, if others lie between them.
    """
    from scipy.sparse import coo_array  # noqa: PLC0415 -- only for this
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    first, second, bits = pairs
    if not len(first):
        return
    graph = coo_array((np.ones(len(first), dtype=np.int8), (first, second)), shape=(count, count))
    _, label = connected_components(graph, directed=False)
    for number in np.unique(label[first]):
        inside = bits[label[first] == number]
        yield np.flatnonzero(label == number).tolist(), int(inside.min()), int(inside.max())


def stacked(hashes: Sequence[npt.NDArray[np.uint64]]) -> npt.NDArray[np.uint64]:
    """Return hashes as [photos, words]."""
    return np.stack(hashes) if hashes else np.zeros((0, _SIDE * _SIDE // 64), dtype=np.uint64)
