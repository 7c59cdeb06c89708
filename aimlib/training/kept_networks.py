"""The trained network that is kept from a run: the network of the selected epoch or of the last epoch."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from aimlib.component import ComponentConfig
from aimlib.errors import counted

Keep = Literal["best", "last", "none"]
"""best: the network of the epoch that the selection rule chooses; last: the network of the last epoch; none: no
network."""


@dataclass
class KeptNetwork:
    """The state of a network after an epoch.

    Attributes
    ----------
    epoch : number of the epoch, from 1; 0 is the start.
    state : parameters and buffers by name, on the CPU; None: the same as in the network that is being trained.
    scaling : mean and standard deviation with which pixels are scaled, [2, channels]; None until the end of the run.
    memory : `aimlib.memory.measures` at the start and after every epoch of the run; empty if there is no memory.
    """

    epoch: int
    state: dict[str, Tensor] | None
    scaling: Tensor | None = None
    memory: list[dict[str, Any]] = field(default_factory=list)


def snapshot(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the parameters and buffers, on the CPU.

    Raises
    ------
    TypeError: the network has state that is not a tensor.
    """
    state = network.state_dict()
    other = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if other:
        raise TypeError(f"the network has state that is not a tensor ({', '.join(other[:3])}); keep it in buffers")
    copied: dict[Hashable, Tensor] = {}  # tied tensors stay one tensor
    for value in state.values():
        if (key := memory_of(value)) not in copied:
            copied[key] = torch.empty_like(value, device="cpu").copy_(value.detach())
    return {name: copied[memory_of(value)] for name, value in state.items()}


def memory_of(tensor: Tensor) -> Hashable:
    """Return a key that identifies where a tensor's values are stored; it is equal for tied tensors."""
    place = tensor.untyped_storage().data_ptr(), tensor.storage_offset()
    return *place, tuple(tensor.shape), tensor.stride(), tensor.dtype


def not_kept(kept: KeptNetwork | None, epoch: int, rule: ComponentConfig) -> str:
    """Return a message for the user that says why the network of the selected epoch was not kept."""
    had = "no network" if kept is None else f"only that of epoch {kept.epoch}"
    return (
        f"the network of epoch {epoch}, which {rule.name} selected, is not kept: this run has {had}, because the first "
        f"{counted(epoch, 'epoch')} {'was' if epoch == 1 else 'were'} trained before `keep` was set, or the rule "
        f"now chooses an earlier epoch than it did during the run; use keep: last, or a rule whose choice never "
        f"changes later"
    )
