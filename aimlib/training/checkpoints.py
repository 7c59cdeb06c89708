"""The state of a run after an epoch: enough to go on bit for bit, and nothing that executes code when read."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aimlib.errors import StoreError

FORMAT = 1
FILE = "checkpoint.pt"


@dataclass
class Checkpoint:
    """What a run needs to go on.

    Random streams are addressed by epoch and image, and schedule and stopping rule are functions of the history,
    so no generator and no schedule state is among it.

    Attributes
    ----------
    run_id : identity of the run.
    epochs : history, one mapping of `aimlib.records.EPOCHS` per completed epoch.
    predictions : [epochs, test images].
    network, optimizer : state dicts.
    seconds, attempts, started_at : wall time so far, number of starts, ISO time of the first.
    """

    run_id: str
    epochs: list[dict[str, Any]]
    predictions: Tensor
    network: dict[str, Any]
    optimizer: dict[str, Any]
    seconds: float
    attempts: int
    started_at: str


def save(checkpoint: Checkpoint, directory: Path) -> None:
    """Replace the checkpoint in `directory` in one step: a reader sees the old one or the new one, whole."""
    directory.mkdir(parents=True, exist_ok=True)
    temporary = directory / f".{FILE}.{os.getpid()}"
    with temporary.open("wb") as file:
        torch.save({"format": FORMAT, **vars(checkpoint)}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(directory / FILE)


def load(directory: Path, run_id: str) -> Checkpoint | None:
    """Return the checkpoint in `directory`, or None where there is none.

    Raises
    ------
    StoreError: the file is damaged, of another run, or of an unknown format.
    """
    path = directory / FILE
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise StoreError(
            f"{path}: not a readable checkpoint ({type(error).__name__}); delete it, and the run starts afresh"
        ) from error
    parts = {"format", *(part.name for part in fields(Checkpoint))}
    if not isinstance(state, dict) or set(state) != parts or state.pop("format") != FORMAT or state["run_id"] != run_id:
        raise StoreError(f"{path}: not a checkpoint of run {run_id} in a known format; delete it to start afresh")
    return Checkpoint(**state)
