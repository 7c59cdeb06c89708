"""Freeze layers for the first epochs of a run."""

from __future__ import annotations

from torch import nn

from aimlib.training.tuning.groups import Tuning


class Freezing:
    """Switches a network's layers between frozen and trained.

    Parameters
    ----------
    network : the network; all parameters that the run may train require gradients.
    tuning : which parameters are frozen, and for how long.
    """

    def __init__(self, network: nn.Module, tuning: Tuning) -> None:
        parameters, modules = dict(network.named_parameters()), dict(network.named_modules())
        self._parameters = [(parameters[name], epochs) for name, epochs in tuning.frozen.items()]
        self._norms = [(modules[name], epochs) for name, epochs in tuning.still.items()]

    def begin(self, epoch: int) -> None:
        """Set gradients and batch norms for an epoch, numbered from 1; the network must be in training mode."""
        for parameter, epochs in self._parameters:
            parameter.requires_grad_(epoch > epochs)
            if epoch <= epochs:
                parameter.grad = None
        for norm, epochs in self._norms:
            norm.train(epoch > epochs)
