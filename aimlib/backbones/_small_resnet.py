"""A small bottleneck ResNet for images of 8 to 96 pixels on a CPU."""

from __future__ import annotations

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


class Bottleneck(nn.Module):
    """A layer-by-layer copy of torchvision's bottleneck block (v1.5: the stride is on the 3 x 3 convolution).

    The block is a copy because importing torchvision takes seconds in every worker; a test compares the copy with the
    original.

    Parameters
    ----------
    in_channels : input channels.
    width : inner channels; the block outputs `expansion` times as many.
    stride : with 2, the block halves the map.
    """

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.gate: nn.Module | None = None
        """Module that weights the channels before the shortcut is added; None in networks without gates."""
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != out_channels:
            shortcut = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(out_channels))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the block's output [batch, 4 x width, height / stride, width / stride]."""
        inner = functional.relu(self.bn1(self.conv1(x_BCHW)), inplace=True)
        inner = functional.relu(self.bn2(self.conv2(inner)), inplace=True)
        inner = self.bn3(self.conv3(inner))
        if self.gate is not None:
            inner = self.gate(inner)
        shortcut = x_BCHW if self.downsample is None else self.downsample(x_BCHW)
        return functional.relu(inner + shortcut, inplace=True)


class SmallResNet(StagedResNet):
    """A 3 x 3 stem, stages of bottleneck blocks, a global average pool, and a dense layer.

    Parameters
    ----------
    widths : inner width of the blocks in each stage; a stage outputs 4 times as many channels.
    blocks : number of blocks in each stage.
    stem_stride : 1 or 2; with 2, the stages work on maps of half the size.
    channels, classes : number of channels of the images, and number of classes.
    """

    def __init__(
        self, widths: tuple[int, ...], blocks: tuple[int, ...], stem_stride: int, channels: int, classes: int
    ) -> None:
        super().__init__()
        stem = widths[0] * Bottleneck.expansion
        self.conv1 = nn.Conv2d(channels, stem, 3, stride=stem_stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU(inplace=True)

        def block(in_channels: int, width: int, stride: int, _first: bool) -> nn.Module:
            return Bottleneck(in_channels, width, stride)

        self.add_stages(stem, widths, blocks, block, classes, Bottleneck.expansion)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return logits [batch, classes]."""
        return self.from_stem(self.relu(self.bn1(self.conv1(x_BCHW))))


@backbones.register("small_resnet")
class SmallResNetBackbone(Backbone):
    """A bottleneck ResNet with any width and depth; reads and updates work exactly as in ResNet50."""

    source = "He et al., 2016: bottleneck residual networks, with the 3 x 3 stem used for small images"
    search_space: ClassVar[dict[str, Dimension]] = {"stem_stride": Categorical((1, 2))}

    class Config(StagedConfig):
        """Inner width and number of blocks for each stage, and the stem."""

        widths: Annotated[BottleneckWidths, Field(min_length=1)] = (8, 16, 32)
        blocks: Annotated[Integers, Field(min_length=1)] = (1, 1, 1)
        stem_stride: Literal[1, 2] = 1
        """Stride of the first convolution: with 2, every stage works on maps with half the side length."""

    config: Config

    def build(self, shape: ImageShape) -> nn.Module:
        """Return the network."""
        options = self.config
        return SmallResNet(options.widths, options.blocks, options.stem_stride, shape.channels, shape.classes)

    def layout(self, network: nn.Module) -> Layout:
        """Return one stage per resolution and one block per bottleneck."""
        return residual_layout(network, tuple(f"layer{i + 1}" for i in range(len(self.config.widths))))
