"""Find photos that look alike: perceptual hashes, and the search for hashes that differ in only a few bits.

The hash is `imagehash.phash` with 16 x 16 frequencies: 256 bits, each of which says whether one frequency in the 64 x
64 gray image is above the median. Two photos of different scenes differ in about 128 bits; a photo that was enlarged or
compressed again differs from the original in a few bits. docs/layouts.md states how often photos that are not alike are
reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from aimlib.datasets.parallel import ordered
from aimlib.datasets.verification.inspection import Hash
from aimlib.errors import UsageError

MOST_BITS = 64
"""Maximum number of bits, out of 256, in which two photos that look alike may differ."""
_SIDE = 16
_BLOCK = 512
"""Number of photos that are compared with all later photos at a time: 512 x 4,096 distances fit into the processor
cache."""
_ACROSS = 4096

_MOST_EDGES = 2_000_000
"""Number of pairs to collect before they are reduced to a minimal set that connects the same photos."""

Edges = npt.NDArray[np.int64]
"""[pairs, 2]: numbers of photos."""


def perceptual_hash() -> Hash:
    """Return the function that hashes photos.

    Raises
    ------
    UsageError: the library `imagehash` is not installed.
    """
    try:
        import imagehash  # noqa: PLC0415 -- an optional extra
    except ImportError as error:
        raise UsageError(
            "near-duplicates need the package imagehash; install it with pip install "
            f"'aim-ablations[near-duplicates]', or verify without them ({error})"
        ) from error

    def hashed(small: Image.Image) -> npt.NDArray[np.uint64]:
        bits = imagehash.phash(small, hash_size=_SIDE).hash
        words: npt.NDArray[np.uint64] = np.packbits(bits.ravel()).view(np.uint64)
        return words

    return hashed


def groups(hashes: npt.NDArray[np.uint64], most: int = MOST_BITS) -> Iterator[list[int]]:
    """Yield each group of similar photos, as a list of numbers; pairs within `most` bits connect the photos of a group.

    Every pair is compared. Two members of a group may differ in more bits if other members connect them.

    Parameters
    ----------
    hashes : [photos, words].
    """
    kept = [np.zeros((0, 2), dtype=np.int64)]
    count = 0
    for edges in ordered(lambda start: _near_of_block(hashes, start, most), range(0, len(hashes), _BLOCK)):
        kept.append(edges)
        count += len(edges)
        if count > _MOST_EDGES:
            kept = [_reduced(np.concatenate(kept))]
            count = len(kept[0])
    members, label = _connected(np.concatenate(kept))
    order = np.argsort(label, kind="stable")
    for group in np.split(members[order], np.flatnonzero(np.diff(label[order])) + 1):
        if len(group):
            yield group.tolist()


def _near_of_block(hashes: npt.NDArray[np.uint64], start: int, most: int) -> Edges:
    """Return pairs that connect each photo in the block at `start` with the later photos that look like it."""
    block = hashes[start : start + _BLOCK]
    parts = []
    for at in range(start, len(hashes), _ACROSS):
        others = hashes[at : at + _ACROSS]
        bits = np.zeros((len(block), len(others)), dtype=np.uint16)
        for word in range(hashes.shape[1]):
            bits += np.bitwise_count(block[:, word, None] ^ others[None, :, word])
        pairs = np.argwhere(bits <= most) + np.array([start, at])
        pairs = pairs[pairs[:, 1] > pairs[:, 0]]
        parts.append(pairs if len(pairs) < _BLOCK + _ACROSS else _reduced(pairs))
    return np.concatenate(parts)


def _reduced(edges: Edges) -> Edges:
    """Return a minimal set of pairs that connects the same photos."""
    members, label = _connected(edges)
    _, first = np.unique(label, return_index=True)
    pairs: Edges = np.stack([members[first][label], members], axis=1)
    different: Edges = pairs[pairs[:, 0] != pairs[:, 1]]
    return different


def _connected(edges: Edges) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the photos that occur in the pairs, in ascending order, and the number of each photo's group."""
    from scipy.sparse import coo_array  # noqa: PLC0415 -- only for this
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    members, ends = np.unique(edges, return_inverse=True)
    ends = ends.reshape(edges.shape)
    shape = (len(members), len(members))
    graph = coo_array((np.ones(len(edges), dtype=np.int8), (ends[:, 0], ends[:, 1])), shape=shape)
    return members, connected_components(graph, directed=False)[1].astype(np.int64)


def stacked(hashes: Sequence[npt.NDArray[np.uint64]]) -> npt.NDArray[np.uint64]:
    """Return hashes as [photos, words]."""
    return np.stack(hashes) if hashes else np.zeros((0, _SIDE * _SIDE // 64), dtype=np.uint64)
