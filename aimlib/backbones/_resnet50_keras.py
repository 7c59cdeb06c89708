"""ResNet50 as Keras builds it: the network of both arms in the author's notebooks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from aimlib.backbones.base import Backbone, BottleneckWidths, residual_layout
from aimlib.backbones.staged import StagedConfig, StagedResNet
from aimlib.component import Categorical, Dimension, Integers
from aimlib.datasets.base import ImageShape
from aimlib.memory.structure import Layout
from aimlib.registry import backbones


class KerasBottleneck(nn.Module):
    """The bottleneck block of version 1: stride on the first 1 x 1 convolution, and convolutions with biases.

    Parameters
    ----------
    in_channels : input channels.
    width : inner channels; the block outputs `expansion` times as many.
    stride : with 2, the block halves the map.
    shortcut : whether the shortcut contains a 1 x 1 convolution, as in the first block of every stage.
    norm : creates a batch norm for a number of channels.
    """

    expansion = 4

    def __init__(
        self, in_channels: int, width: int, stride: int, norm: Callable[[int], nn.Module], *, shortcut: bool
    ) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, 1, stride=stride)
        self.bn1 = norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.bn2 = norm(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1)
        self.bn3 = norm(out_channels)
        self.downsample: nn.Sequential | None = None
        if shortcut:
            conv = nn.Conv2d(in_channels, out_channels, 1, stride=stride)
            self.downsample = nn.Sequential(conv, norm(out_channels))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the block's output [batch, 4 x width, height / stride, width / stride]."""
        inner = functional.relu(self.bn1(self.conv1(x_BCHW)), inplace=True)
        inner = functional.relu(self.bn2(self.conv2(inner)), inplace=True)
        inner = self.bn3(self.conv3(inner))
        shortcut = x_BCHW if self.downsample is None else self.downsample(x_BCHW)
        return functional.relu(inner + shortcut, inplace=True)


class KerasResNet(StagedResNet):
    """A 7 x 7 stem, a 3 x 3 max pool, stages of bottleneck blocks, a global average pool, and a dense layer.

    Parameters
    ----------
    config : widths, blocks, stem stride and batch norms.
    channels, classes : number of channels of the images, and number of classes.
    """

    def __init__(self, config: ResNet50KerasBackbone.Config, channels: int, classes: int) -> None:
        super().__init__()
        norm = partial(nn.BatchNorm2d, eps=config.bn_epsilon, momentum=config.bn_momentum)
        stem = config.widths[0]
        self.conv1 = nn.Conv2d(channels, stem, 7, stride=config.stem_stride, padding=3)
        self.bn1 = norm(stem)
        self.relu = nn.ReLU(inplace=True)
        # Keras pads with zeros instead; after a ReLU, the result is the same.
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)

        def block(in_channels: int, width: int, stride: int, first: bool) -> nn.Module:
            return KerasBottleneck(in_channels, width, stride, norm, shortcut=first)

        self.add_stages(stem, config.widths, config.blocks, block, classes, KerasBottleneck.expansion)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return logits [batch, classes]."""
        return self.from_stem(self.maxpool(self.relu(self.bn1(self.conv1(x_BCHW)))))


@backbones.register("resnet50_keras")
class ResNet50KerasBackbone(Backbone):
    """Keras's ResNet50 (version 1), untrained: a stage's stride is on the first 1 x 1, and convolutions have biases.

    With 120 classes, the network has 23,833,592 parameters by Keras's count, of which 53,120 are running statistics.
    The defaults are those of the author's control; the author's AiM network has stem_stride 1 and bn_epsilon 1e-3.
    """

    source = "keras.applications.ResNet50, as in github.com/Joy-Lunkad/AiM, commit 3d79d31; He et al., 2016"
    search_space: ClassVar[dict[str, Dimension]] = {"stem_stride": Categorical((1, 2))}

    class Config(StagedConfig):
        """Inner width and number of blocks for each stage; stem; batch norms. The stem has the first of the widths."""

        widths: Annotated[BottleneckWidths, Field(min_length=1)] = (64, 128, 256, 512)
        blocks: Annotated[Integers, Field(min_length=1)] = (3, 4, 6, 3)
        stem_stride: Literal[1, 2] = 2
        """Stride of the 7 x 7 convolution: with 1, every stage works on maps with twice the side length and 4 times as
        many positions."""
        bn_epsilon: Annotated[float, Field(gt=0)] = 1.001e-5
        """Number added to the variance in batch norms; as run, 1.001e-5 in the control and 1e-3 in AiM."""
        bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.01
        """Momentum of the running statistics, in PyTorch's convention; Keras uses 1 minus this value."""

    config: Config

    def build(self, shape: ImageShape) -> nn.Module:
        """Return the network; its stem takes as many channels as the images have."""
        return KerasResNet(self.config, shape.channels, shape.classes)

    def layout(self, network: nn.Module) -> Layout:
        """Return one stage per resolution and one block per bottleneck."""
        return residual_layout(network, tuple(f"layer{i + 1}" for i in range(len(self.config.widths))))
