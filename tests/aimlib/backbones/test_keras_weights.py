"""Weights from the author's models give the author's outputs when they are loaded into this package's networks."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from keras_reference import Model, Reference, Weights
from torch import Tensor

from aimlib.backbones.keras_weights import from_keras
from aimlib.config import ModelConfig
from aimlib.datasets.base import ImageShape
from aimlib.errors import UsageError
from aimlib.models import build, skeleton

SMALL = Model(widths=(4, 8, 8, 8), blocks=(2, 2, 3, 2), classes=5, memory=(2, 2, 128))
LAST_UPDATE = ("mem_*5a_branch*", "Memory5a_branch")
"""The update after the first block of the last stage; the author built this update, but no layer reads its result."""


def config(model: Model) -> ModelConfig:
    backbone = {
        "name": "resnet50_keras",
        "widths": list(model.widths),
        "blocks": list(model.blocks),
        "stem_stride": model.stem_stride,
        "bn_epsilon": model.epsilon,
    }
    if model.memory is None:
        return ModelConfig.parse({"backbone": backbone})
    rows, columns, channels = model.memory
    aim: dict[str, Any] = {
        "memory": {"name": "conv_ones", "channels": channels, "rows": rows, "columns": columns},
        "placement": "block_entry",
        "update": "conv_sigmoid",
        "update_after": "first_block",
        "routing": "as_run",
    }
    return ModelConfig.parse({"backbone": backbone, **aim})


def photos(side: int, count: int = 2) -> Tensor:
    """Return images [count, side, side, 3] with values from 0 to 255, as in the author's input."""
    return torch.rand(count, side, side, 3, generator=torch.Generator().manual_seed(0)) * 255


def reference(model: Model, side: int, seed: int = 0) -> tuple[Weights, Tensor]:
    """Return random weights for a model, and its logits on `photos`."""
    author = Reference(model, seed=seed)
    with torch.no_grad():
        author.logits(photos(side, 1))  # draws the weights
        return author.weights, Reference(model, author.weights).logits(photos(side))


def ours(model: Model, side: int, weights: Weights, **options: Any) -> Tensor:
    network = build(config(model), ImageShape(3, side, side, model.classes), 7).eval()
    network.load_state_dict(from_keras(weights, network, **options))
    with torch.no_grad():
        logits: Tensor = network(photos(side).permute(0, 3, 1, 2))
    return logits


@pytest.mark.parametrize(
    ("model", "side"),
    [
        (SMALL, 32),
        (Model(**{**vars(SMALL), "stem_stride": 2}), 64),
        (Model(**{**vars(SMALL), "memory": (2, 2, 31)}), 64),  # on larger maps, the memory is padded to a square
    ],
)
def test_aim_as_run_gives_the_same_outputs_as_the_original_code(model: Model, side: int) -> None:
    if model.memory == (2, 2, 31):
        model = Model(**{**vars(model), "widths": (4, 8), "blocks": (2, 2)})
    weights, expected = reference(model, side)
    stages = len(model.widths)
    unused = tuple(name.replace("5a", f"{stages + 1}a") for name in LAST_UPDATE)
    torch.testing.assert_close(ours(model, side, weights, unused=unused), expected, rtol=1e-4, atol=1e-4)
    assert float(expected.std(dim=0).min()) > 1e-3, "the outputs for the two images differ"


def test_the_control_gives_the_same_outputs_as_the_original_code() -> None:
    model = Model(**{**vars(SMALL), "memory": None, "stem_stride": 2, "epsilon": 1.001e-5})
    weights, expected = reference(model, 64)
    torch.testing.assert_close(ours(model, 64, weights), expected, rtol=1e-4, atol=1e-4)


def test_names_from_keras_applications_are_accepted() -> None:
    model = Model(**{**vars(SMALL), "memory": None})
    weights, expected = reference(model, 32)
    renamed = {applications_name(name): arrays for name, arrays in weights.items()}
    assert {"conv1_conv", "conv2_block1_0_conv", "conv3_block2_3_bn", "predictions"} <= set(renamed)
    torch.testing.assert_close(ours(model, 32, renamed), expected, rtol=1e-4, atol=1e-4)


def applications_name(name: str) -> str:
    fixed = {"conv1": "conv1_conv", "bn_conv1": "conv1_bn", "fc1000": "predictions"}
    if name in fixed:
        return fixed[name]
    found = re.fullmatch(r"(res|bn)(\d)([a-z])_branch(1|2a|2b|2c)", name)
    assert found, name
    kind = "conv" if found[1] == "res" else "bn"
    return f"conv{found[2]}_block{'abc'.index(found[3]) + 1}_{['1', '2a', '2b', '2c'].index(found[4])}_{kind}"


@pytest.mark.slow  # a fast test compares smaller networks
def test_aim_as_run_is_loaded_at_full_size() -> None:
    """The logits of ResNet50 with 50,176 memory values at 224 px (26.7 million weights) agree to four digits."""
    model = Model()
    weights, expected = reference(model, 224)
    error = (ours(model, 224, weights, unused=LAST_UPDATE) - expected).abs().max() / expected.abs().max()
    assert float(error) < 1e-4


def test_routing_changes_the_outputs() -> None:
    """If the twelve static readers read the current memory, the outputs differ, so the tests above would fail."""
    weights, expected = reference(SMALL, 32)
    swapped = {**weights, "conv2d_2": weights["mem_init"]}
    assert not torch.allclose(ours(SMALL, 32, swapped, unused=LAST_UPDATE), expected, rtol=1e-2)


def test_the_error_lists_every_mismatch() -> None:
    weights, _ = reference(SMALL, 32)
    broken: Weights = {**weights, "conv1": [np.zeros((3, 3, 3, 4)), np.zeros(4)], "dropout": [], "extra": [np.zeros(1)]}
    del broken["res3b_branch2c"]
    network = skeleton(config(SMALL), ImageShape(3, 32, 32, 5))
    with pytest.raises(UsageError) as caught:
        from_keras(broken, network, static_memory="conv2d_9")
    message = str(caught.value)
    assert "conv2d_9: missing; it is needed for static_source.conv" in message
    assert "res3b_branch2c: missing; it is needed for network.layer2.1.conv3" in message
    assert "conv1: arrays of shapes [(3, 3, 3, 4), (4,)] instead of [(7, 7, 3, 4), (4,)], for network.conv1" in message
    for left in ("extra", "conv2d_2", "Memory5a_branch", "mem_conv5a_branch_a"):
        assert f"{left}: this network has no such layer; list it in `unused`" in message
    assert "dropout" not in message, "a layer without weights need not be converted"


def test_weights_for_a_different_backbone_are_refused() -> None:
    network = skeleton(ModelConfig.parse({"backbone": "small_resnet"}), ImageShape(3, 32, 32, 5))
    weights, _ = reference(Model(**{**vars(SMALL), "memory": None}), 32)
    with pytest.raises(UsageError, match="do not fit this network"):
        from_keras(weights, network)


def test_a_kind_of_memory_that_the_author_did_not_use_is_refused() -> None:
    weights, _ = reference(SMALL, 32)
    carried = config(SMALL).model_dump(mode="json") | {"carry": {}}
    network = skeleton(ModelConfig.parse(carried), ImageShape(3, 32, 32, 5))
    with pytest.raises(UsageError, match=r"carry\.carried_1CHW: no layer of the Keras model provides weights for it"):
        from_keras(weights, network)
