"""Any classification network from torchvision can have a memory, without changes to the network's code."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from aimlib.config import ModelConfig
from aimlib.datasets.base import ImageShape
from aimlib.errors import UsageError
from aimlib.memory.attach import AimNetwork, attach_memory
from aimlib.memory.inference import infer_layout
from aimlib.memory.structure import Layout, trace
from aimlib.models import build, skeleton
from aimlib.registry import backbones, memories, placements

ARCHITECTURES = {
    "resnet18": ("layer1.1", "layer2.1", "layer3.1", "layer4.1"),
    "resnet34": ("layer1.2", "layer2.3", "layer3.5", "layer4.2"),
    "resnet101": ("layer1.2", "layer2.3", "layer3.22", "layer4.2"),
    "densenet121": tuple(f"features.denseblock{i}" for i in (1, 2, 3, 4)),
    "mobilenet_v3_small": ("features.1", "features.3", "features.8", "features.11"),
    "efficientnet_b0": ("features.1.0", "features.2.1", "features.3.1", "features.5.2", "features.7.0"),
    "convnext_tiny": ("features.1.2", "features.3.2", "features.5.8", "features.7.2"),
    "googlenet": ("inception3b", "inception4e", "inception5b"),
    "squeezenet1_1": ("features.4", "features.7", "features.12"),
    "alexnet": ("features.2", "features.5", "features.12"),
    "regnet_y_400mf": tuple(
        f"trunk_output.block{stage}.block{stage}-{last}" for stage, last in enumerate((0, 2, 5, 5), start=1)
    ),
}
"""The modules that end stages, by architecture."""

MEMORY = {"name": "conv_ones", "channels": 4, "rows": 2, "columns": 2}
AIM: dict[str, Any] = {"memory": MEMORY, "placement": "every_layer", "update": "conv_sigmoid"}
SHAPE = ImageShape(3, 64, 64, 5)


def model(architecture: str, **options: Any) -> ModelConfig:
    return ModelConfig.parse({"backbone": {"name": "torchvision", "architecture": architecture}, **options})


def readable(network: nn.Module) -> set[str]:
    """Return the layers that can read memory according to the documentation, found without the tested code."""
    return {
        name
        for name, module in network.named_modules()
        if type(module) is nn.Linear or (type(module) is nn.Conv2d and module.groups == 1)
    }


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_layer_that_can_read_memory_reads_it_and_the_other_layers_are_listed(architecture: str) -> None:
    network = skeleton(model(architecture), SHAPE)
    can, every = readable(network), {n for n, m in network.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    attachment = skeleton(model(architecture, **AIM), SHAPE).attachment
    assert {reading.layer for reading in attachment.readers} == can
    assert set(attachment.skipped) == every - can
    assert all("grouped convolution" in reason for reason in attachment.skipped.values())
    assert attachment.updates == ARCHITECTURES[architecture]


@pytest.mark.parametrize("architecture", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "googlenet"])
def test_memory_in_a_torchvision_network_is_trained(architecture: str) -> None:
    network = build(model(architecture, **AIM), SHAPE, 0)
    assert isinstance(network, AimNetwork)
    logits = network(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert logits.shape == (2, 5)
    nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    for name, parameter in network.named_parameters():
        if name.startswith(("source.", "updates.")) or name.endswith("read_weight"):
            assert parameter.grad is not None, name
    assert sum(float(p.grad.abs().sum()) for p in network.source.parameters() if p.grad is not None) > 0


def test_an_arbitrary_network_is_used_without_changes() -> None:
    """The network is not one of this package's backbones; names, parameters and outputs without memory stay the
    same."""
    plain = torchvision.models.resnet18(num_classes=5)
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    source = memories.create(memories.parse(MEMORY))
    network = attach_memory(plain, source, placements.create(placements.parse("block_entry")), input_shape=(3, 64, 64))
    after = network.network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert [reading.layer for reading in network.attachment.readers] == [
        f"layer{stage}.{block}.conv1" for stage in (1, 2, 3, 4) for block in (0, 1)
    ]


@pytest.mark.parametrize("channels", [1, 4])
def test_images_with_other_numbers_of_channels_are_accepted(channels: int) -> None:
    network = skeleton(model("resnet18", **AIM), ImageShape(channels, 64, 64, 5))
    assert network(torch.zeros(2, channels, 64, 64, device="meta")).shape == (2, 5)


def test_inferred_stages_equal_the_documented_stages() -> None:
    """The test covers the backbones that declare a layout."""
    for name, options in (("resnet50", {}), ("vgg16", {}), ("vgg16_bn", {}), ("small_resnet", {})):
        plugin = backbones.create(backbones.parse({"name": name, **options}))
        with torch.device("meta"):
            network = plugin.build(SHAPE)
        written = plugin.layout(network)
        inferred = infer_layout(network, trace(network, (3, 64, 64)))
        for where in ("stage", "first_block", "block"):
            assert inferred.update_points(where) == written.update_points(where), name
        assert inferred == written, name


def test_a_network_without_feature_maps_has_no_stages() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 3))
    assert infer_layout(network, trace(network, (3, 4, 4))) == Layout()
    with pytest.raises(
        UsageError, match=r"the update has no place: .* list the modules instead, e.g. update_after: \[0\]"
    ):
        attach_memory(
            network,
            memories.create(memories.parse(MEMORY)),
            placements.create(placements.parse("every_layer")),
            lambda *_: None,  # type: ignore[arg-type, return-value]
            input_shape=(3, 4, 4),
        )


class HalfUsed(nn.Module):
    """A network with a layer that is not called in evaluation, like an auxiliary head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3)
        self.auxiliary = nn.Linear(4, 2)
        self.head = nn.Linear(4, 2)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.body(x_BCHW).mean(dim=(2, 3)))
        return logits


def test_a_layer_that_is_not_called_is_skipped_with_the_reason() -> None:
    network = attach_memory(
        HalfUsed(),
        memories.create(memories.parse(MEMORY)),
        placements.create(placements.parse("every_layer")),
        input_shape=(3, 8, 8),
    )
    assert [reading.layer for reading in network.attachment.readers] == ["body", "head"]
    assert network.attachment.skipped == {"auxiliary": "the forward pass does not call it during evaluation"}


def test_an_unknown_architecture_is_refused_and_the_nearest_name_is_suggested() -> None:
    with pytest.raises(UsageError, match=r"unknown torchvision network 'resnet19'; did you mean 'resnet1"):
        skeleton(model("resnet19"), SHAPE)
