"""Conformance tests for placements."""

from __future__ import annotations

from functools import cache

import torch
from torch import nn

from aimlib.datasets.base import ImageShape
from aimlib.memory.attach import attach_memory
from aimlib.memory.structure import Layer, Layout, layers, trace
from aimlib.placements.base import Placement
from aimlib.registry import backbones, memories, placements
from aimlib.testing.conformance import Conformance, refusal

SHAPE = ImageShape(channels=3, height=32, width=32, classes=5)
NETWORKS = ("small_resnet", "mlp", "vgg16_bn", "resnet50")


def network_on_meta(backbone: str) -> tuple[nn.Module, Layout]:
    """Return a backbone on the meta device, and its layout."""
    plugin = backbones.create(backbones.parse(backbone))
    with torch.device("meta"):
        network: nn.Module = plugin.build(SHAPE)
    return network, plugin.layout(network)


@cache
def layers_of(backbone: str, *, stages: bool = True) -> tuple[Layer, ...]:
    """Return the layers of a backbone for a placement; if `stages` is False, without a layout."""
    network, layout = network_on_meta(backbone)
    calls = trace(network, (SHAPE.channels, SHAPE.height, SHAPE.width))
    return tuple(layers(network, layout if stages else Layout(), calls))


class PlacementConformance(Conformance):
    """Tests for a placement, which must return names of existing layers, each once, and always the same names."""

    registry = placements

    def placement(self) -> Placement:
        """Return the placement."""
        placement: Placement = placements.create(self.config())
        return placement

    def test_names_layers_of_the_network_once(self) -> None:
        """The test covers every built-in kind of network, with and without stages."""
        for backbone in NETWORKS:
            for stages in (True, False):
                found = layers_of(backbone, stages=stages)
                chosen = list(self.placement().reads(found))
                assert set(chosen) <= {layer.name for layer in found}
                assert len(chosen) == len(set(chosen)), f"{self.name!r} names a layer of {backbone} twice"

    def test_reads_somewhere(self) -> None:
        """At least one of the built-in networks has a layer that reads memory."""
        assert any(list(self.placement().reads(layers_of(backbone))) for backbone in NETWORKS)

    def test_depends_on_the_layers_alone(self) -> None:
        """Two instances return the same result twice, and do not modify their arguments."""
        found = list(layers_of("small_resnet"))
        before, one, two = list(found), self.placement(), self.placement()
        answers = [list(asked.reads(found)) for asked in (one, one, two)]
        assert answers[0] == answers[1] == answers[2]
        assert found == before

    def test_network_without_layers(self) -> None:
        """If there are no layers to choose from, the placement does not choose any."""
        assert list(self.placement().reads([])) == []

    def test_attaches_or_is_refused_clearly(self) -> None:
        """For every built-in kind of network, memory is attached, or a UsageError names the placement."""
        for backbone in NETWORKS:
            message = refusal(lambda backbone=backbone: self._attach(backbone))
            assert message is None or repr(self.name) in message

    def _attach(self, backbone: str) -> None:
        network, layout = network_on_meta(backbone)
        with torch.device("meta"):
            source = memories.create(memories.parse({"name": "conv_ones", "channels": 4}))
        shape = (SHAPE.channels, SHAPE.height, SHAPE.width)
        attached = attach_memory(network, source, self.placement(), input_shape=shape, layout=layout)
        assert attached.attachment.readers
