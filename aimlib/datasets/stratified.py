"""Fixed stratified choices of images: the same in every run, on every machine and with every version of numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from aimlib.errors import DataError
from aimlib.seeding import seed_for, uniforms

Indices = npt.NDArray[np.int64]


def choose(labels: npt.NDArray[np.int64], count: int, stream: str, what: str) -> tuple[Indices, Indices]:
    """Choose `count` images, each class in proportion to its size (largest remainder method).

    The order in which the images of a class are chosen does not depend on `count`.

    Parameters
    ----------
    labels : [images], class numbers from 0.
    count : number of images to choose.
    stream : name of the random stream.
    what : name of the option that sets `count`, for the message.

    Returns
    -------
    Numbers of the chosen images and of the others, both ascending.

    Raises
    ------
    DataError: `count` exceeds the number of images, or leaves a class without images.
    """
    sizes = np.bincount(labels)
    if not len(sizes) <= count <= len(labels):
        raise DataError(
            f"{what}: {count} is not possible, because there are {len(labels)} images of {len(sizes)} classes; set it "
            f"to a number from {len(sizes)} to {len(labels)}"
        )
    shares = _shares(sizes, count)
    draws = uniforms(np.array([seed_for(0, stream)], dtype=np.uint64), len(labels))[0]
    chosen = np.zeros(len(labels), dtype=bool)
    for label, share in enumerate(shares):
        members = np.flatnonzero(labels == label)
        chosen[members[np.argsort(draws[members], kind="stable")[:share]]] = True
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)


def _shares(sizes: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Return the number of images to choose from each class: at least one, and at most the size of the class."""
    total = int(sizes.sum())
    shares = sizes * count // total
    remainders = sizes * count % total
    order = np.argsort(-remainders, kind="stable")
    shares[order[: count - int(shares.sum())]] += 1
    while (shares == 0).any():
        shares[np.argmax(shares == 0)] += 1
        shares[np.argmax(shares)] -= 1
    return shares
