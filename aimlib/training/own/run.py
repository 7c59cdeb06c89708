"""`OwnRun`: the object that the user's own training code receives and to which it reports."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np
import numpy.typing as npt
import torch

from aimlib.datasets.base import DataSet, Images, ImageShape
from aimlib.errors import UsageError, counted, did_you_mean
from aimlib.models import build
from aimlib.seeding import seed_for
from aimlib.training import rng_state, splits
from aimlib.training.checkpoint_manager import Paused
from aimlib.training.own import files, reported
from aimlib.training.run import Diverged
from aimlib.training.steps.choice import OnNotice

if TYPE_CHECKING:
    from aimlib.training.own.config import OwnRunConfig

Split = Literal["train", "validation", "test"]
_SPLITS = "train", "validation", "test"
_REPORTED = "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "test_loss", "learning_rate"
"""What code may report about an epoch; accuracies on the validation and test images are computed from the predictions.
"""
_TAKEN = "epoch", "seconds", "test_accuracy", "test_top5_accuracy"
_ROUNDING = 1e-6


@dataclass
class Saved:
    """The content of a checkpoint of the user's own training code."""

    history: list[dict[str, Any]]
    predictions: list[npt.NDArray[Any]]
    content: dict[str, Any]
    scalars: dict[str, list[float | None]] = field(default_factory=dict)


class OwnRun:
    """A run of the user's own training code.

    Everything that the code reports is checked when it is reported. The global generators of torch, NumPy and Python
    are seeded with the run's seed and the number of the epoch: at the start, and after every report and `restore`. Code
    that draws only from these generators, and saves its checkpoints at the end of an epoch, therefore draws the same
    numbers after an interruption.

    Attributes
    ----------
    device : where to train.
    threads : number of CPU threads that the run may use; None: torch's setting.
    classes : names of the classes, in the order of their numbers.
    """

    def __init__(
        self,
        config: OwnRunConfig,
        data: DataSet,
        device: torch.device,
        *,
        threads: int | None = None,
        saved: Saved | None = None,
        on_epoch: Callable[[Mapping[str, Any]], None] = lambda _: None,
        on_notice: OnNotice = lambda _: None,
        save: Callable[[OwnRun, dict[str, Any]], None] = lambda _run, _content: None,
        pause: Callable[[], bool] = lambda: False,
        seconds: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.config, self.device, self.threads = config, device, threads
        self.classes = data.classes
        self.history: list[dict[str, Any]] = []
        self.stored_predictions: list[npt.NDArray[Any]] = []
        self.scalars: dict[str, list[float | None]] = {}
        self.ended: Exception | None = None
        self._data, self._saved = data, saved
        self._on_epoch, self._on_notice, self._save, self._pause, self._seconds = (
            on_epoch,
            on_notice,
            save,
            pause,
            seconds,
        )
        self._began = seconds()
        self._saves = saved is not None
        self._pending: dict[str, npt.NDArray[np.int64]] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        divided = splits.divide(data, config.training.validation_fraction, config.seed)
        self._validated = divided.validated
        self._numbers = {
            "train": divided.training,
            "validation": divided.validation,
            "test": np.arange(len(data.test.labels), dtype=np.int64),
        }

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Refuse an unknown name, and suggest the closest known name."""
            own = [each for each in dir(type(self)) if not each.startswith("_")]
            known = sorted([*own, "classes", "config", "device", "threads"])
            near = did_you_mean(name, known)
            raise AttributeError(f"run.{name}: no such name; {near}known: {', '.join(known)}")

    @property
    def epochs_done(self) -> int:
        """Number of epochs reported so far; after `restore`, the number of epochs before the checkpoint."""
        return len(self.history)

    @property
    def should_stop(self) -> bool:
        """Whether the session must end. If so, save a checkpoint soon; saving the checkpoint ends the attempt.

        This is fast enough to be called after every step.
        """
        return self._pause()

    def seed(self, *names: str | int) -> int:
        """Return the seed of a named stream, in [0, 2**63), such as ``run.seed("order", epoch)``.

        Every arm has the same seed for the same names. The built-in loop uses split, init, order and augment.
        """
        return seed_for(self.config.seed, *names)

    def generator(self, *names: str | int) -> np.random.Generator:
        """Return a NumPy generator for a named stream, at the beginning of the stream."""
        return np.random.default_rng(self.seed(*names))

    def torch_generator(self, *names: str | int) -> torch.Generator:
        """Return a torch generator on the CPU for a named stream, at the beginning of the stream."""
        return torch.Generator().manual_seed(self.seed(*names))

    def network(self) -> torch.nn.Module:
        """Return the network that the arm's `model` describes, on the device, with the seed's initial values.

        Raises
        ------
        UsageError: the arm has no network.
        """
        if self.config.model is None:
            raise UsageError("run.network: this arm has no network; set base.model, or build your own network")
        _, height, width, channels = self._data.test.pixels.shape
        shape = ImageShape(channels, height, width, len(self.classes))
        return build(self.config.model, shape, self.config.seed).to(self.device)

    def split(self, name: Split) -> Images:
        """Return the images in a split: ``train`` (without held-out images), ``validation`` (held out) or ``test``.

        Returns
        -------
        pixels [images, height, width, channels], uint8; labels [images], int64; names, one per image.
        """
        numbers = self._of(name)
        images = self._images(name)
        if len(numbers) == len(images.labels):
            return images
        return Images(images.pixels[numbers], images.labels[numbers], tuple(images.names[each] for each in numbers))

    def _images(self, name: str) -> Images:
        return self._data.splits()[self._validated if name == "validation" else name]

    def _names(self, name: str) -> list[str]:
        names = self._images(name).names
        return [names[each] for each in self._of(name)]

    def _of(self, name: str) -> npt.NDArray[np.int64]:
        if name not in self._numbers:
            raise UsageError(
                f"{name!r} is not a split; {did_you_mean(name, _SPLITS)}choose one of {', '.join(_SPLITS)}"
            )
        return self._numbers[name]

    def predictions(self, split: Split, ids: Iterable[str | int] | None, labels: Any) -> None:
        """Pass the predicted classes of all images in ``test`` or ``validation`` for the epoch that is reported next.

        Parameters
        ----------
        ids : the images, in any order: their names, or their positions, from 0, in ``run.split(split)``; None: all
            images, in the split's order.
        labels : [images], the predicted class of each image, by number or name; a list, an array or a tensor.

        Raises
        ------
        UsageError: an image is missing, unknown or listed twice, or a label is not a class.
        """
        where = f"run.predictions({split!r})"
        if split not in ("validation", "test"):
            raise UsageError(f"{where}: pass predictions for 'test' or 'validation'")
        names = self._names(split)
        if not names:
            raise UsageError(f"{where}: no images are held out; set training.validation_fraction, or remove this call")
        predicted = reported.labels(labels, self.classes, where)
        places = np.arange(len(names)) if ids is None else reported.places(ids, names, where)
        if len(places) != len(predicted):
            raise UsageError(f"{where}: {counted(len(places), 'image')}, but {counted(len(predicted), 'label')}")
        given = np.bincount(places, minlength=len(names))
        if (given != 1).any():
            lacking, twice = int((given == 0).sum()), int((given > 1).sum())
            example = names[int(np.argmax(given != 1))]
            wrong = [f"{lacking} {'is' if lacking == 1 else 'are'} missing"] if lacking else []
            wrong += [f"{twice} {'is' if twice == 1 else 'are'} listed more than once"] if twice else []
            raise UsageError(
                f"{where}: list each of the {counted(len(names), 'image')} once; {' and '.join(wrong)}, such as "
                f"{example!r}"
            )
        ordered = np.empty(len(names), dtype=np.int64)
        ordered[places] = predicted
        self._pending[split] = ordered

    def report(self, epoch: int | None = None, accuracy: float | None = None, **measures: Any) -> None:
        """Report an epoch, after its predictions. The epoch appears in the progress display and in the run's row.

        Parameters
        ----------
        epoch : number of the epoch, from 1; None: the next one.
        accuracy : the accuracy that your code has measured on the test images, as a fraction; it is compared with the
            predictions.
        measures : ``train_loss``, ``train_accuracy``, ``validation_loss``, ``test_loss``, ``learning_rate``; each is
            optional. If a loss is not a finite number, the run ends as diverged. Any other name defines your own
            measure, which becomes a column of the epochs, and which the verdict can use: ``measure: {scalar: NAME}``.

        Raises
        ------
        UsageError: there are no predictions, the predictions contradict an accuracy, or the epoch is not the next one.
            Paused: the session ends. Do not catch this exception.
        """
        number = self._next(epoch)
        measured, scalars = self._measures(measures)
        row = {"epoch": number, **dict.fromkeys(_REPORTED), **measured}
        row |= {"test_accuracy": self._counted("test"), "test_top5_accuracy": None}
        if len(self._numbers["validation"]):
            row["validation_accuracy"] = self._counted("validation")
        self._compared("accuracy", accuracy, row["test_accuracy"], "test")
        self._compared(
            "validation_accuracy", measured.get("validation_accuracy"), row["validation_accuracy"], "validation"
        )
        now = self._seconds()
        row["seconds"], self._began = now - self._began, now
        compact = self._pending.pop("test").astype(np.uint8 if len(self.classes) <= 256 else np.uint16)
        self._pending.clear()
        self._refuse_infinite(row, compact)
        self.stored_predictions.append(compact)
        for name in {*self.scalars, *scalars}:
            self.scalars.setdefault(name, [None] * len(self.history)).append(scalars.get(name))
        self.history.append(row)
        self._on_epoch(row)
        rng_state.seed(self.config.seed, number + 1)
        if not self._saves and number < self.config.training.epochs and self._pause():
            self._end(Paused(number, 0))  # this code does not save anything, so it starts from the beginning

    def checkpoint(self, folder: str | Path) -> None:
        """Save the run with the files in a folder, so that it can continue after the epoch reported last.

        Parameters
        ----------
        folder : folder with everything that your code needs to continue; it is copied.

        Raises
        ------
        UsageError: the path is not a folder. Paused: the session ends. Do not catch this exception.
        """
        if not isinstance(folder, (str, os.PathLike)):
            raise UsageError(
                f"run.checkpoint: got {type(folder).__name__}; save your files in a folder, and pass its path"
            )
        content = files.content_of(Path(folder))
        self._saves = True
        self._save(self, content)
        if self._pause():
            self._end(Paused(len(self.history), 0))

    def restore(self) -> Path | None:
        """Return a folder with the last checkpoint's files, and set `epochs_done`; None if there is no checkpoint.

        The folder is removed when the run ends.
        """
        if self._saved is None:
            return None
        self._folder = tempfile.TemporaryDirectory(prefix="aim-restored-")
        files.write(self._saved.content, Path(self._folder.name))
        self.history, self.stored_predictions = list(self._saved.history), list(self._saved.predictions)
        self.scalars = {name: list(values) for name, values in self._saved.scalars.items()}
        rng_state.seed(self.config.seed, len(self.history) + 1)
        return Path(self._folder.name)

    def notice(self, text: str) -> None:
        """Show a message to the user, and write it to the run's log."""
        self._on_notice(str(text))

    def close(self) -> None:
        """Remove the folder that `restore` returned."""
        if self._folder is not None:
            shutil.rmtree(self._folder.name, ignore_errors=True)

    def _end(self, reason: Exception) -> NoReturn:
        self.ended = reason
        raise reason

    def _next(self, epoch: int | None) -> int:
        number, budget = len(self.history) + 1, self.config.training.epochs
        if epoch is not None and int(epoch) != number:
            hint = (
                "after run.restore(), continue with run.epochs_done + 1"
                if self._saved is not None
                else "count from 1, or omit the number"
            )
            raise UsageError(f"run.report: epoch {epoch} was reported, but the next one is {number}; {hint}")
        if number > budget:
            raise UsageError(
                f"run.report: epoch {number} was reported, but training.epochs is {budget}; train exactly "
                f"config.training.epochs epochs, or increase the number in the study"
            )
        return number

    def _measures(self, given: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float | None]]:
        """Return the measures that every run has, and the code's own measures; values that are not finite are null."""
        found: dict[str, float] = {}
        scalars: dict[str, float | None] = {}
        for name, value in given.items():
            if value is None:
                continue
            number = reported.number(name, value)
            if name in _REPORTED:
                found[name] = number
            elif near := did_you_mean(name, ("accuracy", *_REPORTED)):
                listed = ", ".join(("accuracy", *_REPORTED))
                raise UsageError(
                    f"run.report: unknown measure {name!r}; {near}known: {listed}; choose a different name for "
                    f"your own measure"
                )
            elif name in _TAKEN:
                raise UsageError(
                    f"run.report: {name!r} is computed by this package; choose a different name for your own measure"
                )
            else:
                scalars[name] = number if math.isfinite(number) else None
        return found, scalars

    def _counted(self, split: Split) -> float:
        if split not in self._pending:
            raise UsageError(
                f"run.report: no predictions for the {split} images; call run.predictions({split!r}, ids, labels) "
                f"before every report"
            )
        return float((self._pending[split] == self._images(split).labels[self._of(split)]).mean())

    def _compared(self, name: str, given: Any, counted_as: float | None, split: str) -> None:
        if given is None or counted_as is None:
            return
        if abs(reported.number(name, given) - counted_as) > _ROUNDING:
            raise UsageError(
                f"run.report: {name} {float(given):.6f}, but the predictions for the {split} images give "
                f"{counted_as:.6f}; report a fraction of all images, or check the order of the ids"
            )

    def _refuse_infinite(self, row: Mapping[str, Any], predictions: npt.NDArray[Any]) -> None:
        """End the run as diverged if a loss is not finite; if this is the first epoch, its predictions are kept."""
        for name in ("train_loss", "validation_loss", "test_loss"):
            if row[name] is not None and not math.isfinite(row[name]):
                if not self.stored_predictions:
                    self.stored_predictions.append(predictions)
                self._end(Diverged(f"{name} not finite in epoch {row['epoch']}"))
