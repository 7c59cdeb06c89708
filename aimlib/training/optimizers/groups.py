"""The optimizer of a network: memory sources with their own learning rate form separate parameter groups."""

from __future__ import annotations

import torch
from torch import nn

from aimlib.component import ComponentConfig
from aimlib.memory.attach import AimNetwork
from aimlib.registry import optimizers


def build_optimizer(config: ComponentConfig, network: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer of all trained parameters; every group carries its ``lr_scale``."""
    scales: dict[int, float] = {}
    if isinstance(network, AimNetwork):
        scales = {
            id(parameter): source.config.source_lr_scale
            for source in network.sources()
            for parameter in source.parameters()
        }
    groups: dict[float, list[nn.Parameter]] = {1.0: []}
    for parameter in network.parameters():
        if parameter.requires_grad:
            groups.setdefault(scales.get(id(parameter), 1.0), []).append(parameter)
    optimizer: torch.optim.Optimizer = optimizers.create(config).build(
        [{"params": parameters, "lr_scale": scale} for scale, parameters in groups.items()]
    )
    for group in optimizer.param_groups:
        group["lr"] *= group["lr_scale"]
    return optimizer
