"""Checks of the data on disk; they report everything that is wrong or worth knowing, with the files affected."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from aimlib.datasets.base import DataSet, DatasetPlugin
from aimlib.datasets.exclusions import exclude, read_exclusions
from aimlib.datasets.fingerprint import with_fingerprint
from aimlib.datasets.listing import PhotoListing
from aimlib.datasets.manifest import Manifest, read_manifest
from aimlib.datasets.packed import Progress, pack_folder
from aimlib.datasets.parallel import ordered
from aimlib.datasets.photo_tree import Oddity
from aimlib.datasets.photos import PhotoPlugin
from aimlib.datasets.verification import counts, groups, traits
from aimlib.datasets.verification.findings import Finding, Kind, Severity
from aimlib.datasets.verification.inspection import Hash, Photo, inspect
from aimlib.datasets.verification.members import Member, members_of
from aimlib.datasets.verification.near import perceptual_hash
from aimlib.errors import DataError, UsageError

__all__ = ["Finding", "Kind", "verify"]


def verify(plugin: DatasetPlugin, progress: Progress | None = None, *, near_duplicates: bool = False) -> list[Finding]:
    """Return the findings about the data of `plugin`, with errors first; an empty list if there is nothing to report.

    All photos, except those that the configuration excludes, are read and fully decoded. Photos with the same pixels
    are found within and across splits and classes. If the photos are already packed, the packed files are read and
    compared with their hashes. Nothing is written.

    Parameters
    ----------
    plugin : a data set with its configuration.
    progress : called as progress("verifying", photos done, total photos).
    near_duplicates : also search for photos that look alike, using perceptual hashes.

    Raises
    ------
    UsageError: near-duplicates are requested, but the data has no photo files, or `imagehash` is not installed.
    """
    if not isinstance(plugin, PhotoPlugin):
        if near_duplicates:
            raise UsageError(
                f"{plugin.config.name}: has no photo files, so a search for near-duplicates is not possible"
            )
        found = list(_of_arrays(plugin))
    else:
        found = list(_of_photos(plugin, progress, perceptual_hash() if near_duplicates else None))
    return sorted(found, key=lambda finding: not finding.is_error)


def _of_photos(plugin: PhotoPlugin, progress: Progress | None, perceptual: Hash | None) -> Iterator[Finding]:
    try:
        survey = plugin.survey()
    except DataError as error:
        yield Finding("unusable", plugin.config.name, str(error))
        return
    listing = survey.listing
    if plugin.config.exclude is not None:
        try:
            listing = exclude(listing, read_exclusions(plugin.config.exclude))
        except DataError as error:
            yield Finding("exclusion", plugin.config.exclude, str(error))
    yield from counts.counts(plugin, listing)
    yield from counts.membership(survey.listing)
    yield from map(_finding, survey.labels)
    if survey.oddities is None:
        yield from counts.files(survey.listing, listing)
    else:
        yield from map(_finding, survey.oddities)
    yield from _contents(plugin, listing, progress, perceptual)


def _finding(oddity: Oddity) -> Finding:
    severity: Severity = "error" if oddity.refused or oddity.grave else "remark"
    return Finding(oddity.kind, oddity.path, oddity.text, (oddity.path,), severity)


def _contents(
    plugin: PhotoPlugin, listing: PhotoListing, progress: Progress | None, perceptual: Hash | None
) -> Iterator[Finding]:
    """Read every photo once, and yield findings about its file, its pixels, and its similarity to other photos."""
    members = {member.path: member for member in reversed(members_of(listing))}
    photos: list[Photo] = []
    recipe = plugin.recipe()
    for photo in ordered(lambda path: inspect(listing.root, path, perceptual, recipe), members):
        photos.append(photo)
        if progress is not None:
            progress("verifying", len(photos), len(members))
    yield from traits.problems(photos)
    yield from traits.damaged(photos)
    yield from groups.duplicates(photos, list(members.values()))
    if perceptual is not None:
        yield from groups.near_duplicates(photos, list(members.values()))
    yield from traits.traits(photos, plugin.config.size)
    yield from _packs(plugin, listing, {photo.path: photo.content for photo in photos})


def _of_arrays(plugin: DatasetPlugin) -> Iterator[Finding]:
    """Check the arrays in a data set that does not consist of photo files."""
    name = plugin.config.name
    try:
        data = plugin.load()
    except DataError as error:
        yield Finding("unusable", name, str(error))
        return
    shape = plugin.shape()
    right = (shape.height, shape.width, shape.channels)
    for split, images in data.splits().items():
        if images.pixels.shape[1:] != right:
            yield Finding("unusable", name, f"{split} images have shape {images.pixels.shape[1:]} instead of {right}")
    for split, images in data.splits().items():
        numbers = np.bincount(images.labels, minlength=shape.classes)
        if len(numbers) != shape.classes or not numbers.all() or len(data.classes) != shape.classes:
            yield Finding("count", name, f"{split} images per class: {numbers.tolist()}")
    if with_fingerprint(data.train, data.test, data.classes, data.validation).fingerprint != data.fingerprint:
        yield Finding("unusable", name, "the fingerprint does not match the images")
    if plugin.has_pixels:
        yield from _same_arrays(data)


def _same_arrays(data: DataSet) -> Iterator[Finding]:
    """Yield a finding for each group of images with the same pixels; images are identified by split and name."""
    photos, members = [], []
    for split, images in data.splits().items():
        for number, label in enumerate(images.labels.tolist()):
            path = f"{split}/{images.names[number]}"
            photos.append(Photo(path, digest=hashlib.sha256(images.pixels[number].tobytes()).digest()))
            members.append(Member(path, split, data.classes[label]))
    for finding in groups.duplicates(photos, members):
        yield replace(finding, severity="remark")


def _packs(plugin: PhotoPlugin, listing: PhotoListing, contents: Mapping[str, bytes]) -> Iterator[Finding]:
    """Check the store packed with this plugin's recipe, if it exists.

    Parameters
    ----------
    contents : SHA-256 of every photo's bytes, by its path.
    """
    folder = pack_folder(listing, plugin.recipe(), plugin.config.cache)
    manifest = read_manifest(folder)
    if manifest is None:
        return
    for damage in manifest.damages(folder):
        yield Finding("pack", str(folder), f"{damage}; remove the folder; the photos will then be packed again")
    if _is_of_others(manifest, listing, contents):
        text = (
            "the content of photos has changed since they were packed, but their names, sizes and times have not, "
            "so the pack is still used; remove the folder; the photos will then be packed again"
        )
        yield Finding("pack", str(folder), text)


def _is_of_others(manifest: Manifest, listing: PhotoListing, contents: Mapping[str, bytes]) -> bool:
    """Return whether a store that counts as up to date was packed from photos with different content."""
    paths = listing.paths()
    if manifest.listing != listing.content() or not all(contents.get(path) for path in paths):
        return False
    content = hashlib.sha256(b"".join(contents[path] for path in paths)).hexdigest()
    return content != manifest.content and manifest.stamp == listing.stamp()
