"""With a memory of zeros, training is bitwise identical to training the baseline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tiny_runs import MEMORY, SMALL, data_set, restored_registries, run_config, without_clock
from torch import Tensor

import aimlib.training.run
from aimlib.memory.sources.base import MemorySource
from aimlib.registry import memories
from aimlib.training.loop import train


@pytest.fixture
def zeros() -> Iterator[dict[str, Any]]:
    with restored_registries():

        @memories.register("zeros")
        class Zeros(MemorySource):
            def forward(self, batch: int) -> Tensor:
                return torch.zeros(1, self.config.channels, self.config.rows, self.config.columns)

            @property
            def degrees_of_freedom(self) -> int:
                return 0

        yield {**MEMORY, "name": "zeros"}


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> list[torch.nn.Module]:
    """Return the networks of runs after training."""
    built: list[torch.nn.Module] = []
    real = aimlib.training.run.build
    monkeypatch.setattr(aimlib.training.run, "build", lambda *given: (built.append(real(*given)), built[-1])[1])
    return built


@pytest.mark.parametrize("optimizer", [{"name": "sgd", "learning_rate": 0.05}, "adam"], ids=str)
@pytest.mark.parametrize("backbone", [SMALL, {"name": "mlp", "widths": [16, 8]}], ids=["small_resnet", "mlp"])
def test_training_with_a_memory_of_zeros_is_bitwise_identical_to_the_baseline(
    zeros: dict[str, Any], networks: list[torch.nn.Module], backbone: dict[str, Any], optimizer: Any
) -> None:
    training = {"training__optimizer": optimizer, "training__augmentation": {"rotation": 0.1, "contrast": 0.2}}
    model = {"backbone": backbone, "memory": zeros, "placement": "every_layer"}
    one = train(run_config(model={"backbone": backbone}, **training), data_set())
    two = train(run_config(model=model, **training), data_set())
    assert without_clock(one) == without_clock(two)
    baseline, other = (network.state_dict() for network in networks)
    assert len(one.epochs) == 2
    for name, value in baseline.items():
        assert torch.equal(other[f"network.{name}"], value), name
    assert len(networks[1].attachment.readers) == len([n for n in other if n.endswith("read_weight")]) > 2


def test_a_memory_that_is_not_zero_gives_a_different_network(networks: list[torch.nn.Module]) -> None:
    one = train(run_config(), data_set())
    two = train(run_config(model={"backbone": SMALL, "memory": MEMORY, "placement": "every_layer"}), data_set())
    assert one.epochs[0]["train_loss"] != two.epochs[0]["train_loss"]
    assert not torch.equal(networks[0].conv1.weight, networks[1].network.conv1.weight)
