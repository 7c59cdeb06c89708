"""Refuse data whose task is not one class per image: several labels, boxes, masks, or numbers to predict."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from aimlib.errors import DataError
from aimlib.paths import read_file

REMEDY = (
    "the framework trains on one class per image; assign one class to every image, or use your own training code with "
    "`train:`"
)
_MASKS = {"mask", "mask_path", "masks", "segmentation", "rle", "encodedpixels"}
_BOXES = {"bbox", "boxes", "xmin", "x_min", "x1", "xtl", "polygon"}
_MASK_FOLDERS = {"masks", "segmentationclass", "segmentations", "gtfine"}
_IMAGE_FOLDERS = {"images", "image", "imgs", "img", "jpegimages", "leftimg8bit"}
_LABEL_FOLDERS = {"labels", "annotations", "jpegimages"}
_MOST_JSON_BYTES = 50_000_000


def refuse_other_task_of_table(where: str, columns: Sequence[str], label: str) -> None:
    """Refuse a table that has masks, boxes, or one column per class, but no label column.

    Raises
    ------
    DataError: the table is for a different task.
    """
    if label in columns:
        return
    words = {column.casefold() for column in columns}
    for wanted, what in ((_MASKS, "masks (segmentation)"), (_BOXES, "boxes (detection)")):
        if words & wanted:
            named = ", ".join(column for column in columns if column.casefold() in wanted)
            raise DataError(f"{where}: has {what} in {named} but no column {label!r}; {REMEDY}")


def refuse_other_task_of_labels(where: str, labels: Sequence[str]) -> None:
    """Refuse labels that are lists of classes, or numbers with a fraction.

    Raises
    ------
    DataError: the labels are for a different task.
    """
    kinds = sorted(set(labels))
    if (found := _several(kinds)) is not None:
        raise DataError(f"{where}: the label {found!r} contains several classes; {REMEDY}")
    values = [_number(kind) for kind in kinds]
    fractions = [kind for kind, value in zip(kinds, values, strict=True) if value is not None and value % 1]
    if fractions and None not in values:
        raise DataError(
            f"{where}: labels are numbers with fractions, such as {fractions[0]}, which are regression targets; "
            f"{REMEDY}"
        )


def refuse_other_task_of_folder(where: Path, folders: Iterable[str]) -> None:
    """Refuse a folder that has images next to masks or next to box files, instead of one folder per class.

    Parameters
    ----------
    folders : names of the subfolders.

    Raises
    ------
    DataError: the folder is for a different task.
    """
    words = {folder.casefold(): folder for folder in folders}
    masks = [words[word] for word in sorted(_MASK_FOLDERS & set(words))]
    if masks and _IMAGE_FOLDERS & set(words):
        raise DataError(f"{where}: {masks[0]} next to the images contains masks (segmentation), not classes; {REMEDY}")
    for word in sorted(_LABEL_FOLDERS & set(words)):
        if kind := _boxes_in(where / words[word]):
            raise DataError(f"{where}: {words[word]} contains {kind}, not a class; {REMEDY}")
    if (where / "data.yaml").is_file() and {"train", "valid"} & set(words):
        raise DataError(f"{where}: data.yaml describes boxes in YOLO format (detection), not classes; {REMEDY}")
    for path in sorted(where.glob("*.json")):
        if _is_coco(path):
            raise DataError(f"{path}: contains annotations in COCO format (detection or segmentation); {REMEDY}")


def _boxes_in(folder: Path) -> str:
    """Return the kind of box or mask files that a folder contains; an empty string if there are none."""
    first = next((path for path in sorted(folder.rglob("*")) if path.suffix.lower() in (".xml", ".txt", ".json")), None)
    if first is None:
        return ""
    if first.suffix.lower() == ".xml":
        return "one box file per image (Pascal VOC, detection)"
    if first.suffix.lower() == ".txt":
        return "one box file per image (YOLO, detection)"
    return "annotations in COCO format (detection or segmentation)" if _is_coco(first) else ""


def _is_coco(path: Path) -> bool:
    try:
        content = json.loads(read_file(path, _MOST_JSON_BYTES))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and {"images", "annotations"} <= content.keys()


def _several(kinds: Sequence[str]) -> str | None:
    """Return a label that lists several classes, or None; a separator counts if a part occurs in another label."""
    listed = next((kind for kind in kinds if kind[:1] in "[({" and kind[-1:] in "])}" and "," in kind), None)
    if listed is not None:
        return listed
    for sign in ";|":
        parts = {kind: [part.strip() for part in kind.split(sign)] for kind in kinds}
        often = Counter(part for found in parts.values() for part in set(found))
        for kind, found in parts.items():
            if len(found) > 1 and any(often[part] > 1 for part in found):
                return kind
    return None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
