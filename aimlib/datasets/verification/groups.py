"""Groups of photos with the same pixels, and of photos that look alike: one finding per group."""

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
"""Copies of one photo from which they are an error also within one class and one split."""


def duplicates(photos: Sequence[Photo], members: Sequence[Member]) -> Iterator[Finding]:
    """Yield a finding for each group of photos with the same pixels.

    It is an error if the group is in both splits or in several classes, or has at least `PLACEHOLDER` copies.
    """
    for group in _same_pixels(photos):
        yield _duplicate([members[index] for index in group])


def near_duplicates(photos: Sequence[Photo], members: Sequence[Member]) -> Iterator[Finding]:
    """Yield a remark for each group of photos that look alike; of photos with the same pixels one is compared."""
    copies = {group[0]: len(group) for group in _same_pixels(photos)}
    later = {index for group in _same_pixels(photos) for index in group[1:]}
    compared = [n for n, photo in enumerate(photos) if photo.hash is not None and n not in later]
    hashes = near.stacked([found for n in compared if (found := photos[n].hash) is not None])
    for group, least, most in near.groups(len(compared), near.near_pairs(hashes)):
        chosen = [compared[index] for index in group]
        yield _near_duplicate([members[n] for n in chosen], least, most, sum(copies.get(n, 1) - 1 for n in chosen))


def _same_pixels(photos: Sequence[Photo]) -> list[list[int]]:
    found: defaultdict[bytes, list[int]] = defaultdict(list)
    for number, photo in enumerate(photos):
        if photo.digest:
            found[photo.digest].append(number)
    return [group for group in found.values() if len(group) > 1]


def _duplicate(group: list[Member]) -> Finding:
    group = sorted(group, key=lambda member: (member.split != "test", member.path))
    splits, classes = _counts(group)
    grave = len(splits) > 1 or len(classes) > 1 or len(group) >= PLACEHOLDER
    severity: Severity = "error" if grave else "remark"
    if len(classes) > 1:
        remedy = "the label of none is certain: keep those of the right class, or exclude all"
    elif len(splits) > 1:
        remedy = "the test photo is known from training: exclude the training photos"
    else:
        remedy = "they count several times: keep one"
    what = f"{len(group):,} copies of one photo ({_where(splits, classes)}); {remedy}"
    files = tuple(member.path for member in group)
    return Finding("duplicate", files[0], f"{what}: {listed(files)}", files, severity)


def _near_duplicate(group: list[Member], least: int, most: int, copies: int) -> Finding:
    group = sorted(group, key=lambda member: (member.split != "test", member.path))
    splits, classes = _counts(group)
    bits = f"{least}" if least == most else f"{least} to {most}"
    further = f", besides {counted(copies, 'identical copy', 'identical copies')}" if copies else ""
    what = (
        f"{len(group):,} photos look alike ({_where(splits, classes)}; pairs differ in {bits} of 256 bits{further}); "
        f"look at them (`--html FILE`), and exclude what is the same photo"
    )
    files = tuple(member.path for member in group)
    return Finding("near_duplicate", files[0], f"{what}: {listed(files)}", files, "remark")


def _counts(group: list[Member]) -> tuple[Counter[str], Counter[str]]:
    return Counter(member.split for member in group), Counter(member.class_name for member in group)


def _where(splits: Counter[str], classes: Counter[str]) -> str:
    """Return in which splits and classes the members of a group are, in words."""
    first = "across splits: " if len(splits) > 1 else "within one split: "
    of_splits = ", ".join(f"{count:,} {name}" for name, count in sorted(splits.items()))
    most = [f"{count:,} {shown(name)}" for name, count in classes.most_common(5)]
    more = f" and {len(classes) - 5:,} more classes" if len(classes) > 5 else ""
    second = "across classes: " if len(classes) > 1 else "one class: "
    return f"{first}{of_splits}; {second}{', '.join(most)}{more}"
