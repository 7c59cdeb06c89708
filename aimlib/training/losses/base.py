"""The base class of all losses, and the loss of a run."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from aimlib.component import ComponentConfig
from aimlib.errors import UsageError
from aimlib.own_code.places import place_of
from aimlib.registry import losses


class LossConfig(ComponentConfig):
    """Options for a loss."""


class Loss(nn.Module, ABC):
    """Base class of the `aimlib.losses` plugins: a function of logits and classes, without parameters or state.

    Parameters
    ----------
    config : the loss's options.
    class_counts : [classes], int64, number of training images in each class. It is a buffer of this module, so it is on
        the training device.

    Attributes
    ----------
    takes_soft_targets : whether `forward` also accepts a share for each class and image, as mixup produces.
    capturable : whether `forward` can be part of a CUDA graph and be compiled, because it never reads a value back from
        the device (``.item()``, ``if tensor``). With a loss that is not capturable, steps run eagerly on a GPU, and are
        compiled without the loss.
    """

    Config = LossConfig
    takes_soft_targets: ClassVar[bool] = False
    capturable: ClassVar[bool] = True
    class_counts: Tensor

    def __init__(self, config: LossConfig, class_counts: Tensor) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("class_counts", class_counts, persistent=False)

    @abstractmethod
    def forward(self, logits_BC: Tensor, targets: Tensor) -> Tensor:
        """Return the loss for a batch, the mean over its images, as a scalar.

        Parameters
        ----------
        logits_BC : [batch, classes], always float32, regardless of `training.precision`.
        targets : [batch], int64, class numbers; or [batch, classes], float32, shares that sum to 1 per image.
        """


def one_hot(targets: Tensor, classes: int) -> Tensor:
    """Return targets as class shares [batch, classes], float32; shares are returned unchanged."""
    if targets.is_floating_point():
        return targets
    numbers = torch.arange(classes, device=targets.device)
    return (targets[:, None] == numbers).float()  # functional.one_hot reads the labels back, except on a GPU


def build_loss(config: ComponentConfig | None, class_counts: Tensor, device: torch.device) -> Loss | None:
    """Return a run's loss, on `device`; None stands for the cross-entropy.

    Parameters
    ----------
    class_counts : [classes], number of training images in each class.

    Raises
    ------
    UsageError: an option does not match the classes, or the loss has parameters, which would never be trained.
    """
    if config is None:
        return None
    loss: Loss = losses.get(config.name)(config, class_counts)
    named = [name for name, _ in loss.named_parameters()]
    if named:
        raise UsageError(
            f"training.loss: {config.name!r} has parameters ({', '.join(named)}), which would be neither trained "
            f"nor stored in checkpoints; make them buffers, or part of the network"
        )
    return loss.to(device)


def refuse_unusable_loss(config: ComponentConfig | None, classes: int, *, mixed: bool = False) -> None:
    """Try the loss on a small batch with `classes` classes.

    Parameters
    ----------
    mixed : whether targets are class shares, because a transform mixes the images in a batch.

    Raises
    ------
    UsageError: the loss does not return a finite scalar with a gradient.
    """
    loss = build_loss(config, torch.ones(classes, dtype=torch.int64), torch.device("cpu"))
    if loss is None or config is None:
        return
    logits_BC, labels_B = _example(classes)
    try:
        value = loss(logits_BC, one_hot(labels_B, classes) if mixed else labels_B)
    except (RuntimeError, TypeError) as error:  # sizes, types or arguments that do not match
        kind = "shares [batch, classes]" if mixed else "classes [batch]"
        place = place_of(error)
        where = f" ({place})" if place else ""
        raise UsageError(
            f"training.loss: {config.name!r} fails for {classes} classes: {type(error).__name__}: {error}{where}; it "
            f"is called as forward(logits, targets) with logits [batch, classes] and targets, which are {kind}"
        ) from error
    if not isinstance(value, Tensor) or value.shape != () or not bool(value.isfinite()) or not value.requires_grad:
        given = "None; does it lack `return`?" if value is None else f"a {type(value).__name__}"
        if isinstance(value, Tensor):
            lacking = "" if value.requires_grad else ", without a gradient: it does not depend on the logits"
            number = f" with the value {value.item():g}" if value.shape == () else ""
            given = f"a tensor of shape {tuple(value.shape)}{number}{lacking}"
        raise UsageError(
            f"training.loss: {losses.described(config.name)}: forward() must return a finite scalar tensor with a "
            f"gradient, such as a mean over the batch; it returned {given}"
        )


def is_sum(config: ComponentConfig, classes: int) -> bool:
    """Return whether a usable loss is a sum: it is not 0, and doubles if every image occurs twice in the batch."""
    loss = build_loss(config, torch.ones(classes, dtype=torch.int64), torch.device("cpu"))
    if loss is None:
        return False
    logits_BC, labels_B = _example(classes)
    with torch.no_grad():
        once, twice = float(loss(logits_BC, labels_B)), float(loss(logits_BC.repeat(2, 1), labels_B.repeat(2)))
    return once != 0 and math.isclose(twice, 2 * once, rel_tol=1e-4)


def _example(classes: int) -> tuple[Tensor, Tensor]:
    """Return the logits and classes of four images."""
    return torch.linspace(-1, 1, 4 * classes).reshape(4, classes).requires_grad_(), torch.arange(4) % classes
