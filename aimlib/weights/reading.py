"""Read weight files, without executing any code in the files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from aimlib.errors import UsageError, counted
from aimlib.weights.config import WeightsConfig
from aimlib.weights.files import find

KEPT = "aim_ablations"
"""Metadata key in safetensors files kept by the runs of a study."""
SCALING = "__scaling__"
"""Name of the only tensor in a kept file that is not part of the network."""


@dataclass(frozen=True)
class StoredState:
    """What a file contains.

    Attributes
    ----------
    tensors : parameters and buffers, keyed by their names in the file without the configured prefix.
    has_memory : whether a run whose network had a memory kept the file; the names then begin as in that network.
    """

    tensors: Mapping[str, Any]
    has_memory: bool = False


def read(config: WeightsConfig) -> StoredState:
    """Return the content of a file; the content of the file that was read last stays cached.

    Raises
    ------
    DataError: the file is missing, or its hash differs from the hash in the configuration.
    UsageError: the file does not contain a state dict, or contains something other than tensors.
    """
    path = find(config)
    state = path.stat()
    return _read(path, config.key, config.prefix, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=1)
def _read(path: Path, key: str | None, prefix: str, _changed: int, _size: int) -> StoredState:
    where = str(path)
    with path.open("rb") as file:
        start = file.read(9)
    if start[8:] == b"{":
        tensors, has_memory = _safetensors(path, where)
    else:
        tensors, has_memory = _saved_by_torch(path, where), False
    tensors = _inside(tensors, key, where)
    if prefix:
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    if not tensors:
        raise UsageError(f"{where}: none of its names begins with {prefix!r}; correct model.weights.prefix")
    _refuse_not_finite(tensors, where)
    return StoredState(tensors, has_memory)


def _safetensors(path: Path, where: str) -> tuple[dict[str, Any], bool]:
    """Return the tensors in a safetensors file, and whether a run whose network had a memory kept the file."""
    import safetensors  # noqa: PLC0415 -- imports torch

    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- it is not a mapping
        if KEPT not in metadata:
            return tensors, False
        kept = json.loads(metadata[KEPT])
        tensors.pop(SCALING, None)
        tensors |= {name: tensors[owner] for name, owner in kept["same"].items()}
        return tensors, kept["config"]["model"]["memory"] is not None
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise UsageError(f"{where}: cannot be read ({error}); use an intact safetensors file") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{where}: its record of the run that kept it is not readable ({error!r}); copy the file again from its "
            f"study's folder networks/"
        ) from error


def _saved_by_torch(path: Path, where: str) -> Any:
    import torch  # noqa: PLC0415

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UsageError(
            f"{where}: is neither a safetensors file nor a state dict written by torch.save, is damaged, or contains "
            f"more than tensors and plain values, which could execute code and is therefore not loaded; write "
            f"it with torch.save(network.state_dict(), FILE) ({type(error).__name__})"
        ) from error


def _inside(content: Any, key: str | None, where: str) -> dict[str, Any]:
    """Return the state dict in a file's content; `key` locates it if it is nested inside other mappings."""
    from torch import Tensor  # noqa: PLC0415

    for part in key.split(".") if key else ():
        if not isinstance(content, Mapping) or part not in content:
            known = ", ".join(map(str, content)) if isinstance(content, Mapping) else "no mapping"
            raise UsageError(f"{where}: has no {part!r} (known: {known}); correct model.weights.key")
        content = content[part]
    if not isinstance(content, Mapping) or not content:
        raise UsageError(
            f"{where}: contains {type(content).__name__} instead of a state dict; use a file with a state dict"
        )
    others = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if not others:
        return dict(content)
    inner = [str(name) for name in others if isinstance(content.get(name), Mapping)]
    give = f"set model.weights.key, e.g. {inner[0]}" if inner else "save only the state dict"
    raise UsageError(
        f"{where}: {counted(len(others), 'entry is', 'entries are')} not tensors ({', '.join(others[:6])}); {give}"
    )


def _refuse_not_finite(tensors: Mapping[str, Any], where: str) -> None:
    wrong = [name for name, value in tensors.items() if value.is_floating_point() and not value.isfinite().all()]
    if wrong:
        raise UsageError(
            f"{where}: {', '.join(wrong[:3])}{', …' if len(wrong) > 3 else ''} contains values that are not finite; "
            f"use weights from a training run that did not diverge"
        )
