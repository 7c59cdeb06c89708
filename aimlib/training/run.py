"""A run in progress: its data, network, optimizer and history, one epoch at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aimlib.config import RunConfig
from aimlib.datasets.base import DataSet, ImageShape
from aimlib.errors import DataError
from aimlib.memory.attach import AimNetwork
from aimlib.memory.measures import memory_measures
from aimlib.models import build, weights_fit
from aimlib.registry import optimizers, schedules
from aimlib.training import splits
from aimlib.training.augmentation import draws
from aimlib.training.callbacks.events import Callbacks
from aimlib.training.early_stopping import should_stop
from aimlib.training.epoch import AfterPart, Epoch
from aimlib.training.evaluation import Evaluation, Tally, evaluate
from aimlib.training.inputs import identity_scaling, to_device
from aimlib.training.kept_networks import Keep, KeptNetwork, not_kept, snapshot
from aimlib.training.loaders import Loader, loader, place_of_data
from aimlib.training.losses.base import Loss, build_loss
from aimlib.training.optimizers.groups import build_optimizer
from aimlib.training.optimizers.on_device import Rates, runs_on_device
from aimlib.training.schedules.base import Schedule
from aimlib.training.selections.base import choose
from aimlib.training.spot_checks import SpotChecks
from aimlib.training.standardization import standardization_of
from aimlib.training.steps.base import MEMORY_FORMATS, Computation, Inputs, Step
from aimlib.training.steps.choice import OnNotice, chosen_step, stated_step
from aimlib.training.steps.eager import EagerStep
from aimlib.training.transforms import Place, transforms_of
from aimlib.training.tuning.average import WeightAverage
from aimlib.training.tuning.freezing import Freezing
from aimlib.training.tuning.groups import Tuning, tuning_of

SplitName = Literal["train", "validation", "test"]


class Diverged(Exception):  # noqa: N818 -- an outcome, not an error
    """The loss is no longer a finite number."""


class Run:
    """A run in progress. Everything that changes is in `network`, `optimizer`, `history`, `predictions`, `under_way`.

    Parameters
    ----------
    memory_share : maximum share of the device's memory that the run may use; None: all of it.
    on_notice : called with messages for the user.

    Attributes
    ----------
    average : the weight average, if fine-tuning requests it; None otherwise.
    computation : what the run's steps compute.
    step_kept : how the run computed its steps before it was resumed (``eager``, ``graph`` or ``compiled``); None if the
        run was not resumed.
    data_on : where the run's images are kept, ``device`` or ``host``; on the CPU, both are the same.
    spot_checks : repeats some of the run's steps; None: no steps are repeated.
    keep, kept : which network to keep, and the network kept so far.
    memory : measures of the memory at the start and after every epoch, if a network is kept.
    """

    def __init__(
        self,
        config: RunConfig,
        data: DataSet,
        device: torch.device,
        *,
        memory_share: float | None = None,
        on_notice: OnNotice | None = None,
    ) -> None:
        self.config, self.data, self.device = config, data, device
        self.on_notice: OnNotice = on_notice or (lambda _: None)
        self.options = config.training
        self.seed = config.seed
        pixels = data.train.pixels
        _, height, width, channels = pixels.shape
        self.shape = ImageShape(channels, height, width, len(data.classes))
        divided = splits.divide(data, self.options.validation_fraction, config.seed_of("split"))
        self.training, self.validation, self._validated = divided.training, divided.validation, divided.validated
        if len(self.training) < 2:
            raise DataError(f"{len(self.training)} images remain for training; lower training.validation_fraction")
        if self.options.validation_fraction > 0 and len(self.validation) == 0:
            raise DataError(
                f"training.validation_fraction={self.options.validation_fraction} holds out none of {len(pixels)} "
                f"images in {self.shape.classes} classes; increase it"
            )
        self.test = np.arange(len(data.test.labels), dtype=np.int64)
        # The order mixes classes, so that permuting the memories within a batch gives an image the memory of another
        # image in its class only by chance.
        self._test_order = self._in_fixed_order(self.test, "test")
        self._validation_order = self._in_fixed_order(self.validation, self._validated)
        self._refuse_empty_evaluation()
        standardise = self.options.input_scaling == "standardise"
        scaling = standardization_of(data, self.training) if standardise else identity_scaling(channels)
        self.scaling = scaling.to(device)
        self.network = self._initial_network()
        if config.model.weights is not None:
            self.on_notice(weights_fit(config.model, self.shape).sentence(config.model.weights.source))
        tuning = self._tuning()
        self.optimizer = build_optimizer(self.options.optimizer, self.network, tuning)
        self.average = self._first_average()
        self.loss = self._built_loss()
        self.transforms = transforms_of(self.options, self.shape, self.scaling)
        self.computation = self._computed()
        self.step_kept: str | None = None
        self._step = stated_step(config, self.computation)
        self._freezing: Freezing | None = None
        if tuning is not None and tuning.frozen:
            self._freezing, self._step = Freezing(self.network, tuning), EagerStep(self.computation)
        self.data_on, self._loaders = self._placed(memory_share)
        self.history: list[dict[str, Any]] = []
        self.predictions: list[npt.NDArray[Any]] = []
        self.under_way: Epoch | None = None
        self.callbacks = Callbacks(self.options.callbacks, self.network, self.optimizer, self.options.epochs)
        self.spot_checks: SpotChecks | None = None
        self.keep: Keep = "none"
        self.kept: KeptNetwork | None = None
        self.memory: list[dict[str, Any]] = []
        self.keep_scores = False
        self.scores: tuple[int, npt.NDArray[np.float16]] | None = None

    def _initial_network(self) -> torch.nn.Module:
        network = build(self.config.model, self.shape, self.config.seed_of("init"))
        layout = MEMORY_FORMATS[self.options.memory_format]
        return network.to(self.device, memory_format=layout)  # type: ignore[call-overload, no-any-return]

    def _tuning(self) -> Tuning | None:
        options = self.options.fine_tuning
        return None if options is None else tuning_of(self.network, options, self.config.model, self.shape)

    def _first_average(self) -> WeightAverage | None:
        options = self.options.fine_tuning
        return None if options is None or options.ema is None else WeightAverage(self.network, options.ema)

    @property
    def evaluated(self) -> torch.nn.Module:
        """The network that is evaluated and kept: the weight average if there is one, otherwise the trained network."""
        return self.network if self.average is None else self.average.network

    def _computed(self) -> Computation:
        """Return what a step computes."""
        plugin = optimizers.get(self.options.optimizer.name)
        takes_tensors = bool(getattr(plugin, "on_device", False)) and runs_on_device(self.device)
        rates = Rates(self.optimizer, self.device) if takes_tensors else None
        return Computation(self.network, self.optimizer, self.scaling, self.options, self.device, rates, self.loss)

    def _built_loss(self) -> Loss | None:
        """Return the loss, built with the number of training images in each class; None means the cross-entropy."""
        counts = np.bincount(self.data.train.labels[self.training], minlength=self.shape.classes)
        return build_loss(self.options.loss, torch.from_numpy(counts.astype(np.int64)), self.device)

    def _placed(self, memory_share: float | None) -> tuple[str, dict[str, Loader]]:
        """Return where the images are kept, and a loader for each split."""
        splits_of = self.data.splits()
        place = place_of_data(self.config, self.data, self.device, memory_share)
        try:
            return place, {name: loader(images, self.device, place) for name, images in splits_of.items()}
        except torch.OutOfMemoryError:
            if self.options.data_on != "auto":
                raise
        return "host", {name: loader(images, self.device, "host") for name, images in splits_of.items()}

    def _refuse_empty_evaluation(self) -> None:
        size = self.options.batch_size
        for name, images in (("validation", self.validation), ("test", self.test)):
            if self.options.evaluation_drop_last and 0 < len(images) < size:
                raise DataError(
                    f"there is no full batch of {size} in {len(images)} {name} images; lower training.batch_size "
                    f"or set "
                    f"training.evaluation_drop_last to false"
                )

    def _monitored(self, row: Mapping[str, Any]) -> float:
        """Return the accuracy monitored by the schedule and early stopping."""
        accuracy: float = row[f"{self.options.monitor}_accuracy"]
        return accuracy

    def done(self) -> bool:
        """Return whether the run is finished: all epochs are done, or early stopping or a callback ended it."""
        if len(self.history) >= self.options.epochs or (self.history and self.callbacks.ended):
            return True
        stopping = self.options.early_stopping
        return stopping is not None and should_stop(stopping, map(self._monitored, self.history))

    def schedule(self) -> Schedule | None:
        """Return the schedule after replaying the history."""
        if self.options.schedule is None:
            return None
        plugin = schedules.get(self.options.schedule.name)
        schedule: Schedule = plugin(self.options.schedule, self.optimizer.defaults["lr"], self.options.epochs)
        for row in self.history:
            schedule.after_epoch(self._monitored(row))
        return schedule

    def epoch(self, after_part: AfterPart | None = None) -> None:
        """Train and evaluate one epoch, or the rest of an incomplete epoch, and add it to the history.

        Parameters
        ----------
        after_part : called after every training step and between the batches of evaluations; if it raises an exception,
            the epoch is interrupted.

        Raises
        ------
        Diverged: a loss in the epoch is not finite.
        """
        if self.under_way is None:
            self.under_way = Epoch(len(self.history) + 1, self.config.seed_of("layers"), self.device)
            self.callbacks.epoch_start(self.under_way.number)
        under_way = self.under_way
        loss, accuracy = self._train_epoch(under_way, after_part)
        validation, test = self.evaluate(under_way, after_part)
        losses = (loss, test.loss, validation.loss if validation else 0.0)
        if not np.isfinite(losses).all():
            raise Diverged(self._reason(under_way))
        self.predictions.append(self._compact(test))
        self.history.append(
            {
                "epoch": under_way.number,
                "train_loss": loss,
                "train_accuracy": accuracy,
                "validation_loss": validation.loss if validation else None,
                "validation_accuracy": validation.accuracy if validation else None,
                "test_loss": test.loss,
                "test_accuracy": test.accuracy,
                "test_top5_accuracy": test.top5_accuracy,
                "learning_rate": self.optimizer.param_groups[0]["lr"],
                "seconds": under_way.seconds,
            }
        )
        self.callbacks.epoch_end(self.history[-1])
        self.under_way = None
        self.measure_memory()
        if self.keep == "best" and self.selected_epoch() == len(self.history):
            self.kept = self._snapshot()
        if self.keep_scores and test.scores is not None and self.selected_epoch() == len(self.history):
            self.scores = len(self.history), test.scores

    def measure_memory(self) -> None:
        """Measure the memory of the current network, if a network is kept and has a memory."""
        if self.keep != "none" and isinstance(self.evaluated, AimNetwork):
            self.memory.append({"epoch": len(self.history), **memory_measures(self.evaluated)})

    def _snapshot(self) -> KeptNetwork | None:
        """Return the current network; if it cannot be kept, issue a notice and keep no network."""
        try:
            return KeptNetwork(len(self.history), snapshot(self.evaluated))
        except TypeError as error:
            self.keep = "none"
            self.on_notice(f"no network of this run is kept: {error}")
            return None

    def selected_epoch(self) -> int:
        """Return the number, from 1, of the epoch that the selection rule chooses among the completed ones."""
        return choose(self.options.selection, self.history)

    def kept_network(self, diverged: bool) -> KeptNetwork | None:
        """Return the network to keep at the end of the run; if it was not kept, issue a notice and return None.

        Parameters
        ----------
        diverged : whether the run diverged; the current network is then the network after a later step than the last
            completed epoch.
        """
        epochs = len(self.history)
        if self.keep == "none":
            return None
        found = self.kept
        wanted = epochs if self.keep == "last" or not epochs else self.selected_epoch()
        if wanted == epochs and not (diverged and epochs):
            found = self._snapshot()
            if found is None:
                return None
        if found is None or found.epoch != wanted:
            self.on_notice(
                "the network of the last epoch is not kept, because the run diverged after it"
                if self.keep == "last"
                else not_kept(found, wanted, self.options.selection)
            )
            return None
        found.memory = self.memory
        found.scaling = torch.stack([self.scaling.mean.flatten(), self.scaling.sd.flatten()]).cpu()
        return found

    def kept_scores(self) -> npt.NDArray[np.float16] | None:
        """Return the selected epoch's scores at the end of the run; if they were not kept, issue a notice."""
        if not self.keep_scores:
            return None
        wanted = self.selected_epoch() if self.history else 0
        if self.scores is None or self.scores[0] != wanted:
            self.on_notice(
                f"the scores of epoch {wanted}, which {self.options.selection.name} selected, are not kept: that epoch "
                f"was evaluated before `keep_scores` was set, or the rule chose a different epoch at the time"
            )
            return None
        return self.scores[1]

    @staticmethod
    def _reason(under_way: Epoch) -> str:
        """Return a text with the epoch in which a loss was not finite and, for a training loss, the step."""
        step = under_way.first_step_not_finite()
        return f"loss not finite in epoch {under_way.number}" + (f", step {step}" if step is not None else "")

    def _train_epoch(self, under_way: Epoch, after_part: AfterPart | None) -> tuple[float, float]:
        """Take the remaining steps; return the mean loss and the accuracy over the batches in the epoch."""
        self.network.train()
        number = under_way.number
        if self._freezing is not None:
            self._freezing.begin(number)
        order = self._order(number)
        schedule = self.schedule()
        plan = list(splits.batches(order, self.options.batch_size, drop_last=self.options.drop_last))
        if not plan:
            raise DataError(
                f"no full batch of {self.options.batch_size} in {len(order)} training images; lower "
                f"training.batch_size or set training.drop_last to false"
            )
        if schedule is not None:
            schedule.prepare(len(plan))
        for step in range(under_way.step, len(plan)):
            if schedule is not None:
                for group in self.optimizer.param_groups:
                    group["lr"] = schedule.rate(number - 1 + step / len(plan)) * group["lr_scale"]
            following = plan[step + 1] if step + 1 < len(plan) else None
            loss, hits = self.step(plan[step], number, following)
            under_way.add(loss, hits, len(plan[step]))
            if self.average is not None:
                self.average.add(self.network)
            if self.callbacks:
                self.callbacks.step_end(number, under_way.step, loss)
            if after_part is not None:
                after_part()
        count = sum(len(batch) for batch in plan)
        return float(under_way.loss) / count, int(under_way.hits) / count

    def _order(self, number: int) -> splits.Indices:
        if self.options.shuffle:
            return splits.epoch_order(self.training, self.config.seed_of("order"), number)
        return self._in_fixed_order(self.training, "train")

    def _in_fixed_order(self, indices: splits.Indices, split: SplitName) -> splits.Indices:
        names = self.data.splits()[split].names
        return splits.fixed_order(indices, names, self.options.order, split=split, data=self.config.data.name)

    def step(self, batch: splits.Indices, epoch: int, following: splits.Indices | None = None) -> tuple[Tensor, Tensor]:
        """Train on one batch; return its mean loss and its number of correct predictions, on the device.

        Both may be overwritten by the next step.

        Parameters
        ----------
        following : the next batch, which is prepared in the meantime; None if there is none.

        Raises
        ------
        ComputingError: the step was repeated, and the two results were not bitwise identical; see
            `aimlib.training.spot_checks`.
        """
        inputs = self.inputs(batch, epoch, following)
        step, checks = self._step_for(inputs), self.spot_checks
        if checks is None or not checks.is_due():
            return step.take(inputs)
        where = f"step {self.under_way.step + 1 if self.under_way else 1} of epoch {epoch}"
        return checks.take(step, inputs, lambda: self.inputs(batch, epoch, following), where)

    @property
    def step_name(self) -> str:
        """How the run computes its steps: ``eager``, ``graph`` or ``compiled``."""
        return self._step.name if self._step is not None else self.step_kept or EagerStep.name

    def inputs(self, batch: splits.Indices, epoch: int, following: splits.Indices | None = None) -> Inputs:
        """Return a batch, with its draws, on the device."""
        x_BCHW, labels_B = self._loaders["train"].batch(batch, following)
        augmentation = self.options.augmentation
        seed = self.config.seed_of("augmentation")
        chance = None if augmentation is None else draws(seed, epoch, batch, augmentation)
        draws_PBD = None if chance is None else to_device(chance, self.device)
        if self.transforms is None:
            return Inputs(x_BCHW, labels_B, draws_PBD)
        step = self.under_way.step if self.under_way is not None else 0
        x_BCHW, targets_BC = self.transforms(x_BCHW, labels_B, draws_PBD, Place(seed, epoch, step, batch))
        return Inputs(x_BCHW, labels_B, None, targets_BC)

    def _step_for(self, inputs: Inputs) -> Step:
        """Return the object that takes the steps; if it has not been chosen yet, choose it at the first full batch."""
        if self._step is None:
            if len(inputs.labels_B) < self.options.batch_size:
                return EagerStep(self.computation)
            self._step = chosen_step(self.config, self.computation, inputs, self.step_kept, self.on_notice)
        return self._step

    def evaluate(
        self, under_way: Epoch | None = None, after_part: AfterPart | None = None
    ) -> tuple[Evaluation | None, Evaluation]:
        """Return the evaluation on the validation images, if there are any, and on the test images.

        Parameters
        ----------
        under_way : the epoch to which the evaluations belong; they continue where they were interrupted.
        """
        of_validation, of_test = (under_way.validation, under_way.test) if under_way else (None, None)
        validation = None
        if len(self.validation):
            is_new = of_validation is None or of_validation.seen < len(self.validation)
            validation = self._evaluated(self._validated, self._validation_order, of_validation, after_part)
            if is_new and after_part is not None:
                after_part()
        return validation, self._evaluated("test", self._test_order, of_test, after_part)

    def _evaluated(
        self, split: SplitName, order: splits.Indices, tally: Tally | None, between: AfterPart | None
    ) -> Evaluation:
        """Evaluate images in the fixed order; return predictions in the order of the images."""
        size = self.options.batch_size
        counted = len(order) // size * size if self.options.evaluation_drop_last else len(order)
        found = evaluate(
            self.evaluated,
            self.data.splits()[split],
            order,
            self.scaling,
            batch_size=2 * size,
            precision=self.options.precision,
            counted=counted,
            tally=tally,
            between=between,
            loader=self._loaders[split],
            memory_format=self.options.memory_format,
            scores=self.keep_scores and split == "test",
            loss=self.loss,
        )
        back = np.argsort(order)
        scores = None if found.scores is None else found.scores[back]
        return replace(found, predictions=found.predictions[back], scores=scores)

    def restart(self) -> tuple[Evaluation | None, Evaluation]:
        """Reset the network to its initial values and return its evaluation, for a run without a completed epoch."""
        self.network = self._initial_network()
        self.average = self._first_average()
        validation, test = self.evaluate()
        self.predictions = [self._compact(test)]
        self.scores = None if test.scores is None else (0, test.scores)
        return validation, test

    def _compact(self, test: Evaluation) -> npt.NDArray[Any]:
        return test.predictions.astype(np.uint8 if self.shape.classes <= 256 else np.uint16)
