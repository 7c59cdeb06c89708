"""Oddities in files that can be decoded: one finding per oddity, with all affected files."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from aimlib.datasets.photo_tree import listed, shown
from aimlib.datasets.verification.findings import Finding, Kind
from aimlib.datasets.verification.inspection import Photo
from aimlib.errors import counted

_OF_SUFFIX = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".gif": "GIF",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
"""The format that a suffix indicates."""
_MODES = {
    "CMYK": "CMYK: converted to RGB without a color profile, so colors may be off; convert them to RGB",
    "P": "a palette: looked up, and transparency is dropped; nothing to do unless parts are transparent",
    "PA": "a palette with transparency: transparency is dropped; flatten them if parts are transparent",
    "RGBA": "transparency, which is dropped: the colors stored below it are used; flatten them if parts are "
    "transparent",
    "LA": "gray with transparency, which is dropped; flatten them if parts are transparent",
    "I;16": "16 bits per value: only the high byte is used; convert them to 8 bits if their values do not fill the "
    "range",
    "I": "32 bits per value: only bits 8 to 15 are used, so values below 256 become black; convert them to 8 bits",
    "1": "black and white only; check that they are photos",
}
"""What happens to pixels that are neither RGB nor gray, and what the user can do."""
_NUMBERS = re.compile(r" \([^()]*\d[^()]*\)")
"""Matches details that differ between files with the same kind of damage, such as the number of missing bytes."""
TINY = 4
"""A photo is tiny if it has to be enlarged by more than this factor."""


def traits(photos: Sequence[Photo], size: int) -> Iterator[Finding]:
    """Yield a finding for each oddity in the files.

    Parameters
    ----------
    size : height and width to which the photos are resized, in pixels.
    """
    groups: defaultdict[tuple[Kind, str], list[str]] = defaultdict(list)
    for photo in photos:
        for key in _oddities(photo, size):
            groups[key].append(photo.path)
    for (kind, text), paths in sorted(groups.items()):
        files = sorted(paths)
        head = f"{counted(len(files), 'photo')} {text}"
        yield Finding(kind, files[0], f"{head}: {listed(files)}", tuple(files), "remark")


def problems(photos: Sequence[Photo]) -> Iterator[Finding]:
    """Yield a finding for each reason why files have no pixels, except for missing files."""
    groups: defaultdict[tuple[Kind, str], list[str]] = defaultdict(list)
    for photo in photos:
        if photo.problem is not None and photo.problem != "missing":
            groups[photo.problem, _NUMBERS.sub("", photo.cause)].append(photo.path)
    for (kind, cause), paths in sorted(groups.items()):
        files = tuple(sorted(paths))
        remedy = "" if ";" in cause else "; fetch them again, or exclude them (`--fix FILE`)"
        text = f"{counted(len(files), 'photo')}: {cause}{remedy}: {listed(files)}"
        excluded = () if kind == "unreadable" else files
        yield Finding(kind, files[0], text, files, excluded=excluded, reason=f"{kind}: {cause}")


def damaged(photos: Sequence[Photo]) -> Iterator[Finding]:
    """Yield a finding for JPEG files that end early, and one for those with other damage, which may be slight."""
    found = [photo for photo in photos if photo.damage]
    early = sorted(photo.path for photo in found if "end" in photo.damage.lower().split())
    others = sorted(photo.path for photo in found if "end" not in photo.damage.lower().split())
    if early:
        text = (
            f"{counted(len(early), 'JPEG photo')} with missing data: the missing part is gray, and would be used "
            f"for training; fetch again, or exclude (`--fix FILE`): {listed(early)}"
        )
        reason = "damaged: the data ends early"
        yield Finding("damaged", early[0], text, tuple(early), excluded=tuple(early), reason=reason)
    if others:
        says = next(photo.damage for photo in found if photo.path == others[0])
        text = (
            f"{counted(len(others), 'JPEG photo')} with damaged data ({shown(says)}), which are used as they are "
            f"decoded; look at them (`--sheet FILE`), and exclude those that look wrong: {listed(others)}"
        )
        yield Finding("damaged", others[0], text, tuple(others), "remark")


def _oddities(photo: Photo, size: int) -> Iterator[tuple[Kind, str]]:
    source = photo.source
    if source is None:
        return
    suffix = PurePosixPath(photo.path).suffix.lower()
    if (promised := _OF_SUFFIX.get(suffix)) is not None and promised != source.format:
        text = f"named {suffix} with {source.format} data, decoded as {source.format}; rename them if other "
        yield "misnamed", text + "programs read them"
    is_wide = source.mode == "I" and source.format == "TIFF"
    mode = "I" if is_wide else "I;16" if source.mode.startswith("I") else source.mode
    if mode in _MODES:
        yield "mode", f"with {_MODES[mode]}"
    elif mode not in ("RGB", "L"):
        yield "mode", f"in mode {mode}, which is converted to RGB; check that their colors are right"
    if source.animated:
        yield (
            "animated",
            ("with several frames, only the first of which is used; exclude them if the first frame is useless"),
        )
    if source.orientation != 1 and source.format == "TIFF":
        text = (
            "rotated or mirrored by a TIFF orientation tag, which is applied, unlike the EXIF orientation in "
            "other formats"
        )
        yield "rotated", text
    elif source.orientation != 1:
        text = (
            "rotated or mirrored by EXIF, which is ignored, so they are used as stored; rotate their pixels, e.g. with "
        )
        yield "rotated", text + "`exiftran -ai` or `mogrify -auto-orient`"
    if min(photo.width, photo.height) * TINY < size:
        text = (
            f"with a side below {-(-size // TINY)} px, which are enlarged by a factor of more than {TINY} for "
            f"size {size}; "
        )
        yield "tiny", text + "fetch larger ones, or lower data.size"
    if photo.blank:
        yield "blank", "with only one color; look at them, and exclude those that are not photos"
