"""Refusing data whose task is not one class per image: several labels, boxes, masks, numbers to predict."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from aimlib.errors import DataError
from aimlib.paths import read_file

REMEDY = (
    "the framework trains on one class per image; give every image one class, or use your own training code with "
    "`train:`"
)
_MASKS = {"mask", "mask_path", "masks", "segmentation", "rle", "encodedpixels"}
_BOXES = {"bbox", "boxes", "xmin", "x_min", "x1", "xtl", "polygon"}
_MASK_FOLDERS = {"masks", "segmentationclass", "segmentations", "gtfine"}
_IMAGE_FOLDERS = {"images", "image", "imgs", "img", "jpegimages", "leftimg8bit"}
_LABEL_FOLDERS = {"labels", "annotations", "jpegimages"}
_MOST_JSON_BYTES = 50_000_000


def refuse_other_task_of_table(where: str, columns: Sequence[str], label: str) -> None:
    """Refuse a table that has masks or boxes, or a column for every class, and no column of labels.

    Raises
    ------
    DataError: it does.
    """
    if label in columns:
        return
    words = {column.casefold() for column in columns}
    for wanted, what in ((_MASKS, "masks (segmentation)"), (_BOXES, "boxes (detection)")):
        if words & wanted:
            named = ", ".join(column for column in columns if column.casefold() in wanted)
            raise DataError(f"{where}: has {what} in {named} and no column {label!r}; {REMEDY}")


def refuse_other_task_of_labels(where: str, labels: Sequence[str]) -> None:
    """Refuse labels that are lists of classes, or numbers with a fraction.

    Raises
    ------
    DataError: they are.
    """
    kinds = sorted(set(labels))
    if (found := _several(kinds)) is not None:
        raise DataError(f"{where}: the label {found!r} names several classes; {REMEDY}")
    values = [_number(kind) for kind in kinds]
    fractions = [kind for kind, value in zip(kinds, values, strict=True) if value is not None and value % 1]
    if fractions and None not in values:
        raise DataError(
            f"{where}: labels are numbers with fractions, such as {fractions[0]}, which are targets of a regression; "
            f"{REMEDY}"
        )


def refuse_other_task_of_folder(where: Path, folders: Iterable[str]) -> None:
    """Refuse a folder that has images next to masks, or next to files of boxes, instead of a folder per class.

    Parameters
    ----------
    folders : names of the folders in it.

    Raises
    ------
    DataError: it has.
    """
    words = {folder.casefold(): folder for folder in folders}
    masks = [words[word] for word in sorted(_MASK_FOLDERS & set(words))]
    if masks and _IMAGE_FOLDERS & set(words):
        raise DataError(f"{where}: {masks[0]} next to the images contains masks (segmentation), not classes; {REMEDY}")
    for word in sorted(_LABEL_FOLDERS & set(words)):
        if kind := _boxes_in(where / words[word]):
            raise DataError(f"{where}: {words[word]} contains {kind}, not a class; {REMEDY}")
    if (where / "data.yaml").is_file() and {"train", "valid"} & set(words):
        raise DataError(f"{where}: data.yaml describes boxes in YOLO's format (detection), not classes; {REMEDY}")
    for path in sorted(where.glob("*.json")):
        if _is_coco(path):
            raise DataError(f"{path}: has annotations in COCO's format (detection or segmentation); {REMEDY}")


def _boxes_in(folder: Path) -> str:
    """Return what kind of files of boxes or masks a folder contains, or an empty string."""
    first = next((path for path in sorted(folder.rglob("*")) if path.suffix.lower() in (".xml", ".txt", ".json")), None)
    if first is None:
        return ""
    if first.suffix.lower() == ".xml":
        return "a file of boxes per image (Pascal VOC, detection)"
    if first.suffix.lower() == ".txt":
        return "a file of boxes per image (YOLO, detection)"
    return "annotations in COCO's format (detection or segmentation)" if _is_coco(first) else ""


def _is_coco(path: Path) -> bool:
    try:
        content = json.loads(read_file(path, _MOST_JSON_BYTES))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and {"images", "annotations"} <= content.keys()


def _several(kinds: Sequence[str]) -> str | None:
    """Return a label that is a list of classes; a sign between two classes counts if one of them occurs elsewhere."""
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
