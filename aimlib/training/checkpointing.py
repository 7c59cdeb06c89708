"""The state of a run after any of its steps.

The state is sufficient to continue with bitwise identical results, and contains nothing that executes code when it is
read. Two checkpoints are kept, each with a checksum: if the last one is damaged, the run continues from the previous
one.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor

from aimlib.errors import StoreError
from aimlib.paths import make_folder, share
from aimlib.records.checksums import SealedWriter, is_intact

FORMAT = 3
WITH_KEPT = 4
"""Format of a checkpoint with a kept network; earlier versions of this package do not support it, and refuse it."""
WITH_LATER_PARTS = 5
"""Format of a checkpoint with scores, a weight average or callbacks, which earlier versions refuse."""
_LATER_PARTS = "scores", "average", "callbacks"
FILE = "checkpoint.pt"
PREVIOUS_FILE = ".previous.pt"
"""The previous checkpoint; it is hidden, because a bucket stores only one file for each run."""
DAMAGED_FILE = ".damaged.pt"
_TEMPORARY = f".{FILE}."
_SINCE_3: dict[str, Any] = {"step": "eager", "data_on": None, "peak_device_bytes": None}
_LACKING: dict[int, dict[str, Any]] = {1: {"under_way": None, **_SINCE_3}, 2: _SINCE_3}
"""Parts that checkpoints in earlier formats lack, with the values that applied to the runs that wrote them."""


@dataclass
class Checkpoint:
    """The state that a run needs to continue.

    Random streams are addressed by epoch and image. The schedule and the stopping rule are functions of the history, so
    there is no schedule state. Generators are stored only within an epoch.

    Attributes
    ----------
    run_id : identity of the run.
    epochs : the history: one mapping with the columns of `aimlib.records.EPOCHS` per completed epoch.
    predictions : [epochs, test images].
    network, optimizer : state dicts of the network and of the optimizer.
    seconds, attempts, started_at : wall time so far, number of starts, and ISO time of the first start.
    under_way : state of the current epoch, as `aimlib.training.epoch.Epoch.state` returns it; None between epochs.
    step : how the run computes its steps; the continued run computes them in the same way.
    data_on : where the run's images were, ``device`` or ``host``; None if unknown.
    peak_device_bytes : peak of the GPU memory that torch reserved so far; None on the CPU.
    kept : epoch and state of the network kept so far, and the measures of its memory. A state of None stands for the
        state of `network` or of the average; an epoch of None means that no network has been kept yet. None: the run
        does not keep a network.
    scores : epoch and log-probabilities [test images, classes] kept so far; None: none are kept.
    average : state of the weight average; None: the run has none.
    callbacks : the callbacks' state, as `aimlib.training.callbacks.events.Callbacks.state` returns it; None without
        callbacks.
    """

    run_id: str
    epochs: list[dict[str, Any]]
    predictions: Tensor
    network: dict[str, Any]
    optimizer: dict[str, Any]
    seconds: float
    attempts: int
    started_at: str
    under_way: dict[str, Any] | None = None
    step: str = "eager"
    data_on: str | None = None
    peak_device_bytes: int | None = None
    kept: dict[str, Any] | None = None
    scores: tuple[int, Tensor] | None = None
    average: dict[str, Any] | None = None
    callbacks: dict[str, Any] | None = None


def save(checkpoint: Checkpoint, directory: Path) -> Path:
    """Replace the checkpoint in `directory` atomically: a reader sees the complete old or the complete new checkpoint.

    The old checkpoint is kept as the previous one. A run has only one writer at a time (in a study, the holder of its
    lock), so all other temporary files are leftovers.

    Returns
    -------
    The file.

    Raises
    ------
    OSError: the disk is full or faulty; the old checkpoint still exists.
    """
    make_folder(directory)
    _remove_remains(directory)
    path, temporary = directory / FILE, directory / f"{_TEMPORARY}{os.getpid()}"
    try:
        with temporary.open("wb") as file:
            _write(_content(checkpoint), SealedWriter(file))
            file.flush()
            os.fsync(file.fileno())
        share(temporary)
        # If the process is killed between the two renames, the run continues from the previous checkpoint.
        with suppress(FileNotFoundError):
            path.replace(directory / PREVIOUS_FILE)
        return temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _content(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the content to store, in the earliest possible format, so that earlier versions can read it."""
    content = {"format": WITH_LATER_PARTS, **vars(checkpoint)}
    if all(content[part] is None for part in _LATER_PARTS):
        content = {key: value for key, value in content.items() if key not in _LATER_PARTS}
        content["format"] = WITH_KEPT
        if checkpoint.kept is None:
            content["format"] = FORMAT
            del content["kept"]
    return content


def _write(state: dict[str, Any], file: SealedWriter) -> None:
    """Write the state; torch reports a full disk only as a failed writer, so the underlying error is raised instead."""
    try:
        torch.save(state, cast("BinaryIO", file))  # it only writes
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
    file.seal()


def _remove_remains(directory: Path) -> None:
    """Remove the temporary files of killed writers."""
    for remains in directory.glob(f"{_TEMPORARY}*"):
        if not remains.is_dir():  # no writer creates a folder
            remains.unlink(missing_ok=True)


class _Damaged(Exception):
    """The content of a file is not what was written."""


class _Foreign(Exception):
    """A file is an intact checkpoint of a different run."""


def load(directory: Path, run_id: str, on_damage: Callable[[str], None] = lambda _: None) -> Checkpoint | None:
    """Return the last intact checkpoint in `directory`, or None if there is none; only the run's writer may call this.

    Parameters
    ----------
    on_damage : called for every damaged file, with a sentence that contains its path and describes the damage.

    Raises
    ------
    StoreError: a file has an unknown format or cannot be read; or there is no intact checkpoint of this run, but a
        file belongs to a different run. In the latter case, nothing is overwritten, so that a caller who confuses two
        runs loses neither of them.
    """
    _remove_remains(directory)
    foreign: list[Path] = []
    for path in (directory / FILE, directory / PREVIOUS_FILE):
        if path.exists():
            try:
                found = _read(path, run_id)
            except _Foreign:
                foreign.append(path)
            except _Damaged as damage:
                on_damage(f"{path} is damaged: {damage}")
            else:
                for other in foreign:
                    on_damage(f"{other} is damaged: it is the checkpoint of a different run")
                return found
    if foreign:
        raise _not_of(run_id, foreign[0])
    return None


def _not_of(run_id: str, path: Path) -> StoreError:
    return StoreError(
        f"{path}: not a checkpoint of run {run_id} in a known format; delete it to start from the beginning"
    )


def set_aside(directory: Path) -> None:
    """Rename the damaged last checkpoint, so that the next save does not replace the previous checkpoint with it."""
    with suppress(FileNotFoundError):
        (directory / FILE).replace(directory / DAMAGED_FILE)


def _read(path: Path, run_id: str) -> Checkpoint:
    """Return the checkpoint in a file.

    A file without a checksum was written by an earlier version of this package, or is truncated.
    """
    if not path.is_file():  # reading a pipe would never end
        raise StoreError(f"{path}: is not a file; remove it, and run again")
    try:
        intact = is_intact(path)
        state = torch.load(path, map_location="cpu", weights_only=True) if intact is not False else None
    except Exception as error:
        # A storage failure does not mean that the file is damaged, except for EINVAL, which results from a seek beyond
        # the ends of a truncated file.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise StoreError(f"{path}: cannot be read: {error}; check the file system, and run again") from error
        raise _Damaged(f"it is not a readable checkpoint ({type(error).__name__})") from error
    if intact is False:
        raise _Damaged("its checksum does not match its content")
    if isinstance(state, dict) and state.get("format") in _LACKING:
        state = {**state, **_LACKING[state["format"]], "format": FORMAT}
    if isinstance(state, dict) and state.get("format") == FORMAT:
        state = {**state, "kept": None, "format": WITH_KEPT}
    if isinstance(state, dict) and state.get("format") == WITH_KEPT:
        state = {**state, **dict.fromkeys(_LATER_PARTS), "format": WITH_LATER_PARTS}
    parts = {"format", *(part.name for part in fields(Checkpoint))}
    if not isinstance(state, dict) or set(state) != parts or state.pop("format") != WITH_LATER_PARTS:
        raise _not_of(run_id, path)
    if state["run_id"] != run_id:
        raise _Foreign
    return Checkpoint(**state)
