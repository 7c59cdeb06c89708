"""Predictions of a kept network: for photos in a folder, or for the test images of its run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from ablations.execution import device_references
from ablations.execution.inference.kept import KeptRun, kept_run
from ablations.planning import own_code
from ablations.planning.approval import Trust
from aimlib.datasets.base import Images
from aimlib.datasets.decoding import DecodeError, read
from aimlib.errors import DataError, UsageError, counted
from aimlib.records import predictions_from
from aimlib.training import splits
from aimlib.training.devices import autocast, pick_device
from aimlib.training.inputs import load_batch
from aimlib.training.reproducibility import reproducible
from aimlib.training.steps.base import in_format
from analysis.reading.files import read_settled_of

if TYPE_CHECKING:
    from analysis import Results

Floats = npt.NDArray[np.float32]
SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_SHOWN = 5


@dataclass(frozen=True)
class Comparison:
    """Comparison of predictions for the test images with the stored predictions of the run.

    Attributes
    ----------
    images, different : number of test images, and number of test images whose prediction differs from the stored one.
    margin : largest difference between the probabilities of the new and the stored prediction of an image; 0 without
        a difference.
    same_device : whether the run was computed on the same kind of device with the same number of threads, so that no
        prediction may differ.
    """

    images: int
    different: int
    margin: float
    same_device: bool

    @property
    def reproduced(self) -> bool:
        """Whether the stored predictions were reproduced: exactly on the same kind of device, otherwise up to ties."""
        return self.different == 0 if self.same_device else self.margin <= TOLERANCE

    def __str__(self) -> str:
        equal = f"{self.images - self.different:,} of {self.images:,} predictions equal the stored ones"
        if not self.different:
            return equal
        kind = "the same kind of device" if self.same_device else "another kind of device or number of threads"
        allowed = "no difference" if self.same_device else f"differences up to {TOLERANCE:g} in probability"
        return f"{equal}; the others differ by up to {self.margin:.2g} in probability ({kind}: {allowed} may occur)"


TOLERANCE = 1e-3
"""Largest difference in probability at which another kind of device, which rounds differently, may swap two classes."""


@dataclass(frozen=True)
class Predicted:
    """Predictions of a network for images.

    Attributes
    ----------
    run_id, epoch : run and epoch of the network.
    names : names of the images.
    classes : names of the classes.
    probabilities : [images, classes].
    labels : [images], true class numbers; None if they are unknown.
    compared : the comparison with the stored predictions; None if the images are not those of the run.
    """

    run_id: str
    epoch: int
    names: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: Floats
    labels: npt.NDArray[np.int64] | None = None
    compared: Comparison | None = None

    @property
    def predicted(self) -> npt.NDArray[np.intp]:
        """Class numbers [images] with the highest probability."""
        numbers: npt.NDArray[np.intp] = self.probabilities.argmax(axis=1)
        return numbers

    def frame(self) -> pd.DataFrame:
        """Return one row per image: its name, the predicted class with its probability, and all probabilities."""
        names = np.array(self.classes, dtype=object)
        columns: dict[str, Any] = {"image": self.names}
        if self.labels is not None:
            columns["label"] = names[self.labels]
        columns |= {"predicted": names[self.predicted], "probability": self.probabilities.max(axis=1)}
        frame = pd.DataFrame(columns)
        each = pd.DataFrame(self.probabilities, columns=[f"p({name})" for name in self.classes])
        return pd.concat([frame, each], axis=1)


def predict(
    source: str | Path | Results,
    run: str,
    folder: str | Path | None = None,
    *,
    device: str = "auto",
    data_root: str | None = None,
    plugin: Iterable[str | Path] = (),
    trust: Trust = (),
) -> Predicted:
    """Return the predictions of a run's kept network for photos, or for the run's own test images.

    The test images are compared with the predictions that the run stored: they are equal on the same kind of device
    with the same number of threads, and otherwise equal up to `TOLERANCE`.

    Parameters
    ----------
    source : study directory or its URL in object storage, or the `Results` that `analysis.load` returns.
    run : run id or the beginning of one, or ``ARM/SEED``.
    folder : folder of photos, which may have subfolders; a photo's folder is its class if all folders are classes of
        the run. None means the test images.
    device : ``cpu``, ``cuda`` or ``auto``.
    data_root : folder of the data on this machine, for the test images; None means the folder that the run used.
    plugin : files with own code that the run used; their code is approved as for `ablations.run`.
    trust : hashes of approved own code; True approves all of it.

    Raises
    ------
    UsageError: `run` matches no run or more than one, its network was not kept, or a plugin is not installed.
    DataError: no photo can be read, or the data differs from the data of the run.
    StoreError: this is not a study directory, or the network's file is missing or damaged.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device {device!r}: give cpu, cuda or auto")
    own_code.enter_files(plugin, trust)
    kept = kept_run(source, run)
    where = pick_device(device)  # type: ignore[arg-type]
    if folder is not None:
        names, images, labels = _photos(kept, Path(folder))
        probabilities = softmax(_outputs(kept, images, np.arange(len(names)), where))
        return Predicted(kept.run.run_id, kept.stored.epoch, names, kept.stored.classes, probabilities, labels)
    images = kept.test_images(data_root)
    every, told = np.arange(len(images.labels), dtype=np.int64), kept.config
    order = splits.fixed_order(every, images.names, told.training.order, data=told.data.name)
    outputs = _outputs(kept, images, order, where)[np.argsort(order)]
    compared = _compared(kept, outputs, where)
    return Predicted(
        kept.run.run_id, kept.stored.epoch, images.names, kept.stored.classes, softmax(outputs), images.labels, compared
    )


def softmax(outputs: Tensor) -> Floats:
    """Return probabilities [images, classes]."""
    probabilities: Floats = outputs.double().softmax(dim=1).float().numpy()
    return probabilities


def batches_through(
    kept: KeptRun, network: nn.Module, images: Images, order: splits.Indices, device: torch.device
) -> Iterator[Tensor]:
    """Yield the outputs of every batch, computed with the batches, format and precision of the run's own evaluation."""
    options = kept.config.training
    scaling = kept.stored.input_scaling().to(device)
    with reproducible(threads=kept.row["threads"], tf32=options.tf32), torch.inference_mode():
        for batch in splits.batches(order, 2 * options.batch_size):
            x_BCHW, _ = load_batch(images, batch, device)
            with autocast(device, options.precision):
                outputs = network(in_format(scaling(x_BCHW), options.memory_format))
            yield outputs.float().cpu()


def _outputs(kept: KeptRun, images: Images, order: splits.Indices, device: torch.device) -> Tensor:
    network = kept.stored.module().to(device)
    return torch.cat(list(batches_through(kept, network, images, order, device)))


def _compared(kept: KeptRun, outputs: Tensor, device: torch.device) -> Comparison | None:
    """Compare with the stored predictions of the run; None if none are stored for the kept network."""
    names = ["run_id", "epochs_run", "predictions", "predictions.bits", "predictions.epochs"]
    (row,) = read_settled_of(kept.where, names, [kept.run.run_id]).to_pylist()
    stored = predictions_from(row["predictions"], row["predictions.bits"], row["predictions.epochs"])
    expected = stored[max(0, kept.stored.epoch - 1)].astype(np.int64)
    predicted = outputs.argmax(dim=1).numpy()
    probabilities = softmax(outputs)
    rows = np.arange(len(expected))
    margins = probabilities[rows, predicted] - probabilities[rows, expected]
    options = kept.config.training
    same = device_references.rounds_like(kept.row, device, precision=options.precision, tf32=options.tf32)
    different = predicted != expected
    margin = float(margins[different].max()) if different.any() else 0.0
    return Comparison(len(expected), int(different.sum()), margin, same)


def _photos(kept: KeptRun, folder: Path) -> tuple[tuple[str, ...], Images, npt.NDArray[np.int64] | None]:
    """Return the photos in a folder, prepared like the run's own images, and their classes if the folders name them."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: is not a folder; give a folder of photos")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and _shown(path, folder))
    if not paths:
        raise DataError(f"{folder}: contains no photo ({', '.join(sorted(each[1:] for each in SUFFIXES))})")
    prepare, wrong = kept.data().pixels, list[str]()
    pixels = [_pixels(path, prepare, wrong) for path in paths]
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise DataError(
            f"{folder}: {counted(len(wrong), 'file')} cannot be read: {'; '.join(wrong[:_SHOWN])}{more}; repair or "
            f"remove {'it' if len(wrong) == 1 else 'them'}"
        )
    names = tuple(path.relative_to(folder).as_posix() for path in paths)
    number = {name: at for at, name in enumerate(kept.stored.classes)}
    found = [path.parent.name for path in paths]
    labels = np.array([number[name] for name in found], dtype=np.int64) if set(found) <= number.keys() else None
    return names, Images(np.stack(pixels), np.zeros(len(paths), dtype=np.int64), names), labels  # type: ignore[arg-type]


def _shown(path: Path, folder: Path) -> bool:
    return path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)


def _pixels(
    path: Path, prepare: Callable[[bytes], npt.NDArray[np.uint8 | np.uint16]], wrong: list[str]
) -> npt.NDArray[np.uint8 | np.uint16] | None:
    try:
        return prepare(read(path))
    except (DecodeError, OSError) as error:
        wrong.append(f"{path.name}: {error}")
        return None
