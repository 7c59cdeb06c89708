"""The parts of training that can fail separately; each is tried on a few values before anything starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import SupportsFloat

from ablations.planning import plugin_errors
from aimlib.config import RunConfig, TrainingConfig
from aimlib.datasets.base import ImageShape
from aimlib.errors import checked
from aimlib.registry import augmentations, optimizers, schedules
from aimlib.training.own.config import OwnRunConfig, OwnTrainingConfig
from aimlib.training.selections.base import refuse_unusable_selection as try_selection


def refuse_unusable(training: TrainingConfig, shape: ImageShape) -> None:
    """Try the loss, transforms, callbacks and user code on images of `shape`; without such parts, nothing is imported.

    Raises
    ------
    UsageError: an option does not fit the images or their classes, or training cannot use the result.
    PluginError: a plugin's code failed.
    """
    with plugin_errors.explained():
        if training.loss is not None:
            from aimlib.training.losses.base import refuse_unusable_loss  # noqa: PLC0415 -- imports torch

            mixed = any(augmentations.get(each.name).per_batch for each in training.transforms)
            refuse_unusable_loss(training.loss, shape.classes, mixed=mixed)
        if training.transforms:
            from aimlib.training.transforms import refuse_unusable_transforms  # noqa: PLC0415

            refuse_unusable_transforms(training, shape)
        if training.callbacks:
            from aimlib.training.callbacks.events import refuse_unusable_callbacks  # noqa: PLC0415

            refuse_unusable_callbacks(training.callbacks)
        _try_own(training)


def _try_own(training: TrainingConfig) -> None:
    """Try a user's own optimizer, schedule and selection rule once, so that they do not make a run fail at its end."""
    if type(training.optimizer).code:
        import torch  # noqa: PLC0415

        parameters = [{"params": [torch.nn.Parameter(torch.ones(2, 2))], "lr_scale": 1.0}]
        made = optimizers.create(training.optimizer).build(parameters)
        checked(made, torch.optim.Optimizer, f"{optimizers.described(training.optimizer.name)}: build()")
    if training.schedule is not None and type(training.schedule).code:
        rate = getattr(training.optimizer, "learning_rate", 1.0)
        schedule = schedules.get(training.schedule.name)(training.schedule, rate, training.epochs)
        what = f"{schedules.described(training.schedule.name)}: rate()"
        checked(schedule.rate(0.0), SupportsFloat, what)  # type: ignore[type-abstract]
    refuse_unusable_selection(training)


def refuse_unusable_selection(training: TrainingConfig | OwnTrainingConfig) -> None:
    """Try a user's own selection rule on learning curves.

    Raises
    ------
    PluginError: the rule fails, selects no epoch, or depends on test measures without declaring this.
    """
    if type(training.selection).code:
        with plugin_errors.explained():
            try_selection(training.selection, validation=training.validation_fraction > 0)


def without_scalars(configs: Mapping[str, RunConfig]) -> Iterator[str]:
    """Yield a message about arms whose runs report no numbers, for lack of callbacks and training code.

    Parameters
    ----------
    configs : the configurations of the arms, by name.
    """
    silent = [
        name
        for name, config in configs.items()
        if not isinstance(config, OwnRunConfig) and not config.training.callbacks
    ]
    if silent:
        yield (
            f"measure: no run of {', '.join(silent)} reports a scalar; add training.callbacks that log it under "
            "this name, or your own training code that reports it"
        )


def losses_to_compare(configs: Mapping[str, RunConfig]) -> Iterator[str]:
    """Yield why the losses of arms cannot be compared: each run reports the loss that it minimizes, on its own scale.

    Parameters
    ----------
    configs : the configurations of the arms, by name.
    """
    losses = {name: getattr(config.training, "loss", None) for name, config in configs.items()}
    for name, loss in losses.items():
        if loss is not None and loss.name != "cross_entropy":
            yield (
                f"measure: loss is the cross-entropy of the test images, but arm {name!r} reports its own "
                f"training.loss, {loss.name}; choose a different measure, such as macro_f1"
            )
    first, *others = losses
    for name in others:
        if losses[name] != losses[first]:
            yield (
                f"measure: loss cannot compare arms {first!r} and {name!r}, which report different values of "
                "training.loss; set the same loss for both, or choose a different measure"
            )
