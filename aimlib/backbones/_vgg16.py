"""VGG16 as Keras builds it, with the dense head from the author's control."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from aimlib.backbones.base import Backbone
from aimlib.backbones.population_norm import PopulationBatchNorm1d
from aimlib.component import ComponentConfig, Integers
from aimlib.datasets.base import ImageShape
from aimlib.errors import UsageError
from aimlib.memory.structure import Block, Layout
from aimlib.registry import backbones

_CONVOLUTIONS = (2, 2, 3, 3, 3)


class _FlattenLast(nn.Module):
    """Flattens maps in the order rows, columns, channels, as Keras does."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return features [batch, height x width x channels]."""
        return x_BCHW.permute(0, 2, 3, 1).flatten(1)


class KerasVgg16(nn.Sequential):
    """The network that `Vgg16Backbone` builds."""


@backbones.register("vgg16")
class Vgg16Backbone(Backbone):
    """Thirteen 3 x 3 convolutions without batch norm, followed by a flatten layer, a batch norm and three dense layers.

    As run, with 120 classes at 224 px, the network has 134,852,536 parameters by Keras's count. Trained as the author
    trained it (Adam with a learning rate of 1e-2), the network stayed at chance level; `vgg16_bn` is the variant that
    can be trained. The features that enter the dense head are in Keras's order: rows, columns, channels.
    """

    source = "keras.applications.VGG16 with the head of github.com/Joy-Lunkad/AiM, commit 3d79d31: control.ipynb"

    class Config(ComponentConfig):
        """Channels of each stage, sizes of the hidden dense layers, and the head's batch norm."""

        widths: Annotated[Integers, Field(min_length=5, max_length=5)] = (64, 128, 256, 512, 512)
        """Channels of each of the five stages."""
        dense: Annotated[Integers, Field(min_length=2, max_length=2)] = (4096, 4096)
        """Sizes of the two hidden dense layers."""
        bn_epsilon: Annotated[float, Field(gt=0)] = 1e-3
        """Number added to the variance in the head's batch norm."""
        bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.01
        """Momentum of the running statistics, in PyTorch's convention; Keras uses 1 minus this value."""
        bn_variance: Literal["unbiased", "population"] = "unbiased"
        """Which batch variance enters the running variance. unbiased: the variance multiplied by n / (n - 1) for n
        images, as in PyTorch; population: the unmodified variance, as in Keras (as run)."""

    config: Config

    def build(self, shape: ImageShape) -> nn.Module:
        """Return the network.

        Raises
        ------
        UsageError: the images are smaller than 32 px, so the last of the five pooling layers has no output.
        """
        if min(shape.height, shape.width) < 32:
            raise UsageError(
                f"backbone 'vgg16' needs images of at least 32 px; these are {shape.height} x {shape.width}"
            )
        options = self.config
        network = KerasVgg16()
        in_channels = shape.channels
        for stage, (width, count) in enumerate(zip(options.widths, _CONVOLUTIONS, strict=True), start=1):
            for number in range(1, count + 1):
                network.add_module(f"block{stage}_conv{number}", nn.Conv2d(in_channels, width, 3, padding=1))
                network.add_module(f"block{stage}_relu{number}", nn.ReLU(inplace=True))
                in_channels = width
            network.add_module(f"block{stage}_pool", nn.MaxPool2d(2))
        features = in_channels * (shape.height // 32) * (shape.width // 32)
        network.add_module("flatten", _FlattenLast())
        norm = PopulationBatchNorm1d if options.bn_variance == "population" else nn.BatchNorm1d
        network.add_module("bn", norm(features, eps=options.bn_epsilon, momentum=options.bn_momentum))
        for number, width in enumerate(options.dense, start=1):
            network.add_module(f"fc{number}", nn.Linear(features, width))
            network.add_module(f"relu{number}", nn.ReLU(inplace=True))
            features = width
        network.add_module("pred", nn.Linear(features, shape.classes))
        return network

    def layout(self, network: nn.Module) -> Layout:
        """Return five stages with one block each; a block ends with a pooling layer."""
        return Layout(
            tuple(
                (Block(tuple(f"block{stage}_conv{i}" for i in range(1, count + 1)), end=f"block{stage}_pool"),)
                for stage, count in enumerate(_CONVOLUTIONS, start=1)
            )
        )
