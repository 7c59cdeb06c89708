"""VGG16 as run: the author's weights give the author's outputs, and the head's running variance matches Keras."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from keras_reference import Model, Reference, Weights
from torch import Tensor, nn
from torch.nn import functional

from aimlib.backbones.keras_weights import from_keras
from aimlib.config import ModelConfig
from aimlib.datasets.base import ImageShape
from aimlib.errors import UsageError
from aimlib.models import build, skeleton

WIDTHS, COUNTS, DENSE, SIDE, CLASSES = (8, 8, 12, 12, 12), (2, 2, 3, 3, 3), (20, 18), 64, 5
HEAD = ("batch_normalization_3", "dense_2", "dense_3")
MEMORY = (2, 2, 32)


class VggReference(Reference):
    """The notebook's VGG16, with channels last; if it has a memory, every layer reads the memory as the post describes.

    This class does not use the tested package.
    """

    def __init__(self, memory: bool, updates: bool = False, weights: Weights | None = None) -> None:
        super().__init__(Model(memory=MEMORY if memory else None), weights)
        self.updates = updates

    def dense(self, x: Tensor, memory: Tensor | None, name: str, features: int) -> Tensor:
        read = x if memory is None else torch.cat([x, memory.flatten(1)], dim=1)
        entering = read.shape[1]
        kernel, bias = self.layer(name, [(entering, features), (features,)], entering**-0.5)
        return read @ kernel + bias

    def logits(self, x: Tensor) -> Tensor:
        memory = self.memory("mem_init", len(x))
        for stage, (width, count) in enumerate(zip(WIDTHS, COUNTS, strict=True), start=1):
            for number in range(1, count + 1):
                read = x if memory is None else self.concatenated(x, memory)
                x = self.conv(read, f"block{stage}_conv{number}", width, 3, pad=1).relu()
            x = functional.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
            if memory is not None and self.updates:
                memory = self.update(x, memory, str(stage))
        x = self.norm(x.flatten(1), HEAD[0])
        x = self.dense(x, memory, HEAD[1], DENSE[0]).relu()
        x = self.dense(x, memory, HEAD[2], DENSE[1]).relu()
        return self.dense(x, memory, "pred", CLASSES)


def config(memory: bool = False, updates: bool = False, **options: Any) -> ModelConfig:
    backbone = {"name": "vgg16", "widths": list(WIDTHS), "dense": list(DENSE), **options}
    if not memory:
        return ModelConfig.parse({"backbone": backbone})
    rows, columns, channels = MEMORY
    aim = {
        "memory": {"name": "conv_ones", "rows": rows, "columns": columns, "channels": channels},
        "placement": "every_layer",
        "update": "conv_sigmoid" if updates else "none",
    }
    return ModelConfig.parse({"backbone": backbone, **aim})


def photos() -> Tensor:
    """Return a bright and a dark image [2, SIDE, SIDE, 3]; smaller differences nearly vanish after 13 convolutions."""
    drawn = torch.rand(2, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(0))
    return drawn * torch.tensor([255.0, 25.0]).view(2, 1, 1, 1)


@pytest.mark.parametrize(("memory", "updates"), [(False, False), (True, False), (True, True)])
def test_weights_from_keras_give_the_same_outputs_as_keras(memory: bool, updates: bool) -> None:
    author = VggReference(memory, updates)
    with torch.no_grad():
        expected = author.logits(photos())
        network = build(config(memory, updates), ImageShape(3, SIDE, SIDE, CLASSES), 3).eval()
        network.load_state_dict(from_keras(author.weights, network))
        found = network(photos().permute(0, 3, 1, 2))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert float(expected.std(dim=0).min()) > 1e-3, "the outputs for the two images differ"


def test_generated_layer_names_can_be_passed() -> None:
    author = VggReference(memory=False)
    author.logits(photos())
    network = skeleton(config(), ImageShape(3, SIDE, SIDE, CLASSES))
    renamed = dict(author.weights)
    for theirs, name in zip(("batch_normalization", "dense", "dense_1"), HEAD, strict=True):
        renamed[theirs] = renamed.pop(name)
    state = from_keras(renamed, network, head=("batch_normalization", "dense", "dense_1"))
    assert set(state) == set(network.state_dict())
    with pytest.raises(UsageError, match="batch_normalization_3: missing; it is needed for bn"):
        from_keras(renamed, network)


def head(**options: Any) -> tuple[nn.Module, nn.BatchNorm1d]:
    network = build(config(**options), ImageShape(3, 32, 32, CLASSES), 0)
    norm = network.get_submodule("bn")
    assert isinstance(norm, nn.BatchNorm1d)
    return network, norm


def test_the_running_variance_matches_keras() -> None:
    """The expected values are from Keras 3.15.1 with TensorFlow 2.21: `BatchNormalization()` trained on two batches."""
    batches = [[[1.0, -2.0], [3.0, 0.5], [4.0, 2.0]], [[0.0, 1.0], [5.0, 1.0], [1.0, 7.0]]]
    _, norm = head(widths=[4, 4, 4, 4, 2], bn_variance="population")
    for batch in batches:
        found = norm(torch.tensor(batch))
        plain = nn.BatchNorm1d(2, eps=1e-3)(torch.tensor(batch))
        torch.testing.assert_close(found, plain)
    torch.testing.assert_close(norm.running_mean, torch.tensor([0.0464000031, 0.0316499993]))
    torch.testing.assert_close(norm.running_var, torch.tensor([1.0421665907, 1.0870500803]))
    assert norm.num_batches_tracked == 2


def test_the_option_affects_only_the_running_variance() -> None:
    (one, unbiased), (other, population) = head(), head(bn_variance="population")
    x = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    outputs = [network(x) for network in (one, other)]
    torch.testing.assert_close(*outputs)
    for output in outputs:
        functional.cross_entropy(output, torch.arange(8) % CLASSES).backward()
    for ours, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    torch.testing.assert_close(unbiased.running_mean, population.running_mean)
    torch.testing.assert_close((unbiased.running_var - 0.99) * 7 / 8, population.running_var - 0.99)
    with torch.no_grad():
        kept = population.running_var.clone()
        other.eval()(x)
    assert torch.equal(population.running_var, kept), "evaluation does not change it"


def test_the_default_of_the_option_is_not_part_of_the_identity() -> None:
    assert config().identity() == config(bn_variance="unbiased").identity()
    assert config(bn_variance="population").identity() != config().identity()
