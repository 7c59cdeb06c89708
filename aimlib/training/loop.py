"""The training loop: one run from its configuration to its outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from aimlib.config import RunConfig, TrainingConfig
from aimlib.datasets.base import DataSet, ImageShape
from aimlib.errors import DataError
from aimlib.models import build
from aimlib.registry import optimizers, schedules, selections
from aimlib.seeding import seed_for
from aimlib.training import checkpoints, splits
from aimlib.training.augmentation import augment, draws
from aimlib.training.checkpoints import Checkpoint
from aimlib.training.devices import autocast, reproducible
from aimlib.training.evaluation import Evaluation, evaluate
from aimlib.training.inputs import identity_scaling, load_batch, standardization
from aimlib.training.schedules.base import Schedule
from aimlib.training.stopping import should_stop

_CHECKPOINT_SHARE = 0.05
"""Largest share of a run's time that goes into checkpoints; below it, every epoch is saved."""

OnEpoch = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Outcome:
    """What came of a run. Units as in `aimlib.records`.

    Attributes
    ----------
    status, reason : ``finished``, or ``diverged`` and why.
    epochs : one mapping of `aimlib.records.EPOCHS` per completed epoch.
    predictions : [epochs, test images]; one row for the network at its start where no epoch was completed.
    selected_epoch : the epoch that the selection rule chose; 0 is the start.
    selected : accuracies and losses of that epoch.
    images : number of training, validation and test images.
    seconds, attempts, started_at : wall time over all attempts, their number, ISO time of the first.
    """

    status: str
    reason: str | None
    epochs: list[dict[str, Any]]
    predictions: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    selected_epoch: int
    selected: dict[str, float | None]
    images: tuple[int, int, int]
    seconds: float
    attempts: int
    started_at: str


class Diverged(Exception):  # noqa: N818 -- an outcome, not an error
    """The loss is no longer a finite number."""


def train(
    config: RunConfig,
    data: DataSet,
    *,
    device: torch.device | None = None,
    threads: int | None = None,
    run_id: str = "",
    checkpoint_directory: Path | None = None,
    checkpoint_share: float = _CHECKPOINT_SHARE,
    on_epoch: OnEpoch | None = None,
) -> Outcome:
    """Train one run to its end, going on from its checkpoint where there is one.

    Parameters
    ----------
    device : None is the CPU.
    threads : CPU threads; None leaves torch's setting. With the same number the CPU gives the same bits.
    run_id : guards the checkpoint against another run's.
    checkpoint_directory : None keeps no checkpoint.
    checkpoint_share : largest share of the time spent on saving; infinity saves after every epoch.
    on_epoch : called after every completed (and saved) epoch; what it raises ends the attempt.

    Raises
    ------
    UsageError: data and configuration do not fit each other.
    """
    with reproducible(threads=threads, tf32=config.training.tf32):
        run = _Run(config, data, device or torch.device("cpu"))
        keeper = _Keeper(run, run_id, checkpoint_directory, checkpoint_share)
        return _finish(run, keeper, _epochs(run, keeper, on_epoch))


def _epochs(run: _Run, keeper: _Keeper, on_epoch: OnEpoch | None) -> str | None:
    """Train the remaining epochs; return why the run diverged, or None."""
    while not run.done():
        try:
            run.epoch()
        except Diverged as reason:
            return str(reason)
        keeper.keep()
        if on_epoch is not None:
            on_epoch(run.history[-1])
    return None


class _Run:
    """A run under way. Everything that changes is in `network`, `optimizer`, `history` and `predictions`."""

    def __init__(self, config: RunConfig, data: DataSet, device: torch.device) -> None:
        self.config, self.data, self.device = config, data, device
        self.options = config.training
        self.seed = config.seed
        pixels = data.train.pixels
        _, height, width, channels = pixels.shape
        self.shape = ImageShape(channels, height, width, len(data.classes))
        self.training, self.validation = splits.hold_out(
            data.train.labels, self.options.validation_fraction, config.seed
        )
        if len(self.training) < 2:
            raise DataError(f"{len(self.training)} images are left to train on; lower training.validation_fraction")
        if self.options.validation_fraction > 0 and len(self.validation) == 0:
            raise DataError(
                f"training.validation_fraction={self.options.validation_fraction} holds out no image of "
                f"{len(pixels)} in {self.shape.classes} classes; raise it"
            )
        self.test = np.arange(len(data.test.labels), dtype=np.int64)
        standardise = self.options.input_scaling == "standardise"
        scaling = standardization(pixels, self.training) if standardise else identity_scaling(channels)
        self.scaling = scaling.to(device)
        self.network = self._initial_network()
        trained = [p for p in self.network.parameters() if p.requires_grad]
        self.optimizer: torch.optim.Optimizer = optimizers.create(self.options.optimizer).build(trained)
        self.history: list[dict[str, Any]] = []
        self.predictions: list[npt.NDArray[Any]] = []

    def _initial_network(self) -> torch.nn.Module:
        network = build(self.config.model, self.shape, self.seed)
        return network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def done(self) -> bool:
        """Tell whether the budget is spent or early stopping says so."""
        if len(self.history) >= self.options.epochs:
            return True
        stopping = self.options.early_stopping
        return stopping is not None and should_stop(stopping, [row["validation_accuracy"] for row in self.history])

    def schedule(self) -> Schedule | None:
        """Return the schedule, brought up to the history."""
        if self.options.schedule is None:
            return None
        plugin = schedules.get(self.options.schedule.name)
        schedule: Schedule = plugin(self.options.schedule, self.optimizer.defaults["lr"], self.options.epochs)
        for row in self.history:
            schedule.after_epoch(row["validation_accuracy"])
        return schedule

    def epoch(self) -> None:
        """Train and evaluate one epoch and add it to the history.

        Raises
        ------
        Diverged: a loss of the epoch is not finite.
        """
        number, started = len(self.history) + 1, time.perf_counter()
        torch.manual_seed(seed_for(self.seed, "layers", number))  # dropout
        loss, accuracy = self._train_epoch(number)
        validation, test = self.evaluate()
        losses = (loss, test.loss, validation.loss if validation else 0.0)
        if not np.isfinite(losses).all():
            raise Diverged(f"loss not finite in epoch {number}")
        self.predictions.append(self._compact(test))
        self.history.append(
            {
                "epoch": number,
                "train_loss": loss,
                "train_accuracy": accuracy,
                "validation_loss": validation.loss if validation else None,
                "validation_accuracy": validation.accuracy if validation else None,
                "test_loss": test.loss,
                "test_accuracy": test.accuracy,
                "learning_rate": self.optimizer.param_groups[0]["lr"],
                "seconds": time.perf_counter() - started,
            }
        )

    def _train_epoch(self, number: int) -> tuple[float, float]:
        """Return mean loss and accuracy over the batches of the epoch."""
        self.network.train()
        order = self._order(number)
        schedule = self.schedule()
        loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        correct = torch.zeros((), dtype=torch.int64, device=self.device)
        plan = list(splits.batches(order, self.options.batch_size, drop_last=self.options.drop_last))
        if not plan:
            raise DataError(
                f"no full batch of {self.options.batch_size} in {len(order)} training images; lower "
                f"training.batch_size or set training.drop_last to false"
            )
        for step, batch in enumerate(plan):
            if schedule is not None:
                for group in self.optimizer.param_groups:
                    group["lr"] = schedule.rate(number - 1 + step / len(plan))
            loss, hits = self._step(batch, number)
            loss_sum += loss.double() * len(batch)
            correct += hits
        count = sum(len(batch) for batch in plan)
        return float(loss_sum) / count, int(correct) / count

    def _order(self, number: int) -> splits.Indices:
        if self.options.shuffle:
            return splits.epoch_order(self.training, self.seed, number)
        return splits.fixed_order(self.training, self.data.train.names)

    def _step(self, batch: splits.Indices, epoch: int) -> tuple[Tensor, Tensor]:
        """Train on one batch; return its mean loss and its number of right answers, on the device."""
        x_BCHW, labels = load_batch(self.data.train, batch, self.device)
        augmentation = self.options.augmentation
        if augmentation is not None:
            chance = draws(self.seed, epoch, batch, augmentation.passes).to(self.device)
            x_BCHW = augment(x_BCHW, chance, augmentation)
        with autocast(self.device, self.options.precision):
            logits = self.network(self.scaling(x_BCHW))
        loss = functional.cross_entropy(logits.float(), labels, label_smoothing=self.options.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach(), (logits.detach().argmax(dim=1) == labels).sum()

    def evaluate(self) -> tuple[Evaluation | None, Evaluation]:
        """Return the evaluation on the validation images, if there are any, and on the test images."""
        size, precision = 2 * self.options.batch_size, self.options.precision
        validation = None
        if len(self.validation):
            validation = evaluate(
                self.network,
                self.data.train,
                self.validation,
                self.scaling,
                batch_size=size,
                precision=precision,
            )
        test = evaluate(self.network, self.data.test, self.test, self.scaling, batch_size=size, precision=precision)
        return validation, test

    def restart(self) -> tuple[Evaluation | None, Evaluation]:
        """Put the network back to its start and return its evaluation there, for a run that never trained."""
        self.network = self._initial_network()
        validation, test = self.evaluate()
        self.predictions = [self._compact(test)]
        return validation, test

    def _compact(self, test: Evaluation) -> npt.NDArray[Any]:
        return test.predictions.astype(np.uint8 if self.shape.classes <= 256 else np.uint16)


class StepTimer:
    """Times training and evaluation of one configuration; what it trains is thrown away.

    Parameters
    ----------
    data : at least one batch of training images.
    """

    def __init__(self, config: RunConfig, data: DataSet, device: torch.device, threads: int | None) -> None:
        self._threads, self._tf32 = threads, config.training.tf32
        self._run = _Run(config.model_copy(update={"training": _timed(config.training)}), data, device)

    def measure(self, seconds: float, most: int = 8) -> tuple[float, float]:
        """Return the median seconds of a training step and of evaluating a batch of the same size.

        The first step warms up and is not counted. At least one and at most `most` steps are timed, and none is
        begun after `seconds`.
        """
        run = self._run
        batch = run.training[: run.options.batch_size]
        with reproducible(threads=self._threads, tf32=self._tf32):
            train_seconds = _timed_calls(lambda: self._train(batch), run.device, seconds, most)
            evaluate_seconds = _timed_calls(lambda: self._evaluate(batch), run.device, seconds / 3, most)
        return train_seconds, evaluate_seconds

    def _train(self, batch: splits.Indices) -> None:
        self._run.network.train()
        self._run._step(batch, 1)

    def _evaluate(self, batch: splits.Indices) -> None:
        run = self._run
        evaluate(
            run.network,
            run.data.train,
            batch,
            run.scaling,
            batch_size=len(batch),
            precision=run.options.precision,
        )


def _timed(training: TrainingConfig) -> TrainingConfig:
    return training.model_copy(update={"validation_fraction": 0.0, "early_stopping": None})


def _timed_calls(call: Callable[[], None], device: torch.device, seconds: float, most: int) -> float:
    def timed() -> float:
        started = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    began = time.perf_counter()
    timed()
    times = [timed()]
    while len(times) < most and time.perf_counter() - began < seconds:
        times.append(timed())
    return float(np.median(times))


class _Keeper:
    """Keeps the checkpoint of a run, and its wall time over all attempts."""

    def __init__(self, run: _Run, run_id: str, directory: Path | None, share: float) -> None:
        self.run, self.run_id, self.directory, self.share = run, run_id, directory, share
        self.attempts, self.before = 1, 0.0
        self.started_at = datetime.now(UTC).isoformat()
        self.began = self.saved_at = time.perf_counter()
        self.cost = 0.0
        found = checkpoints.load(directory, run_id) if directory else None
        if found is not None:
            self._resume(found)

    def _resume(self, found: Checkpoint) -> None:
        run = self.run
        run.network.load_state_dict(found.network)
        run.optimizer.load_state_dict(found.optimizer)
        run.history, run.predictions = found.epochs, list(found.predictions.numpy())
        self.attempts, self.before, self.started_at = found.attempts + 1, found.seconds, found.started_at

    @property
    def seconds(self) -> float:
        """Wall time over all attempts so far."""
        return self.before + time.perf_counter() - self.began

    def keep(self) -> None:
        """Save the run, unless saving would take more than its share of the time."""
        started = time.perf_counter()
        if self.directory is None or self.cost > self.share * (started - self.saved_at):
            return
        run = self.run
        state = Checkpoint(
            run_id=self.run_id,
            epochs=run.history,
            predictions=torch.from_numpy(np.stack(run.predictions)),
            network=run.network.state_dict(),
            optimizer=run.optimizer.state_dict(),
            seconds=self.seconds,
            attempts=self.attempts,
            started_at=self.started_at,
        )
        checkpoints.save(state, self.directory)
        self.saved_at = time.perf_counter()
        self.cost = self.saved_at - started


def _finish(run: _Run, keeper: _Keeper, diverged: str | None) -> Outcome:
    if run.history:
        chosen = selections.create(run.options.selection).select(run.history)
        row = run.history[chosen - 1]
        selected = {key: row[key] for key in _SELECTED}
    else:
        chosen = 0
        validation, test = run.restart()
        values = (
            *((validation.accuracy, validation.loss) if validation else (None, None)),
            test.accuracy,
            test.loss,
        )
        selected = dict(zip(_SELECTED, values, strict=True))
    return Outcome(
        status="finished" if diverged is None else "diverged",
        reason=diverged,
        epochs=run.history,
        predictions=np.stack(run.predictions),
        selected_epoch=chosen,
        selected=selected,
        images=(len(run.training), len(run.validation), len(run.test)),
        seconds=keeper.seconds,
        attempts=keeper.attempts,
        started_at=keeper.started_at,
    )


_SELECTED = ("validation_accuracy", "validation_loss", "test_accuracy", "test_loss")
