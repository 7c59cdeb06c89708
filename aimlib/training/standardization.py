"""Means and standard deviations of the training images, computed once for each set of images.

All arms with the same seed train on the same images, so the statistics from one run can be used for the other runs.
They are kept in the process and, if computing them takes long, in a file in the cache folder
(`aimlib.datasets.locations.cache_of`, ``standardization``). The statistics are bitwise identical in all cases.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aimlib.datasets.base import DataSet
from aimlib.datasets.locations import cache_of
from aimlib.training.inputs import Scaling, standardization

_FORMAT = 1
_LEAST_BYTES = 2**26
"""Number of pixel bytes above which statistics are stored in a file; for fewer bytes, computing them takes less than a
tenth of a second."""
_PROBES = 8
"""Number of images whose pixels are hashed into the statistics' name. The data's fingerprint is also part of the name,
but might not identify the pixels."""
_KEPT = 64
"""Number of sets of statistics that a process keeps; a study has fewer seeds, and a set needs only a hundred bytes."""

_known: dict[str, Scaling] = {}


def standardization_of(data: DataSet, indices: npt.NDArray[np.int64]) -> Scaling:
    """Return the scaling to mean 0 and standard deviation 1 over the training images `indices`, per channel."""
    key = _key(data, indices)
    if key not in _known:
        pixels = data.train.pixels
        in_file = len(indices) * math.prod(pixels.shape[1:]) * pixels.itemsize >= _LEAST_BYTES
        scaling = _read(_file(key), key, pixels.shape[3]) if in_file else None
        if scaling is None:
            scaling = standardization(pixels, indices)
            if in_file:
                _write(_file(key), key, scaling)
        while len(_known) >= _KEPT:
            del _known[next(iter(_known))]
        _known[key] = scaling
    return _known[key]


def _key(data: DataSet, indices: npt.NDArray[np.int64]) -> str:
    """Return the name of the statistics, which identifies the pixels."""
    pixels = data.train.pixels
    content = hashlib.sha256(f"{_FORMAT} {data.fingerprint} {pixels.shape} {pixels.dtype}".encode())
    content.update(np.ascontiguousarray(indices).tobytes())
    for index in indices[:: max(1, len(indices) // _PROBES)]:
        content.update(np.ascontiguousarray(pixels[index]).tobytes())
    return content.hexdigest()[:32]


def _file(key: str) -> Path:
    return cache_of("standardization") / f"{key}.json"


def _write(file: Path, key: str, scaling: Scaling) -> None:
    """Write the statistics atomically, so that readers see all or none; ignore a folder that is not writable."""
    values = {"mean": scaling.mean.flatten().tolist(), "sd": scaling.sd.flatten().tolist()}
    content = {"format": _FORMAT, "key": key, **values, "digest": _digest(values)}
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("x", encoding="utf-8") as out:
            out.write(json.dumps(content) + "\n")
        temporary.replace(file)


def _read(file: Path, key: str, channels: int) -> Scaling | None:
    """Return the statistics in a file; None if there is no file, or if it is damaged or belongs to other images."""
    try:
        content = json.loads(file.read_bytes())
        values = {name: [float(value) for value in content[name]] for name in ("mean", "sd")}
        as_expected = (content["format"], content["key"], content["digest"]) == (_FORMAT, key, _digest(values))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not as_expected or any(len(given) != channels for given in values.values()):
        return None
    return Scaling(_per_channel(values["mean"]), _per_channel(values["sd"]))


def _per_channel(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
