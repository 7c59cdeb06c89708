"""Weights from files are loaded into networks, left out, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from aimlib.config import ModelConfig
from aimlib.datasets.base import ImageShape
from aimlib.errors import UsageError
from aimlib.models import build, weights_fit
from aimlib.registry import controls

COLOUR, GREY = ImageShape(3, 16, 16, 10), ImageShape(1, 16, 16, 10)
BACKBONE = {"name": "small_resnet", "widths": [4, 8], "blocks": [1, 1]}
MEMORY = {"memory": {"name": "conv_ones", "channels": 4, "rows": 2, "columns": 2}, "placement": "block_entry"}


def model(path: Path | None = None, **changes: Any) -> ModelConfig:
    weights = {} if path is None else {"weights": {"source": str(path), **changes.pop("weights", {})}}
    return ModelConfig.parse({"backbone": BACKBONE, **weights, **changes})


def saved(tmp_path: Path, shape: ImageShape = COLOUR, **changes: Tensor | None) -> Path:
    """Return the path of a file with the initial values of seed 7, without parameters that `changes` sets to None."""
    state = {**build(model(), shape, 7).state_dict(), **changes}
    path = tmp_path / "net.pt"
    torch.save({name: value for name, value in state.items() if value is not None}, path)
    return path


def test_a_network_starts_from_its_file_for_every_seed(tmp_path: Path) -> None:
    path, wanted = saved(tmp_path), build(model(), COLOUR, 7).state_dict()
    for seed in (0, 1):
        found = build(model(path), COLOUR, seed).state_dict()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_network_with_memory_starts_from_the_file_of_a_network_without_memory(tmp_path: Path) -> None:
    path, wanted = saved(tmp_path), build(model(), COLOUR, 7).state_dict()
    found = build(model(path, **MEMORY), COLOUR, 0).state_dict()
    alone = build(model(**MEMORY), COLOUR, 0).state_dict()
    assert all(torch.equal(found[f"network.{name}"], wanted[name]) for name in wanted)
    added = [name for name in found if name.removeprefix("network.") not in wanted]
    assert added
    assert all(torch.equal(found[name], alone[name]) for name in added)
    assert list(weights_fit(model(path, **MEMORY), COLOUR).memory) == added


def test_a_head_with_a_different_size_is_initialized_by_the_rules(tmp_path: Path) -> None:
    path = saved(tmp_path, ImageShape(3, 16, 16, 4))
    fit = weights_fit(model(path), COLOUR)
    assert fit.head == ("fc.weight", "fc.bias")
    assert "the head (fc.weight, fc.bias) has a different size in the file" in fit.sentence("net.pt")
    assert fit.record()["head"] == ["fc.weight", "fc.bias"]
    found, fresh = (build(each, COLOUR, 0).state_dict() for each in (model(path), model()))
    assert torch.equal(found["fc.weight"], fresh["fc.weight"])
    assert not torch.equal(found["conv1.weight"], fresh["conv1.weight"])


def test_a_gray_image_gives_the_same_output_as_the_image_repeated_in_three_channels(tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert weights_fit(model(path), GREY).summed == ("conv1.weight",)
    x_BCHW = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    grey, colour = (build(model(path), shape, 0).eval() for shape in (GREY, COLOUR))
    torch.testing.assert_close(grey(x_BCHW), colour(x_BCHW.expand(-1, 3, -1, -1)))


def test_missing_unexpected_and_differently_shaped_parameters_are_listed_together(tmp_path: Path) -> None:
    path = saved(
        tmp_path,
        **{"layer1.0.conv2.weight": None, "extra.weight": torch.zeros(1), "layer2.0.bn1.bias": torch.zeros(3)},
    )
    with pytest.raises(UsageError) as refused:
        build(model(path), COLOUR, 0)
    assert "1 name in the network but missing in the file: layer1.0.conv2.weight;" in str(refused.value)
    assert "1 name in the file but unknown to the network: extra.weight;" in str(refused.value)
    assert "1 different shape: layer2.0.bn1.bias [3] instead of [8];" in str(refused.value)
    assert "list the names that must not be loaded from the file in model.weights.leave_out" in str(refused.value)


def test_long_lists_of_names_are_shortened(tmp_path: Path) -> None:
    path = saved(tmp_path, **{f"extra{number}": torch.zeros(1) for number in range(20)})
    with pytest.raises(UsageError, match=r"extra5, … and 14 more"):
        build(model(path), COLOUR, 0)


def test_a_prefix_is_suggested(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save({f"module.{name}": value for name, value in build(model(), COLOUR, 7).state_dict().items()}, path)
    with pytest.raises(UsageError, match=r"the names in the file begin with 'module.': set model.weights.prefix"):
        build(model(path), COLOUR, 0)
    assert len(weights_fit(model(path, weights={"prefix": "module."}), COLOUR).loaded) == len(torch.load(path))


def test_omitted_parameters_start_as_they_would_without_a_file(tmp_path: Path) -> None:
    path = saved(tmp_path, **{"layer1.0.conv2.weight": None, "extra.weight": torch.zeros(1)})
    left = model(path, weights={"leave_out": ["layer1.0.conv2.*", "extra.*", "fc.*"]})
    found, fresh = (build(each, COLOUR, 0).state_dict() for each in (left, model()))
    assert torch.equal(found["layer1.0.conv2.weight"], fresh["layer1.0.conv2.weight"])
    assert torch.equal(found["fc.weight"], fresh["fc.weight"])
    assert set(weights_fit(left, COLOUR).left_out) == {"layer1.0.conv2.weight", "fc.weight", "fc.bias"}
    with pytest.raises(UsageError, match=r"leave_out: 'fd.weight' does not match any name.*did you mean 'fc.weight'"):
        build(model(path, weights={"leave_out": ["fd.weight"]}), COLOUR, 0)
    with pytest.raises(
        UsageError, match=r"leave_out: 'fc' does not match any name.*did you mean 'fc\.\*'\? correct it"
    ):
        build(model(path, weights={"leave_out": ["fc"]}), COLOUR, 0)


def test_counters_may_be_missing_from_the_state_dict_of_an_old_torch_version(tmp_path: Path) -> None:
    state = {name: value for name, value in build(model(), COLOUR, 7).state_dict().items() if "num_batches" not in name}
    torch.save(state, tmp_path / "old.pt")
    assert len(weights_fit(model(tmp_path / "old.pt"), COLOUR).loaded) == len(state)


def test_half_precision_weights_are_converted_to_single_precision(tmp_path: Path) -> None:
    path = saved(tmp_path, **{"fc.weight": build(model(), COLOUR, 7).state_dict()["fc.weight"].half()})
    assert build(model(path), COLOUR, 0).state_dict()["fc.weight"].dtype == torch.float32


def test_a_wider_control_cannot_start_from_weights(tmp_path: Path) -> None:
    plugin = controls.create(controls.parse("matched_parameters"))
    with pytest.raises(UsageError, match=r"does not fit a wider network"):
        plugin.transform(model(saved(tmp_path), **MEMORY), COLOUR)


@pytest.mark.parametrize("architecture", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "densenet121"])
def test_torchvision_networks_load_their_own_state_dicts(tmp_path: Path, architecture: str) -> None:
    import torchvision

    given = torchvision.models.get_model(architecture, num_classes=7)
    torch.save(given.state_dict(), tmp_path / "net.pt")
    config = model(tmp_path / "net.pt", backbone={"name": "torchvision", "architecture": architecture})
    fit = weights_fit(config, ImageShape(3, 64, 64, 10))
    assert len(fit.head) == 2
    assert set(fit.loaded) | set(fit.head) == set(given.state_dict())
    found = build(config, ImageShape(3, 64, 64, 10), 0).state_dict()
    assert all(torch.equal(found[name], given.state_dict()[name]) for name in fit.loaded)
