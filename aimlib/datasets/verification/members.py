"""The photos in a listing, with their split and class."""

from __future__ import annotations

from dataclasses import dataclass

from aimlib.datasets.listing import PhotoListing


@dataclass(frozen=True)
class Member:
    """A photo in a listing: its path below the root, its split, and the name of its class."""

    path: str
    split: str
    class_name: str


def members_of(listing: PhotoListing) -> list[Member]:
    """Return the photos in a listing, training photos first; a photo that is listed twice appears twice."""
    return [
        Member(path, name, listing.classes[label])
        for name, split in listing.splits.items()
        for path, label in zip(split.paths, split.labels.tolist(), strict=True)
    ]
