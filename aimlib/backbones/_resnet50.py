"""ResNet50 as torchvision builds it (v1.5: the stride is on the 3 x 3 convolution)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet

from aimlib.backbones.base import Backbone, BottleneckWidths, residual_layout
from aimlib.component import ComponentConfig
from aimlib.datasets.base import ImageShape
from aimlib.memory.structure import Layout
from aimlib.registry import backbones


class _WidenedResNet(ResNet):  # type: ignore[misc]
    """torchvision's ResNet, with bottlenecks whose inner width can be set for each stage."""

    def __init__(self, widths: tuple[int, ...], classes: int) -> None:
        self._widths = dict(zip((64, 128, 256, 512), widths, strict=True))
        super().__init__(Bottleneck, [3, 4, 6, 3], num_classes=classes)

    def _make_layer(
        self, block: type[Bottleneck], planes: int, blocks: int, stride: int = 1, dilate: bool = False
    ) -> nn.Sequential:
        # torchvision computes the inner width as int(planes * base_width / 64); adding half a unit makes int() exact.
        self.base_width = 64 * (self._widths[planes] + 0.5) / planes
        layer: nn.Sequential = super()._make_layer(block, planes, blocks, stride, dilate)
        return layer


@backbones.register("resnet50")
class ResNet50Backbone(Backbone):
    """torchvision's ResNet50, untrained. The author used Keras's variant (stride on the first 1 x 1, with biases)."""

    source = "He et al., 2016, in torchvision's v1.5"

    class Config(ComponentConfig):
        """Inner widths of the bottlenecks in each stage."""

        widths: Annotated[BottleneckWidths, Field(min_length=4, max_length=4)] = (64, 128, 256, 512)
        """Inner channels of the bottlenecks in each of the four stages."""

    config: Config

    def build(self, shape: ImageShape) -> nn.Module:
        """Return the network; its stem takes as many channels as the images have."""
        network = _WidenedResNet(self.config.widths, shape.classes)
        if shape.channels != 3:
            network.conv1 = nn.Conv2d(shape.channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
        return network

    def layout(self, network: nn.Module) -> Layout:
        """Return four stages with 3, 4, 6 and 3 blocks."""
        return residual_layout(network)
