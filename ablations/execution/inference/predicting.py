"""Predictions of a kept network: for photos in a folder, or for its run's test images."""

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
    """Comparison of predictions for the test images with the run's stored predictions.

    Attributes
    ----------
    images, different : number of test images, and number of test images whose prediction differs from the stored one.
    margin : largest difference, for any image, between the probabilities of the new and the stored prediction; 0 if no
        prediction differs.
    same_device : whether the run was computed on the same kind of device with the same number of threads; no prediction
        may differ in this case.
    """

    images: int
    different: int
    margin: float
    same_device: bool

    @property
    def reproduced(self) -> bool:
        """Whether the stored predictions were reproduced.

        On the same kind of device, they must be equal; otherwise, they may differ where classes are nearly tied.
        """
        return self.different == 0 if self.same_device else self.margin <= TOLERANCE

    def __str__(self) -> str:
        equal = f"{self.images - self.different:,} of {self.images:,} predictions equal the stored predictions"
        if not self.different:
            return equal
        kind = "the same kind of device" if self.same_device else "a different kind of device or number of threads"
        allowed = "no difference" if self.same_device else f"differences up to {TOLERANCE:g} in probability"
        return f"{equal}; the others differ by up to {self.margin:.2g} in probability ({kind}: {allowed} may occur)"


TOLERANCE = 1e-3
"""Largest difference in probability at which a different kind of device may swap two classes, because it rounds
differently."""


@dataclass(frozen=True)
class Predicted:
    """A network's predictions for images.

    Attributes
    ----------
    run_id, epoch : run and epoch of the network.
    names : names of the images.
    classes : names of the classes.
    probabilities : [images, classes].
    labels : [images], true class numbers; None if they are unknown.
    compared : the comparison with the stored predictions; None if the images are not the run's own.
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
        """Number of the class with the highest probability, [images]."""
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

    For the test images, the predictions are compared with the run's stored predictions: they are equal on the same kind
    of device with the same number of threads, and otherwise equal up to `TOLERANCE`.

    Parameters
    ----------
    source : study directory or its URL in object storage, or the `Results` that `analysis.load` returns.
    run : run id or the start of one, or ``ARM/SEED``.
    folder : folder with photos, which may have subfolders; if all folders are named after classes of the run, a photo's
        folder is its class. None means the test images.
    device : ``cpu``, ``cuda`` or ``auto``.
    data_root : folder of the data on this machine, for the test images; None means the folder that the run used.
    plugin : files with the user's own code that the run used; the code is approved as for `ablations.run`.
    trust : hashes of the code that the user has approved; True approves all of the code.

    Raises
    ------
    UsageError: `run` does not match exactly one run, its network was not kept, or a plugin is not installed.
    DataError: no photo can be read, or the data differs from the run's data.
    StoreError: this is not a study directory, or the network's file is missing or damaged.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device {device!r}: use cpu, cuda or auto")
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
    """Yield the outputs of every batch, computed with the batch size, format and precision of the run's evaluation."""
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
    """Compare with the run's stored predictions; return None if none are stored for the kept network."""
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
    """Return the photos in a folder, prepared like the run's images, and their classes if known from the folders."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: is not a folder; specify a folder with photos")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and _shown(path, folder))
    if not paths:
        raise DataError(f"{folder}: contains no photos ({', '.join(sorted(each[1:] for each in SUFFIXES))})")
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
