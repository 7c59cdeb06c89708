"""The checkpoint files of the user's own training code, as they are stored in the run's checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from aimlib.errors import StoreError, UsageError


def content_of(folder: Path) -> dict[str, Any]:
    """Return the files in a folder: their bytes as tensors, by relative path.

    Raises
    ------
    UsageError: the path is not a folder, or the folder contains something that is not a plain file.
    """
    if not folder.is_dir():
        raise UsageError(f"run.checkpoint: {folder}: no such folder; save your files in a folder, and pass its path")
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise UsageError(f"run.checkpoint: {path}: is not a plain file; save only plain files")
        if path.is_file():
            content = np.fromfile(path, dtype=np.uint8)
            found[path.relative_to(folder).as_posix()] = torch.from_numpy(content)
    return found


def write(content: dict[str, Any], folder: Path) -> None:
    """Write files returned by `content_of` into a folder.

    Raises
    ------
    StoreError: the content was not returned by `content_of`.
    """
    root = folder.resolve()
    for name, tensor in content.items():
        path = (root / name).resolve()
        if not path.is_relative_to(root) or not isinstance(tensor, torch.Tensor):
            raise StoreError(
                f"the checkpoint of this run contains the file name {name!r}; delete it to start from the beginning"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        tensor.numpy().tofile(path)
