"""VGG16 as run, with memory in its convolutions and dense layers, and the multilayer perceptron with a dense memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from aimlib.config import ModelConfig
from aimlib.datasets.base import ImageShape
from aimlib.errors import UsageError
from aimlib.memory import ConvReader, LinearReader
from aimlib.memory.attach import AimNetwork
from aimlib.models import build, skeleton, summarize

SHAPE = ImageShape(3, 32, 64, 5)
NARROW = {"widths": [4, 4, 5, 6, 6], "dense": [7, 8]}
MEMORY = {"name": "conv_ones", "channels": 4, "rows": 2, "columns": 2}


def test_vgg16_as_run_has_as_many_parameters_as_in_keras() -> None:
    summary = summarize(ModelConfig.parse({"backbone": "vgg16"}), ImageShape(3, 224, 224, 120), 64)
    assert summary.parameters + summary.running_statistics == 134_852_536


def test_vgg16_as_run_has_batch_norm_only_in_the_head() -> None:
    network = skeleton(ModelConfig.parse({"backbone": "vgg16"}), ImageShape(3, 224, 224, 120))
    kinds = [type(part).__name__ for part in network.children()]
    assert kinds.count("Conv2d") == 13
    assert kinds.count("MaxPool2d") == 5
    assert kinds[-7:] == ["_FlattenLast", "BatchNorm1d", "Linear", "ReLU", "Linear", "ReLU", "Linear"]


def test_dense_features_are_in_the_same_order_as_in_keras() -> None:
    """The order is rows, columns, channels: the head receives the channels of the first position first."""
    network = build(ModelConfig.parse({"backbone": {"name": "vgg16", **NARROW}}), SHAPE, 0).eval()
    maps = torch.arange(6 * 1 * 2.0).view(1, 6, 1, 2)
    assert network.get_submodule("flatten")(maps).tolist() == [[0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11]]


@pytest.mark.parametrize("backbone", ["vgg16", "vgg16_bn"])
def test_all_convolutions_and_dense_layers_read_the_memory(backbone: str) -> None:
    options = {"backbone": {"name": backbone, **NARROW}, "memory": MEMORY, "placement": "every_layer"}
    network = build(ModelConfig.parse({**options, "update": "conv_sigmoid"}), SHAPE, 0)
    assert isinstance(network, AimNetwork)
    readers = list(network.readers())
    assert sum(isinstance(reader, ConvReader) for reader in readers) == 13
    dense = [reader for reader in readers if isinstance(reader, LinearReader)]
    assert [reader.read_weight.shape[1] for reader in dense] == [16, 16, 16], "every value of the memory"
    assert len(network.attachment.updates) == 5
    x = torch.randn(3, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    nn.functional.cross_entropy(network(x), torch.tensor([0, 1, 2])).backward()
    assert all(reader.read_weight.grad is not None for reader in readers)
    assert all(bool(reader.read_weight.grad.abs().sum() > 0) for reader in dense if reader.read_weight.grad is not None)


def test_vgg16_refuses_images_that_are_too_small_for_its_pooling_layers() -> None:
    with pytest.raises(UsageError, match="needs images of at least 32 px; these are 31 x 64"):
        skeleton(ModelConfig.parse({"backbone": "vgg16"}), ImageShape(3, 31, 64, 5))


def test_a_dense_layer_reads_the_memory_by_summation() -> None:
    """The result equals the output of a dense layer over the concatenation that the post describes."""
    model = ModelConfig.parse(
        {"backbone": {"name": "mlp", "widths": [6]}, "memory": MEMORY, "placement": "every_layer"}
    )
    network = build(model, ImageShape(1, 4, 4, 3), 0).eval()
    assert isinstance(network, AimNetwork)
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    memory = network.source(2).permute(0, 2, 3, 1).flatten(1).expand(2, -1)
    first, last = (reader.concatenated() for reader in network.readers())
    hidden = first(torch.cat([x.flatten(1), memory], dim=1)).relu()
    torch.testing.assert_close(network(x), last(torch.cat([hidden, memory], dim=1)))
