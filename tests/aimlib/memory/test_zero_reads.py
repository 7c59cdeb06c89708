"""A memory that is read with zero weights does not change any output initially, but is learned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import AIM, MEMORY, data_set, run_config
from torch import nn

from aimlib.config import ModelConfig
from aimlib.datasets.base import ImageShape
from aimlib.errors import ConfigError
from aimlib.memory.attach import AimNetwork
from aimlib.models import build
from aimlib.training.run import Run
from aimlib.training.steps.snapshot import same_bits

SHAPE = ImageShape(3, 32, 32, 10)
BACKBONES = [
    {"name": "small_resnet", "widths": [4, 8], "blocks": [2, 1]},
    {"name": "mlp", "widths": [16, 8]},
    {"name": "torchvision", "architecture": "resnet18"},
]
MEMORIES = ["conv_ones", "dense_ones", "noise", "parameter"]


def networks(backbone: dict[str, Any], **changes: Any) -> Iterator[nn.Module]:
    """Yield the network with memory and the network without memory."""
    parts = {"memory": {**MEMORY, **changes.pop("memory", {})}, "placement": "every_layer", "read_init": "zero"}
    for more in ({**parts, **changes}, {}):
        yield build(ModelConfig.parse({"backbone": backbone, **more}), SHAPE, 0)


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("update", [None, "conv_sigmoid", "residual", "gated", "attention"])
@pytest.mark.parametrize("backbone", BACKBONES, ids=lambda backbone: str(backbone["name"]))
def test_outputs_are_bitwise_identical_to_those_without_memory(
    backbone: dict[str, Any], update: str | None, training: bool
) -> None:
    if backbone["name"] == "mlp" and update is not None:
        update = "residual"  # conv_sigmoid works only on maps
    x_BCHW = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    aim, plain = (network.train(training)(x_BCHW) for network in networks(backbone, update=update))
    assert same_bits(aim, plain)


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("changes", [{"routing": "as_run"}, {"carry": {"decay": 0.5}}, {}], ids=str)
def test_every_kind_of_memory_leaves_the_outputs_unchanged(memory: str, changes: dict[str, Any]) -> None:
    x_BCHW = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    given = {"memory": {"name": memory}, "update": "conv_sigmoid", "update_after": "first_block", **changes}
    aim, plain = (network.eval()(x_BCHW) for network in networks(BACKBONES[0], **given))
    assert same_bits(aim, plain)


def test_a_pretrained_network_keeps_its_outputs_when_a_memory_is_attached(tmp_path: Path) -> None:
    import torchvision

    given = torchvision.models.resnet18(num_classes=10)
    torch.save(given.state_dict(), tmp_path / "net.pt")
    start = {"backbone": BACKBONES[2], "weights": str(tmp_path / "net.pt")}
    memory = {"memory": MEMORY, "placement": "block_entry", "update": "conv_sigmoid", "read_init": "zero"}
    network = build(ModelConfig.parse({**start, **memory}), SHAPE, 5)
    assert isinstance(network, AimNetwork)
    x_BCHW = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert same_bits(network.eval()(x_BCHW), given.eval()(x_BCHW))


def test_the_memory_is_read_after_some_steps() -> None:
    run = Run(run_config(model={**AIM, "read_init": "zero"}), data_set(), torch.device("cpu"))
    assert isinstance(run.network, AimNetwork)
    assert not any(reader.read_weight.any() for reader in run.network.readers())
    run.epoch()
    assert all(reader.read_weight.any() for reader in run.network.readers())
    before = [source.clone() for source in run.network.source.parameters()]
    run.epoch()
    assert not all(map(torch.equal, before, run.network.source.parameters()))


def test_the_initialization_of_reading_weights_does_not_change_the_start_of_other_layers() -> None:
    zero, usual = (
        dict(build(ModelConfig.parse({**AIM, **more}), SHAPE, 0).named_parameters())
        for more in ({"read_init": "zero"}, {})
    )
    assert {name for name in zero if not torch.equal(zero[name], usual[name])} == {
        name for name in zero if name.endswith("read_weight")
    }


def test_a_memory_of_zeros_that_is_read_with_zero_weights_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"never gets a gradient; change one of the two"):
        ModelConfig.parse({**AIM, "memory": {**MEMORY, "initial_scale": 0}, "read_init": "zero"})
