"""VGG16 with batch norm, as torchvision builds it."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import nn
from torchvision.models.vgg import VGG, make_layers

from aimlib.backbones.base import Backbone
from aimlib.backbones.pooling import leave_out_idle_pooling
from aimlib.component import ComponentConfig, Integers
from aimlib.datasets.base import ImageShape
from aimlib.memory.structure import Block, Layout
from aimlib.registry import backbones

_CONVOLUTIONS = (2, 2, 3, 3, 3)


@backbones.register("vgg16_bn")
class Vgg16BnBackbone(Backbone):
    """Thirteen 3 x 3 convolutions with batch norm in five stages, and two hidden dense layers with dropout."""

    source = "Simonyan and Zisserman, 2015: configuration D, with batch norm, in torchvision"

    class Config(ComponentConfig):
        """Channels of each stage, sizes of the hidden dense layers, and the dropout between these layers."""

        widths: Annotated[Integers, Field(min_length=5, max_length=5)] = (64, 128, 256, 512, 512)
        """Channels of each of the five stages."""
        dense: Annotated[Integers, Field(min_length=2, max_length=2)] = (4096, 4096)
        """Sizes of the two hidden dense layers."""
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
        """Share of features that dropout sets to 0 after each hidden dense layer."""

    config: Config

    def build(self, shape: ImageShape) -> nn.Module:
        """Return the network; its first convolution takes as many channels as the images have."""
        options = self.config
        plan: list[str | int] = []
        for width, count in zip(options.widths, _CONVOLUTIONS, strict=True):
            plan += [width] * count + ["M"]
        features: nn.Sequential = make_layers(plan, batch_norm=True)
        if shape.channels != 3:
            features[0] = nn.Conv2d(shape.channels, options.widths[0], kernel_size=3, padding=1)
        with torch.device("meta"):  # the dense layers, which take 0.5 GB at their usual size, are replaced below
            network: nn.Module = VGG(nn.Sequential(), num_classes=shape.classes, init_weights=False)
        network.features = features
        leave_out_idle_pooling(network)
        first, second = options.dense
        network.classifier = nn.Sequential(
            nn.Linear(options.widths[-1] * 7 * 7, first),
            nn.ReLU(inplace=True),
            nn.Dropout(options.dropout),
            nn.Linear(first, second),
            nn.ReLU(inplace=True),
            nn.Dropout(options.dropout),
            nn.Linear(second, shape.classes),
        )
        return network

    def layout(self, network: nn.Module) -> Layout:
        """Return five stages with one block each; a block ends with a pooling layer."""
        features = network.get_submodule("features")
        stages: list[tuple[Block, ...]] = []
        convolutions: list[str] = []
        for name, module in features.named_children():
            if isinstance(module, nn.Conv2d):
                convolutions.append(f"features.{name}")
            elif isinstance(module, nn.MaxPool2d):
                stages.append((Block(tuple(convolutions), end=f"features.{name}"),))
                convolutions = []
        return Layout(tuple(stages))
