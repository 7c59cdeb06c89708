"""A network's optimizer: parameters with their own learning rate, or frozen for some epochs, form separate groups."""

from __future__ import annotations

import torch
from torch import nn

from aimlib.component import ComponentConfig
from aimlib.memory.attach import AimNetwork
from aimlib.registry import optimizers
from aimlib.training.tuning.groups import FOREVER, Tuning


def build_optimizer(config: ComponentConfig, network: nn.Module, tuning: Tuning | None = None) -> torch.optim.Optimizer:
    """Return the optimizer for all trained parameters; every group contains its ``lr_scale``.

    Parameters
    ----------
    tuning : the fine-tuning. Parameters that are always frozen are not in the optimizer. Parameters that are frozen for
        some epochs have their own groups, because all parameters in a group share their step count.
    """
    scales: dict[int, float] = {}
    if isinstance(network, AimNetwork):
        scales = {
            id(parameter): source.config.source_lr_scale
            for source in network.sources()
            for parameter in source.parameters()
        }
    groups: dict[tuple[float, int], list[nn.Parameter]] = {(1.0, 0): []}
    for name, parameter in network.named_parameters():
        scale, epochs = scales.get(id(parameter), 1.0), 0
        if tuning is not None:
            scale, epochs = scale * tuning.scales.get(name, 1.0), tuning.frozen.get(name, 0)
        if parameter.requires_grad and epochs < FOREVER:
            groups.setdefault((scale, epochs), []).append(parameter)
    optimizer: torch.optim.Optimizer = optimizers.create(config).build(
        [{"params": parameters, "lr_scale": scale} for (scale, _), parameters in groups.items()]
    )
    for group in optimizer.param_groups:
        group["lr"] *= group["lr_scale"]
    return optimizer
