"""Find the parameters of a network that training cannot change, without computing any values."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_IMAGES = 2


def untrained(network: nn.Module, input_shape: tuple[int, int, int]) -> list[str]:
    """Return the names of trainable parameters on which the logits do not depend, in the network's order.

    The forward pass does not use such a parameter, detaches the result of using it, or creates it anew every time.

    Parameters
    ----------
    network : the network, on the meta device; the function does not change its state.
    input_shape : channels, height, width.

    Raises
    ------
    RuntimeError: the logits have no gradient, or a tensor that the backward pass needs was changed in place.
    """
    named = {name: each for name, each in network.named_parameters() if each.requires_grad}
    modes = [(module, module.training) for module in network.modules()]
    try:
        with torch.enable_grad():
            logits = network.train()(torch.zeros(_IMAGES, *input_shape, device="meta"))
            values = list(named.values())
            found: tuple[Tensor | None, ...] = torch.autograd.grad(logits.sum(), values, allow_unused=True)
    finally:
        for module, training in modes:
            module.training = training
    return [name for name, gradient in zip(named, found, strict=True) if gradient is None]
