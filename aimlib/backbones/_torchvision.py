"""Any torchvision classification network, by name."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from aimlib.backbones.base import Backbone
from aimlib.backbones.pooling import leave_out_idle_pooling
from aimlib.component import ComponentConfig
from aimlib.datasets.base import ImageShape
from aimlib.errors import UsageError, counted, unknown_name
from aimlib.memory.inference import infer_layout
from aimlib.memory.structure import Layout, trace
from aimlib.registry import backbones


@backbones.register("torchvision")
class TorchvisionBackbone(Backbone):
    """A network of ``torchvision.models``, untrained: ``{name: torchvision, architecture: densenet121}``.

    Its stages and blocks are inferred by one rule for all networks (`aimlib.memory.inference`). Layers that cannot read
    a memory, such as depthwise convolutions, are skipped and listed by `ablate check`. Auxiliary heads are omitted. As
    in every backbone, convolutions and dense layers are initialized by the study's rules, not by torchvision's.
    """

    source = "torchvision.models"

    class Config(ComponentConfig):
        """The network's name in torchvision."""

        architecture: str
        """Name of a torchvision classification network, e.g. densenet121."""

    config: Config

    def build(self, shape: ImageShape) -> nn.Module:
        """Return the network; its first convolution takes as many channels as the images have.

        Raises
        ------
        UsageError: torchvision has no classification network with this name, or the network cannot take images of this
            shape.
        """
        import torchvision  # noqa: PLC0415 -- takes seconds

        name = self.config.architecture
        known = torchvision.models.list_models(module=torchvision.models)
        if name not in known:
            raise UsageError(f"backbone.architecture: {unknown_name('torchvision network', name, known)}")
        # With auxiliary heads, a network returns different outputs in training and in evaluation. Torchvision's own
        # initialization of these networks takes a minute.
        options: dict[str, Any] = (
            {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
        )
        options |= {"weights": None, "num_classes": shape.classes}
        try:
            network: nn.Module = torchvision.models.get_model(name, **options)
        except NotImplementedError:  # regnet computes its widths with tensors, which have no values on the meta device
            with torch.device("cpu"):
                network = torchvision.models.get_model(name, **options)
            network.to(torch.empty(0).device)  # in torch 2.7, get_default_device ignores a device set with `with`
        if shape.channels != 3:
            _take_channels(network, shape.channels)
        leave_out_idle_pooling(network)
        self._input_shape = (shape.channels, shape.height, shape.width)
        return network

    def layout(self, network: nn.Module) -> Layout:
        """Return what `aimlib.memory.inference.infer_layout` finds."""
        return infer_layout(network, trace(network, self._input_shape))


def _take_channels(network: nn.Module, channels: int) -> None:
    """Replace the first convolution with one for images with `channels` channels."""
    name, first = next((name, part) for name, part in network.named_modules() if isinstance(part, nn.Conv2d))
    if first.groups != 1:
        taken = counted(channels, "channel")
        raise UsageError(f"{name}: its first convolution has groups and cannot take images with {taken}")
    parent, _, own = name.rpartition(".")
    new = nn.Conv2d(
        channels,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]
        first.stride,  # type: ignore[arg-type]
        first.padding,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )
    setattr(network.get_submodule(parent), own, new)
