"""The small bottleneck ResNet with a squeeze-and-excitation gate in every block."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from aimlib.backbones._small_resnet import Bottleneck, SmallResNet, SmallResNetBackbone
from aimlib.component import Categorical, Dimension
from aimlib.datasets.base import ImageShape
from aimlib.memory.initialization import Rule, declare
from aimlib.registry import backbones


class SqueezeExcitation(nn.Module):
    """Multiplies the channels of a map by a gate between 0 and 1, which is computed from the channel means.

    Parameters
    ----------
    channels : number of channels in the map.
    reduction : ratio of the number of channels to the number of hidden units in the gate.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = nn.Linear(hidden, channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the weighted map."""
        hidden_BH = nn.functional.relu(self.squeeze(x_BCHW.mean(dim=(2, 3))))
        return x_BCHW * torch.sigmoid(self.excite(hidden_BH))[:, :, None, None]


class ConstantGate(nn.Module):
    """Multiplies the channels of a map by a learned gate that is the same for every image."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(channels))
        declare(self, gate=Rule("constant", 0.0))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the weighted map."""
        return x_BCHW * torch.sigmoid(self.gate)[:, None, None]


def _frozen(channels: int, reduction: int) -> nn.Module:
    return SqueezeExcitation(channels, reduction).requires_grad_(False)


_GATES = {"learned": SqueezeExcitation, "constant": ConstantGate, "frozen": _frozen}


@backbones.register("small_se_resnet")
class SmallSEResNetBackbone(SmallResNetBackbone):
    """`small_resnet` with blocks that weight their channels before adding the shortcut (except with gate none)."""

    source = "Hu, Shen and Sun, 2018: squeeze-and-excitation networks"
    search_space: ClassVar[dict[str, Dimension]] = {
        **SmallResNetBackbone.search_space,
        "gate": Categorical(("none", "constant", "frozen", "learned")),
        "reduction": Categorical((2, 4, 8, 16)),
    }

    class Config(SmallResNetBackbone.Config):
        """Options of `small_resnet`, and the gate of its blocks.

        gate: learned (squeeze-and-excitation); frozen (keeps its initial weights); constant (learned, but the same for
        every image); or none (no gate). reduction: ratio of a block's channels to its gate's hidden units.
        """

        gate: Literal["learned", "frozen", "constant", "none"] = "learned"
        """What weights the channels of a block. learned: squeeze-and-excitation. frozen: squeeze-and-excitation that is
        never trained. constant: a learned gate that is the same for every image. none: no gate."""
        reduction: Annotated[int, Field(ge=1)] = 4
        """Ratio of a block's channels to its gate's hidden units."""

    config: Config

    def build(self, shape: ImageShape) -> nn.Module:
        """Return the network."""
        network = super().build(shape)
        assert isinstance(network, SmallResNet)
        if self.config.gate != "none":
            for block in [module for module in network.modules() if isinstance(module, Bottleneck)]:
                block.gate = _GATES[self.config.gate](block.bn3.num_features, self.config.reduction)
        return network
