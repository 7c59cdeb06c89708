"""Values that a class in the user's own code sets are kept, and layers that two networks share start identically."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from tiny_runs import restored_registries
from torch import Tensor, nn

from aimlib.backbones import Backbone
from aimlib.component import ComponentConfig
from aimlib.config import ModelConfig
from aimlib.datasets.base import ImageShape
from aimlib.errors import PluginError
from aimlib.memory.initialization import Rule, declare
from aimlib.memory.sources.base import MemorySource
from aimlib.memory.structure import Layout
from aimlib.models import build
from aimlib.registry import Origin, backbones, memories, updates
from aimlib.updates.base import MemoryUpdate
from aimlib.weights import starts

SHAPE = ImageShape(3, 16, 16, 10)
MEMORY = {"memory": {"name": "conv_ones", "channels": 4, "rows": 4, "columns": 4}, "placement": "every_layer"}


class Net(nn.Module):
    """A network that draws random values in all common ways, with an optional layer before the others."""

    def __init__(self, deep: bool, classes: int) -> None:
        super().__init__()
        self.deep = deep
        self.conv1 = nn.Conv2d(3, 8, 3)
        nn.init.trunc_normal_(self.conv1.weight, std=0.02)
        if deep:
            self.extra = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
            nn.init.orthogonal_(self.extra[0].weight)
        self.conv2 = nn.Conv2d(8, 8, 3)
        nn.init.orthogonal_(self.conv2.weight)
        self.gain = nn.Parameter(torch.full((1,), 0.1))
        self.shift = nn.Parameter(torch.randn(8))
        self.fc = nn.Linear(8, classes)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        x = self.extra(x) if self.deep else x
        x = self.conv2(x) * self.gain + self.shift[:, None, None]
        output: Tensor = self.fc(x.mean((2, 3)))
        return output


class Mine(Backbone):
    class Config(ComponentConfig):
        deep: bool = False

    config: Config

    def build(self, shape: ImageShape) -> nn.Module:
        return Net(self.config.deep, shape.classes)

    def layout(self, _network: nn.Module) -> Layout:
        return Layout()


@pytest.fixture(autouse=True)
def _own_registries() -> Iterator[None]:
    with restored_registries():
        backbones.register("mine")(Mine)
        yield


def model(deep: bool = False, name: str = "mine", **changes: Any) -> ModelConfig:
    return ModelConfig.parse({"backbone": {"name": name, "deep": deep}, **changes})


def values(config: ModelConfig, seed: int = 0) -> dict[str, Tensor]:
    return {name.removeprefix("network."): value for name, value in build(config, SHAPE, seed).named_parameters()}


def test_values_set_by_the_class_are_kept() -> None:
    found = values(model())
    assert found["gain"].item() == pytest.approx(0.1)
    assert found["conv1.weight"].std().item() == pytest.approx(0.02, rel=0.2)
    rows = found["conv2.weight"].flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(8))
    assert found["conv1.bias"].abs().max() > 0, "torch's own initial values of a convolution include a bias"
    assert not found["fc.bias"].any()


def test_equal_seeds_give_equal_initial_values_and_different_seeds_do_not() -> None:
    first, again, other = values(model()), values(model()), values(model(), seed=1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    drawn = [name for name in first if name not in ("gain", "fc.bias")]
    assert not any(torch.equal(first[name], other[name]) for name in drawn)


@pytest.mark.parametrize("changes", [{"deep": True}, MEMORY, {"deep": True, **MEMORY}], ids=str)
def test_an_additional_layer_or_memory_does_not_change_other_initial_values(changes: dict[str, Any]) -> None:
    assert starts.unpaired(model(**changes), model(), SHAPE, 3) == ([], len(values(model())))


def test_parameters_of_the_same_network_never_share_draws() -> None:
    found = values(model(deep=True))
    assert not torch.equal(found["extra.0.bias"], found["conv2.bias"])
    assert not torch.equal(found["extra.0.weight"], found["conv2.weight"])


def test_a_class_can_request_the_rules() -> None:
    @backbones.register("ruled")
    class Ruled(Mine):
        initial_values: ClassVar[str] = "rules"

    assert Ruled.Config.initial_values == "rules"
    assert not values(model(name="ruled"))["conv1.bias"].any()
    kept, replaced = starts.sentences(model(name="ruled"), SHAPE)
    assert kept.startswith("start: 2 parameters keep the values"), "no rule covers gain and shift"
    assert replaced.startswith(
        "start: 6 parameters start from a rule, instead of the values that backbone 'ruled' set (he_normal:"
    )


def test_a_declared_rule_applies_in_a_class_that_keeps_its_own_values() -> None:
    @backbones.register("declaring")
    class Declaring(Mine):
        def build(self, shape: ImageShape) -> nn.Module:
            network = Net(False, shape.classes)
            declare(network.fc, bias=Rule("constant", 0.5))
            return network

    found = values(model(name="declaring"))
    assert torch.equal(found["fc.bias"], torch.full((10,), 0.5))
    assert found["conv1.bias"].any()


def test_unknown_values_of_initial_values_are_refused() -> None:
    with pytest.raises(PluginError, match=r"initial_values is 'mine'; set it to 'own'"):

        @backbones.register("wrong")
        class Wrong(Mine):
            initial_values: ClassVar[str] = "mine"


def test_a_class_from_a_distribution_follows_the_rules_unless_it_requests_its_own_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed = [*backbones._of_distributions()]
    one = listed[0]
    monkeypatch.setattr(
        backbones,
        "_of_distributions",
        lambda: [*listed, *(type(one)("backbones", n, "x", "y") for n in ("old", "new"))],
    )
    old = type("Old", (Mine,), {"Config": type("Config", (Mine.Config,), {"__qualname__": "Old.Config"})})
    new = type("New", (Mine,), {"initial_values": "own"})
    for name, cls in (("old", old), ("new", new)):
        backbones._complete(name, 1, cls)
    assert old.Config.initial_values == "rules"
    assert old.Config().identity() == {"name": "old", "version": 1}
    assert new.Config.initial_values == "own"
    assert new.Config().identity() == {"name": "new", "version": 1, "initial_values": "own"}


def test_own_code_in_a_study_keeps_its_values_and_its_id_contains_the_hash_of_the_code() -> None:
    backbones.adopt("mine", Mine, 1, Origin("my_net.py", "f" * 64))
    assert Mine.Config.initial_values == "own"
    assert Mine.Config().identity() == {"name": "mine", "version": 1, "code": "f" * 64}


def test_other_random_generators_are_seeded_and_restored() -> None:
    @backbones.register("others")
    class Others(Mine):
        def build(self, shape: ImageShape) -> nn.Module:
            network = Net(False, shape.classes)
            with torch.no_grad():
                network.gain.fill_(random.random() + float(np.random.rand()))
            return network

    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    first, again, other = (values(model(name="others"), seed)["gain"].item() for seed in (0, 0, 1))
    assert first == again != other
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_a_construction_that_is_not_reproducible_is_refused() -> None:
    constructions: list[int] = []

    @backbones.register("restless")
    class Restless(Mine):
        def build(self, shape: ImageShape) -> nn.Module:
            constructions.append(0)
            return Net(len(constructions) % 2 == 1, shape.classes)

    with pytest.raises(PluginError, match=r"restless: two constructions of it draw different initial values; make"):
        build(model(name="restless"), SHAPE, 0)


def test_memories_and_updates_keep_their_own_initial_values() -> None:
    @memories.register("my_memory")
    class MyMemory(MemorySource):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.values = nn.Parameter(torch.randn(1, config.channels, config.rows, config.columns))

        def forward(self, batch: int) -> Tensor:
            return self.values

        @property
        def degrees_of_freedom(self) -> int:
            return self.values.numel()

    @updates.register("my_update")
    class MyUpdate(MemoryUpdate):
        def __init__(self, config: Any, features: Any, memory: Any, where: str) -> None:
            super().__init__(config, features, memory, where)
            self.write = nn.Conv2d(features[0], memory.channels, 1)

        def forward(self, features: Tensor, memory_NCHW: Tensor) -> Tensor:
            return memory_NCHW + self.write(features).mean((2, 3), keepdim=True)

    parts = {**MEMORY, "memory": {"name": "my_memory", "channels": 4, "rows": 4, "columns": 4}, "update": "my_update"}
    config = ModelConfig.parse({"backbone": {"name": "small_resnet", "widths": [4, 4], "blocks": [1, 1]}, **parts})
    found, again, other = (dict(build(config, SHAPE, seed).named_parameters()) for seed in (0, 0, 1))
    assert found["updates.layer1/0.write.bias"].any(), "torch's own initial values"
    assert not found["network.fc.bias"].any(), "a rule"
    for name in ("source.values", "updates.layer1/0.write.weight"):
        assert torch.equal(found[name], again[name])
        assert not torch.equal(found[name], other[name])
    plain = ModelConfig.parse({"backbone": config.backbone})
    assert starts.unpaired(config, plain, SHAPE, 0)[0] == []


# the output of `ablate check`


def test_the_origin_of_each_initial_value_is_listed() -> None:
    start = starts.start_of(model(**MEMORY), SHAPE)
    assert set(start.own) == set(values(model()))
    assert start.by_rule["he_normal"] == ("conv1.read_weight", "conv2.read_weight")
    assert list(starts.sentences(model(), SHAPE)) == [
        "start: 8 parameters keep the values that backbone 'mine' set: gain, shift, conv1.weight, conv1.bias, "
        "conv2.weight, conv2.bias, … and 2 more"
    ]
    assert list(starts.sentences(ModelConfig.parse({"backbone": "small_resnet"}), SHAPE)) == []


def test_parameters_that_do_not_start_identically_in_both_arms_are_found() -> None:
    @backbones.register("shifted")
    class Shifted(Mine):
        def build(self, shape: ImageShape) -> nn.Module:
            network = Net(False, shape.classes)
            network.shift = nn.Parameter(network.shift.detach() * 2)
            return network

    found, common = starts.unpaired(model(name="shifted"), model(), SHAPE, 0)
    assert (found, common) == (["shift"], 8)
