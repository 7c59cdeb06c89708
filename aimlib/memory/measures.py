"""Measures of a network's memory after each epoch: its content, and the weights that read it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from aimlib.memory.attach import AimNetwork


@torch.no_grad()
def memory_measures(network: AimNetwork) -> dict[str, Any]:
    """Return measures of the memory as plain numbers.

    Returns
    -------
    ``sources``: mean, standard deviation and root mean square of the memory at the start of a forward pass, for each
    source. ``readers``: for each layer that reads memory, the Frobenius norms of its own weights and of the weights
    that read the memory.
    """
    sources = [_of_values(source(1).float()) for source in network.sources()]
    readers = {
        reading.layer: [_norm(reader.weight), _norm(reader.read_weight)]
        for reading, reader in zip(network.attachment.readers, network.readers(), strict=True)
    }
    return {"sources": sources, "readers": readers}


def _of_values(memory: Tensor) -> list[float]:
    mean, square = memory.double().mean(), memory.double().square().mean()
    return [float(mean), float((square - mean**2).clamp(min=0).sqrt()), float(square.sqrt())]


def _norm(weight: Tensor) -> float:
    return float(weight.detach().double().norm())
