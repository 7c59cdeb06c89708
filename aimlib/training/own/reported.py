"""Check and convert values that the user's own training code reports: numbers, class numbers, positions of images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from aimlib.errors import UsageError, did_you_mean
from aimlib.records.escaping import shortened

_FRACTIONS = "train_accuracy", "validation_accuracy", "accuracy"


def number(name: str, value: Any) -> float:
    """Return a measure as a number; raise UsageError for other types, and for accuracies that are not fractions."""
    if isinstance(value, torch.Tensor):
        value = value.detach()
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = None
    if number is None or isinstance(value, (str, bytes)):
        shape = getattr(value, "shape", ())
        given = (
            f"a {type(value).__name__} of shape {tuple(shape)}; report its mean"
            if shape
            else shortened(f"{value!r}", 80)
        )
        raise UsageError(f"run.report: {name} must be a number; got {given}")
    if name in _FRACTIONS and not 0 <= number <= 1:
        raise UsageError(f"run.report: {name} must be a fraction from 0 to 1; got {number:g}")
    return number


def labels(labels: Any, classes: Sequence[str], where: str) -> npt.NDArray[np.int64]:
    """Return class numbers for a list of numbers or names."""
    if isinstance(labels, torch.Tensor):
        labels = labels.detach().cpu().numpy()
    found = np.asarray(labels if hasattr(labels, "__array__") else list(labels))
    if found.ndim != 1:
        raise UsageError(
            f"{where}: labels have the shape {found.shape}; pass one class per image, as scores.argmax(1) returns"
        )
    if found.dtype.kind in "UO":
        numbers = {name: number for number, name in enumerate(classes)}
        unknown = [str(each) for each in found if str(each) not in numbers]
        if unknown:
            raise UsageError(
                f"{where}: {unknown[0]!r} is not a class; {did_you_mean(unknown[0], classes)}pass names or numbers"
            )
        return np.array([numbers[str(each)] for each in found], dtype=np.int64)
    if found.dtype.kind not in "iu" and not (found.dtype.kind == "f" and (found == np.round(found)).all()):
        raise UsageError(
            f"{where}: labels must be class numbers or names; got {found.dtype} values such as {found.flat[0]}"
        )
    if len(found) and not 0 <= int(found.min()) <= int(found.max()) < len(classes):
        raise UsageError(
            f"{where}: labels are between {found.min()} and {found.max()}, but classes are 0 to "
            f"{len(classes) - 1}; use the positions in run.classes, or names"
        )
    return found.astype(np.int64)


def places(ids: Iterable[str | int], names: Sequence[str], where: str) -> npt.NDArray[np.int64]:
    """Return the positions of images for a list of names or numbers."""
    if isinstance(ids, torch.Tensor):
        ids = ids.detach().cpu().numpy()
    given = list(ids)
    if given and isinstance(given[0], str):
        known = {name: place for place, name in enumerate(names)}
        unknown = [each for each in given if each not in known]
        if unknown:
            raise UsageError(f"{where}: no image {unknown[0]!r}; use the names in run.split(...).names")
        return np.array([known[str(each)] for each in given], dtype=np.int64)
    try:
        places = np.array([int(each) for each in given], dtype=np.int64)
    except (TypeError, ValueError):
        raise UsageError(f"{where}: ids must be image names or numbers; got {given[0]!r}") from None
    if len(places) and not 0 <= int(places.min()) <= int(places.max()) < len(names):
        raise UsageError(
            f"{where}: ids are between {places.min()} and {places.max()}, but images are 0 to {len(names) - 1}"
        )
    return places
