"""Find groups of photos with the same pixels, and groups of photos that look alike: one finding per group."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from aimlib.datasets.photo_tree import listed, shown
from aimlib.datasets.verification import near
from aimlib.datasets.verification.findings import Finding, Severity
from aimlib.datasets.verification.inspection import Photo
from aimlib.datasets.verification.members import Member
from aimlib.errors import counted

PLACEHOLDER = 10
"""Number of copies of one photo from which on they are an error, even within one class and one split."""
_KEPT_FIRST = {"test": 0, "validation": 1}
"""Rank of a split when one photo in a group is kept: test photos first, then validation photos, then the others."""
_MOST_CLASSES = 5


def duplicates(photos: Sequence[Photo], members: Sequence[Member]) -> Iterator[Finding]:
    """Yield a finding for each group of photos with the same pixels.

    The finding is an error if the photos are in several splits or classes, or if there are at least `PLACEHOLDER`
    copies.
    """
    for group in _same_pixels(photos):
        yield _duplicate([members[index] for index in group])


def near_duplicates(photos: Sequence[Photo], members: Sequence[Member]) -> Iterator[Finding]:
    """Yield a remark for each group of photos that look alike; of photos with the same pixels, only one is compared."""
    copies = {group[0]: group for group in _same_pixels(photos)}
    later = {index for group in copies.values() for index in group[1:]}
    compared = [number for number, photo in enumerate(photos) if photo.hash is not None and number not in later]
    hashes = near.stacked([found for number in compared if (found := photos[number].hash) is not None])
    for group in near.groups(hashes):
        alike = [compared[index] for index in group]
        every = [members[copy] for number in alike for copy in copies.get(number, [number])]
        yield _near_duplicate(every, len(every) - len(alike))


def _same_pixels(photos: Sequence[Photo]) -> list[list[int]]:
    found: defaultdict[bytes, list[int]] = defaultdict(list)
    for number, photo in enumerate(photos):
        if photo.digest:
            found[photo.digest].append(number)
    return [group for group in found.values() if len(group) > 1]


def _duplicate(found: Sequence[Member]) -> Finding:
    group = _ordered(found)
    splits, classes = _counts(group)
    severity: Severity = "error" if len(splits) > 1 or len(classes) > 1 or len(group) >= PLACEHOLDER else "remark"
    what = f"{len(group):,} copies of one photo ({_where(splits, classes)}); {_remedy(splits, classes)}"
    return _finding("duplicate", group, what, "the same pixels as", severity)


def _near_duplicate(found: Sequence[Member], copies: int) -> Finding:
    group = _ordered(found)
    splits, classes = _counts(group)
    further = f", {counted(copies, 'identical copy', 'identical copies')} among them" if copies else ""
    what = (
        f"{len(group):,} photos look alike ({_where(splits, classes)}{further}); look at them (`--sheet FILE`), "
        f"and exclude all but one copy of each photo"
    )
    return _finding("near_duplicate", group, what, "looks like", "remark")


def _finding(kind: str, group: Sequence[Member], what: str, relation: str, severity: Severity) -> Finding:
    """Return a finding that excludes all photos in a group but the first, or all of them if their classes differ."""
    files = tuple(member.path for member in group)
    _, classes = _counts(group)
    if len(classes) > 1:
        excluded, reason = files, f"{len(files):,} photos in {len(classes):,} classes, such as {shown(files[0])}"
    else:
        excluded, reason = files[1:], f"{relation} {shown(files[0])}"
    return Finding(
        "duplicate" if kind == "duplicate" else "near_duplicate",
        files[0],
        f"{what}: {listed(files)}",
        files,
        severity,
        excluded,
        f"{kind}: {reason}",
    )


def _remedy(splits: Counter[str], classes: Counter[str]) -> str:
    if len(classes) > 1:
        return "no label is certain: keep the photos in the right class, or exclude all"
    if len(splits) > 1:
        return "a photo is in more than one split: keep one copy"
    return "the photo counts several times: keep one copy"


def _ordered(group: Sequence[Member]) -> list[Member]:
    """Return the photos in a group in the order in which they are considered for keeping."""
    return sorted(group, key=lambda member: (_KEPT_FIRST.get(member.split, len(_KEPT_FIRST)), member.path))


def _counts(group: Sequence[Member]) -> tuple[Counter[str], Counter[str]]:
    return Counter(member.split for member in group), Counter(member.class_name for member in group)


def _where(splits: Counter[str], classes: Counter[str]) -> str:
    """Return a text with the splits and classes of a group's members."""
    first = "across splits: " if len(splits) > 1 else "within one split: "
    of_splits = ", ".join(f"{count:,} {name}" for name, count in sorted(splits.items()))
    most = [f"{count:,} {shown(name)}" for name, count in classes.most_common(_MOST_CLASSES)]
    more = len(classes) - _MOST_CLASSES
    second = "across classes: " if len(classes) > 1 else "one class: "
    further = f" and {counted(more, 'more class', 'more classes')}" if more > 0 else ""
    return f"{first}{of_splits}; {second}{', '.join(most)}{further}"
