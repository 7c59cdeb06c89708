"""The parameters that fine-tuning freezes, and the learning rate of each parameter."""

from __future__ import annotations

from typing import Any

import pytest
from tiny_runs import AIM, SHAPE, restored_registries, run_config
from torch import nn

from aimlib.backbones import Backbone
from aimlib.config import ModelConfig, TrainingConfig
from aimlib.datasets.base import ImageShape
from aimlib.errors import ConfigError, UsageError
from aimlib.memory.structure import Layout
from aimlib.models import controlled_skeleton
from aimlib.registry import backbones
from aimlib.training.optimizers.groups import build_optimizer
from aimlib.training.tuning.config import FineTuningConfig
from aimlib.training.tuning.depths import blocks_above
from aimlib.training.tuning.groups import FOREVER, Tuning, tuning_of

DEEP = {"backbone": {"name": "small_resnet", "widths": [4, 4], "blocks": [2, 1]}}


def tuned(model: Any = None, shape: ImageShape = SHAPE, **options: Any) -> Tuning:
    config = ModelConfig.parse(DEEP if model is None else model)
    return tuning_of(controlled_skeleton(config, shape), FineTuningConfig.parse(options), config, shape)


def test_a_name_includes_everything_in_the_module() -> None:
    found = tuned(freeze={"layers": ["conv1", "layer1"], "epochs": 2})
    assert set(found.frozen.values()) == {2}
    assert "conv1.weight" in found.frozen
    assert "layer1.1.bn2.bias" in found.frozen
    assert not any(name.startswith(("bn1", "layer2", "fc", "layer10")) for name in found.frozen)
    assert all(name.startswith("layer1.") for name in found.still), "the stem's batch norm is not frozen"
    assert len(found.still) == 6


def test_later_patterns_override_earlier_ones() -> None:
    freeze = [{"layers": "*"}, {"layers": "layer2", "epochs": 1}, {"layers": "fc", "epochs": 2}]
    found = tuned(freeze=freeze)
    assert found.frozen["conv1.weight"] == FOREVER
    assert found.frozen["layer2.0.conv1.weight"] == 1
    assert found.frozen["fc.bias"] == 2
    assert found.still["layer2.0.bn1"] == 1
    assert found.untrained == 4 * found.untrained_bytes / 16


def test_names_refer_to_the_network_without_memory() -> None:
    found = tuned(AIM, freeze={"layers": "layer1"}, learning_rates={"layers": ["source", "*.read_weight"], "scale": 3})
    assert "network.layer1.0.conv1.weight" in found.frozen
    assert "network.layer1.0.conv1.read_weight" not in found.frozen, "the memory adds this module"
    assert found.scales["source.conv.weight"] == 3
    assert found.scales["network.layer2.0.conv1.read_weight"] == 3


def test_an_entire_network_can_be_frozen_around_its_memory() -> None:
    found = tuned(AIM, freeze={"layers": "*"})
    assert found.frozen
    assert all(name.startswith("network.") and not name.endswith("read_weight") for name in found.frozen)
    assert all(name.startswith("network.") for name in found.still), "batch norms in updates are trained"
    assert set(tuned(AIM, freeze={"layers": "updates"}).still) >= {"updates.layer1/0.refine.0"}


def test_the_last_matching_factor_applies() -> None:
    rates = [{"layers": "*", "scale": 0.1}, {"layers": "fc", "scale": 10.0}]
    found = tuned(learning_rates=rates).scales
    assert (found["fc.weight"], found["conv1.weight"]) == (10.0, 0.1)


def test_rates_decay_from_the_head_block_by_block() -> None:
    found = tuned(layer_decay=0.5, learning_rates={"layers": "fc", "scale": 3.0}).scales
    assert found["fc.weight"] == 3.0
    assert found["layer2.0.conv2.weight"] == 0.5
    assert found["layer2.0.downsample.0.weight"] == 0.5
    assert found["layer1.1.bn1.weight"] == 0.25
    assert found["layer1.0.conv1.weight"] == 0.125
    assert found["conv1.weight"] == found["bn1.bias"] == 0.0625


def test_layer_decay_does_not_apply_to_the_memorys_parameters() -> None:
    found = tuned(AIM, layer_decay=0.5).scales
    added = [name for name in found if not name.startswith("network.") or name.endswith("read_weight")]
    assert added == []
    assert found["network.layer1.0.conv1.weight"] == 0.25


@pytest.mark.parametrize("architecture", ["resnet18", "vgg11_bn", "mobilenet_v3_small", "densenet121"])
def test_the_depth_increases_along_a_torchvision_network(architecture: str) -> None:
    model = ModelConfig.parse({"backbone": {"name": "torchvision", "architecture": architecture}})
    above = list(blocks_above(model, ImageShape(3, 64, 64, 10)).values())
    assert above[-1] == 0
    assert max(above) == above[0] >= 5
    main = [depth for name, depth in blocks_above(model, ImageShape(3, 64, 64, 10)).items() if "downsample" not in name]
    assert main == sorted(main, reverse=True)


def test_a_pattern_that_matches_nothing_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"freeze.0.layers: 'layr1' matches no trained parameter .* mean 'layer1'\?"):
        tuned(freeze={"layers": "layr1"})
    with pytest.raises(UsageError, match=r"learning_rates.1.layers: 'head' matches .* consists of conv1, bn1, layer1"):
        tuned(learning_rates=[{"layers": "fc", "scale": 2.0}, {"layers": ["head"], "scale": 2.0}])


def test_at_least_one_parameter_must_be_trained_and_the_backbone_must_have_blocks() -> None:
    with pytest.raises(UsageError, match=r"every parameter is frozen throughout; leave the head out"):
        tuned(freeze={"layers": "*"})
    with restored_registries():

        @backbones.register("no_blocks")
        class NoBlocks(Backbone):
            def build(self, shape: ImageShape) -> nn.Module:
                return nn.Sequential(nn.Flatten(), nn.Linear(shape.height * shape.width, shape.classes))

            def layout(self, network: nn.Module) -> Layout:
                return Layout()

        with pytest.raises(UsageError, match=r"backbone 'no_blocks' does not define blocks; use learning_rates"):
            tuned({"backbone": "no_blocks"}, layer_decay=0.5)


def test_the_optimizer_has_a_group_for_each_rate_and_time_and_none_for_frozen_parameters() -> None:
    options: dict[str, Any] = {
        "freeze": [{"layers": "conv1"}, {"layers": "layer1", "epochs": 1}],
        "learning_rates": {"layers": "fc", "scale": 10.0},
    }
    network = controlled_skeleton(ModelConfig.parse(DEEP), SHAPE)
    optimizer = build_optimizer(run_config().training.optimizer, network, tuned(**options))
    sizes = {(group["lr_scale"], len(group["params"])) for group in optimizer.param_groups}
    inside = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    names = [name for name, parameter in network.named_parameters() if id(parameter) not in inside]
    assert names == ["conv1.weight"]
    assert (10.0, 2) in sizes
    assert len(optimizer.param_groups) == 3
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.05, 0.5]


# The configuration


def test_options_without_an_effect_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"fine_tuning: no effect; set freeze"):
        run_config(training__fine_tuning={})
    with pytest.raises(ConfigError, match=r"freeze.0.epochs: 2 is not below the budget of 2 epochs"):
        run_config(training__fine_tuning={"freeze": {"layers": "fc", "epochs": 2}})
    with pytest.raises(ConfigError, match=r"step: graph with fine_tuning.freeze: .* steps run eagerly; remove step"):
        run_config(training__fine_tuning={"freeze": {"layers": "fc"}}, training__step="graph")


def test_a_run_id_depends_on_fine_tuning_only_if_it_is_set() -> None:
    assert "fine_tuning" not in run_config().training.identity()
    found = run_config(training__fine_tuning={"freeze": {"layers": "fc"}, "ema": {"decay": 0.9}}).training
    assert found.identity()["fine_tuning"] == {"freeze": [{"layers": ["fc"]}], "ema": {"decay": 0.9}}
    assert TrainingConfig.parse(found.model_dump(mode="json")) == found
