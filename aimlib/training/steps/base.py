"""The input of a training step, its computation, and the interface for the different ways to run it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from aimlib.config import TrainingConfig
from aimlib.training.augmentation import augment
from aimlib.training.devices import autocast
from aimlib.training.inputs import Scaling
from aimlib.training.losses.base import Loss
from aimlib.training.optimizers.on_device import Rates

MEMORY_FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
"""Torch's name for every `training.memory_format`."""


@dataclass(frozen=True)
class Inputs:
    """A batch on the device.

    Attributes
    ----------
    x_BCHW : stored pixels; with `training.transforms`, the network's input.
    labels_B : class numbers of the images.
    draws_PBD : draws for the augmentation, as `aimlib.training.augmentation.draws` returns them; None if there is no
        augmentation.
    targets_BC : class shares, if images were mixed; None if every image has one class.
    """

    x_BCHW: Tensor
    labels_B: Tensor
    draws_PBD: Tensor | None
    targets_BC: Tensor | None = None

    def tensors(self) -> list[Tensor]:
        """Return the tensors that exist, in a fixed order."""
        tensors = (self.x_BCHW, self.labels_B, self.draws_PBD, self.targets_BC)
        return [tensor for tensor in tensors if tensor is not None]

    def classes_B(self) -> Tensor:
        """Return the class of each image; for a mixed image, the class with the largest share."""
        return self.labels_B if self.targets_BC is None else self.targets_BC.argmax(dim=1)


class Computation:
    """What a training step computes: the loss and gradients of a batch, and the resulting network update.

    Parameters
    ----------
    network, optimizer, scaling : those of the run.
    options : the training options.
    device : device of the network, the optimizer and the scaling.
    rates : the optimizer's learning rates on the device; None if the optimizer takes Python numbers.
    loss : the loss to minimize; None: the cross-entropy with the label smoothing from the options.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaling: Scaling,
        options: TrainingConfig,
        device: torch.device,
        rates: Rates | None,
        loss: Loss | None = None,
    ) -> None:
        self.network, self.optimizer, self.scaling = network, optimizer, scaling
        self.options, self.device, self.rates, self.loss = options, device, rates, loss
        self._uncompiled: Callable[[Tensor, Tensor], Tensor] | None = None

    def loss_of(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Return the mean loss of a batch, and its logits [batch, classes]."""
        x_BCHW = self._images(inputs)
        with autocast(self.device, self.options.precision):
            logits = self.network(x_BCHW)
        targets = inputs.labels_B if inputs.targets_BC is None else inputs.targets_BC
        if self._uncompiled is not None:
            return self._uncompiled(logits.float(), targets), logits
        loss = self._cross_entropy if self.loss is None else self.loss
        return loss(logits.float(), targets), logits

    def compile_without_loss(self) -> None:
        """Leave the run's own loss out of the code that torch.compile generates from `loss_of`."""
        assert self.loss is not None
        self._uncompiled = torch.compiler.disable(self.loss.forward)  # type: ignore[no-untyped-call]

    def _cross_entropy(self, logits_BC: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(logits_BC, targets, label_smoothing=self.options.label_smoothing)

    def update(
        self, inputs: Inputs, loss_of: Callable[[Inputs], tuple[Tensor, Tensor]] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Train on a batch; return its mean loss and its number of correct predictions.

        This uses the learning rates that `write_rates` last wrote to the device.
        """
        loss, logits = (loss_of or self.loss_of)(inputs)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        with self._rates_lent():
            self.optimizer.step()
        return loss.detach(), (logits.detach().argmax(dim=1) == inputs.classes_B()).sum()

    def write_rates(self) -> None:
        """Copy the optimizer's learning rates to the device."""
        if self.rates is not None:
            self.rates.write()

    def _images(self, inputs: Inputs) -> Tensor:
        """Return the network's input."""
        if self.options.transforms:
            x_BCHW = inputs.x_BCHW
        elif inputs.draws_PBD is None or self.options.augmentation is None:
            x_BCHW = self.scaling(inputs.x_BCHW)
        else:
            x_BCHW = augment(inputs.x_BCHW, inputs.draws_PBD, self.options.augmentation, self.scaling)
        return in_format(x_BCHW, self.options.memory_format)

    def _rates_lent(self) -> AbstractContextManager[None]:
        return nullcontext() if self.rates is None else self.rates.lent()


def in_format(x_BCHW: Tensor, memory_format: str) -> Tensor:
    """Return images in the memory order for a network with this `training.memory_format`.

    A network with channels-last weights produces feature maps in that order, regardless of the order of the images.
    """
    return x_BCHW.contiguous() if memory_format == "contiguous" else x_BCHW


class Step(ABC):
    """A way to run training steps.

    Attributes
    ----------
    name : name as in ``training.step`` and in the rows' column ``step``.
    """

    name: ClassVar[str]

    def __init__(self, computation: Computation) -> None:
        self.computation = computation

    @abstractmethod
    def take(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Train on a batch; return its mean loss and its number of correct predictions, on the device.

        Both may be overwritten by the next step.
        """
