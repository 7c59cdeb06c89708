"""A backbone that allocates too much memory in every training step, or triggers a device-side assert in the first one.

On a CPU, where these faults do not occur, it raises the error that torch raises on a card.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from aimlib.backbones._small_resnet import SmallResNetBackbone
from aimlib.component import local
from aimlib.datasets.base import ImageShape
from aimlib.registry import backbones

NAME = "unwell"


@backbones.register(NAME)
class Unwell(SmallResNetBackbone):
    """The small ResNet with a fault."""

    class Config(SmallResNetBackbone.Config):
        """The kind of fault."""

        does: Literal["nothing", "takes_memory", "asserts"] = "nothing"
        takes: Annotated[float, Field(gt=0, lt=1)] = 0.5
        """Share of the card's memory that ``takes_memory`` allocates."""
        trace: str | None = local(
            None, "File to which a line is written for every attempt: what the attempt does, and its process."
        )

    config: Config

    def build(self, shape: ImageShape) -> nn.Module:
        """Return the network. The fault occurs in training steps, including those before a CUDA graph is captured."""
        network = super().build(shape)
        first = [True]

        def strike(module: nn.Module, given: tuple[Any, ...]) -> None:
            x_BCHW = given[0]
            if not module.training or x_BCHW.device.type == "meta":
                return
            if first:
                first.clear()
                _trace(self.config, x_BCHW.device)
            _strike(self.config, x_BCHW)

        network.register_forward_pre_hook(strike)
        return network


def _trace(config: Any, device: torch.device) -> None:
    if config.trace is not None:
        line = json.dumps({"does": config.does, "pid": os.getpid(), "device": str(device)})
        with Path(config.trace).open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def _strike(config: Any, x_BCHW: Tensor) -> None:
    card = x_BCHW.device.type == "cuda"
    if config.does == "takes_memory":
        if not card:
            raise torch.OutOfMemoryError("CUDA out of memory. This is a rehearsal on a CPU")
        _, total = torch.cuda.mem_get_info(x_BCHW.device)
        held = torch.empty(int(config.takes * total), dtype=torch.uint8, device=x_BCHW.device)
        held[:1] = 1
    if config.does == "asserts":
        if not card:
            raise RuntimeError("CUDA error: device-side assert triggered. This is a rehearsal on a CPU")
        far_outside = torch.full((1,), 2**40, dtype=torch.int64, device=x_BCHW.device)
        x_BCHW.flatten()[far_outside].sum().item()
