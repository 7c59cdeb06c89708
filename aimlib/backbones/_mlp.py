"""A multilayer perceptron: the post's fully connected case."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from aimlib.backbones.base import Backbone
from aimlib.component import ComponentConfig, Integers
from aimlib.datasets.base import ImageShape
from aimlib.memory.structure import Block, Layout
from aimlib.registry import backbones


@backbones.register("mlp")
class MlpBackbone(Backbone):
    """Dense layers with ReLU over the flattened image."""

    source = "J. Lunkad, Towards AI, 2021: memory for fully connected networks"

    class Config(ComponentConfig):
        """Sizes of the hidden layers."""

        widths: Annotated[Integers, Field(min_length=1)] = (256, 256)
        """Number of features of each hidden layer."""

    config: Config

    def build(self, shape: ImageShape) -> nn.Module:
        """Return the network."""
        network = nn.Sequential()
        network.add_module("flatten", nn.Flatten())
        in_features = shape.channels * shape.height * shape.width
        for number, width in enumerate(self.config.widths, start=1):
            network.add_module(f"fc{number}", nn.Linear(in_features, width))
            network.add_module(f"relu{number}", nn.ReLU(inplace=True))
            in_features = width
        network.add_module("fc", nn.Linear(in_features, shape.classes))
        return network

    def layout(self, network: nn.Module) -> Layout:
        """Return one stage with one block per hidden layer."""
        numbers = range(1, len(self.config.widths) + 1)
        return Layout(tuple((Block((f"fc{number}",), end=f"relu{number}"),) for number in numbers))
