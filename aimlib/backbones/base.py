"""The base class of all backbones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated

from pydantic import BeforeValidator, Field
from torch import nn

from aimlib.component import ComponentConfig, tuple_of
from aimlib.datasets.base import ImageShape
from aimlib.memory.structure import Block, Layout

BottleneckWidths = Annotated[tuple[Annotated[int, Field(ge=4)], ...], BeforeValidator(tuple_of)]
"""Inner widths of bottlenecks. With widths below 4, the strided shortcuts would have fewer than 16 channels. For so few
channels, the backward pass of oneDNN's strided 1 x 1 convolution is faulty (see `aimlib.memory.readers`)."""


class Backbone(ABC):
    """Base class of the family `aimlib.backbones`: a network with its stages and blocks.

    A backbone whose Config has the field `widths` can be widened by the control `matched_parameters`.
    """

    Config = ComponentConfig

    def __init__(self, config: ComponentConfig) -> None:
        self.config = config

    @abstractmethod
    def build(self, shape: ImageShape) -> nn.Module:
        """Return a network that maps images [batch, channels, height, width] with `shape` to logits [batch, classes].

        Under ``torch.device("meta")``, `build` must not allocate RAM or device memory.
        """

    @abstractmethod
    def layout(self, network: nn.Module) -> Layout:
        """Return the stages and blocks of a network that `build` returned."""


def residual_layout(network: nn.Module, stages: tuple[str, ...] = ("layer1", "layer2", "layer3", "layer4")) -> Layout:
    """Return the layout of a torchvision-style ResNet: each child of a stage is one block; shortcuts are excluded."""

    def block(name: str) -> Block:
        module = network.get_submodule(name)
        main_path = [child for child, part in module.named_children() if isinstance(part, nn.Conv2d)]
        return Block(tuple(f"{name}.{child}" for child in main_path), end=name)

    return Layout(
        tuple(
            tuple(block(f"{stage}.{child}") for child, _ in network.get_submodule(stage).named_children())
            for stage in stages
            if hasattr(network, stage)
        )
    )
