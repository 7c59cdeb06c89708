"""Properties of networks before training: parameters, multiply-adds and memory size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from tiny_runs import AIM, MEMORY, SHAPE, model, restored_registries
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from aimlib.backbones._small_resnet import Bottleneck
from aimlib.datasets.base import ImageShape
from aimlib.memory.sources.base import MemoryConfig
from aimlib.memory.structure import trace
from aimlib.models import _multiply_adds, build, count_parameters, skeleton, summarize
from aimlib.registry import backbones, updates

DOGS = ImageShape(3, 224, 224, 120)


@pytest.mark.parametrize(
    ("channels", "side", "parameters"), [(256, 112, 78_464), (512, 56, 117_056), (1024, 28, 197_696)]
)
def test_update_blocks_have_as_many_parameters_as_the_claim_states(channels: int, side: int, parameters: int) -> None:
    with torch.device("meta"):
        config = updates.parse("conv_sigmoid")
        update = updates.get("conv_sigmoid")(config, (channels, side, side), MemoryConfig(), "layer1.0")
    statistics = sum(b.numel() for name, b in update.named_buffers() if "running_" in name)
    assert count_parameters(update) + statistics == parameters  # Keras counts running statistics
    assert update.read.in_channels == 50_176 // side**2


def test_resnet50_matches_torchvision() -> None:
    summary = summarize(model(backbone="resnet50"), DOGS, batch_size=2)
    with torch.device("meta"):
        original = torchvision.models.resnet50(num_classes=120)
    assert summary.parameters == summary.trainable_parameters == count_parameters(original)
    assert summary.running_statistics == 53_120
    assert list(skeleton(model(backbone="resnet50"), DOGS).state_dict()) == list(original.state_dict())
    assert summary.multiply_adds == pytest.approx(4.09e9, rel=0.01)


def test_vgg16_bn_matches_torchvision() -> None:
    with torch.device("meta"):
        original = torchvision.models.vgg16_bn(num_classes=120)
    ours = skeleton(model(backbone="vgg16_bn"), DOGS)
    assert {n: p.shape for n, p in ours.state_dict().items()} == {n: p.shape for n, p in original.state_dict().items()}
    assert not any(
        p.is_meta
        for p in build(model(backbone={"name": "vgg16_bn", "widths": [1] * 5, "dense": [1, 1]}), DOGS, 0).parameters()
    )


@pytest.mark.parametrize(("entering", "stride"), [(16, 1), (16, 2), (12, 1)])
def test_the_bottleneck_matches_torchvision_layer_by_layer(entering: int, stride: int) -> None:
    ours = Bottleneck(entering, 4, stride)
    shortcut = None
    if ours.downsample is not None:
        shortcut = nn.Sequential(nn.Conv2d(entering, 16, 1, stride, bias=False), nn.BatchNorm2d(16))
    theirs = torchvision.models.resnet.Bottleneck(entering, 4, stride, shortcut)
    theirs.load_state_dict(ours.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = torch.randn(3, entering, 7, 7)
    for training in (True, False):
        assert torch.equal(ours.train(training)(x.clone()), theirs.train(training)(x.clone()))

    def order(block: nn.Module) -> list[str]:
        return [call.name for call in trace(block, (entering, 7, 7)) if "relu" not in call.name]

    assert order(ours) == order(theirs)


def test_multiply_adds_equal_a_manual_count() -> None:
    shape = ImageShape(2, 4, 4, 3)
    plain = summarize(model(backbone={"name": "mlp", "widths": [5]}), shape, batch_size=4)
    assert plain.multiply_adds == 32 * 5 + 5 * 3
    assert plain.parameters == 32 * 5 + 5 + 5 * 3 + 3
    memory = {"name": "conv_ones", "channels": 2, "rows": 3, "columns": 1}
    read = summarize(
        model(backbone={"name": "mlp", "widths": [5]}, memory=memory, placement="every_layer"), shape, batch_size=4
    )
    # Multiply-adds once per batch of four images: 2 x 2 weights of the source, and 6 values that 5 + 3 features read.
    assert read.multiply_adds == plain.multiply_adds + (2 * 2 + 6 * 5 + 6 * 3) // 4
    assert read.parameters == plain.parameters + (2 * 2 + 2) + 6 * 5 + 6 * 3


def test_multiply_adds_of_a_small_resnet_equal_a_manual_count() -> None:
    one = summarize(model(backbone={"name": "small_resnet", "widths": [4], "blocks": [1]}), SHAPE, batch_size=1)
    stem, block, head = 64 * 9 * 1 * 16, 64 * (16 * 4 + 9 * 4 * 4 + 4 * 16), 16 * 3
    assert one.multiply_adds == stem + block + head
    assert one.running_statistics == 2 * (16 + 4 + 4 + 16)


def test_the_memory_in_the_claim_has_few_degrees_of_freedom() -> None:
    ones = summarize(model(backbone="resnet50", memory="conv_ones", placement="block_entry"), DOGS, 2)
    assert (ones.memory_values, ones.memory_degrees_of_freedom) == (50_176, 1024)
    free = summarize(model(backbone="resnet50", memory="parameter", placement="block_entry"), DOGS, 2)
    assert (free.memory_values, free.memory_degrees_of_freedom) == (50_176, 50_176)
    assert ones.parameters - free.parameters == 1_049_600 - 50_176
    assert summarize(model(), SHAPE, 1).memory_values == 0


def test_reads_as_run_need_as_many_weights_as_the_claim_states_with_the_stride_2_stem() -> None:
    # According to the claim, the reads need 1,553,408 weights if maps have sides of 56, 28, 14 and 7. The number
    # depends on the map that enters a block; the first convolution in a block has 64, 128, 256 or 512 channels.
    as_run = {"memory": "conv_ones", "placement": "block_entry"}
    network = skeleton(model(backbone="resnet50", **as_run), DOGS)
    assert sum(reader.read_weight.numel() for reader in network.readers()) == 1_553_408


def test_frozen_parameters_are_counted_but_not_trained() -> None:
    free, frozen = (summarize(model(**AIM, **more), SHAPE, 2) for more in ({}, {"control": "frozen_memory"}))
    assert frozen.parameters == free.parameters
    network = skeleton(model(**AIM), SHAPE)
    held = count_parameters(network.source) + count_parameters(network.updates)
    assert frozen.trainable_parameters == free.trainable_parameters - held
    assert free.attachment.updates == ("layer1.0", "layer2.0")


def test_activations_do_not_include_parameters() -> None:
    wide = summarize(model(backbone={"name": "mlp", "widths": [4096]}), SHAPE, batch_size=1)
    # The backward pass needs the image and the hidden layer after ReLU, which may be kept twice.
    assert (64 + 4096) * 4 <= wide.activation_bytes <= (64 + 2 * 4096) * 4
    read = summarize(
        model(backbone={"name": "mlp", "widths": [4096]}, memory=MEMORY, placement="every_layer"), SHAPE, batch_size=1
    )
    assert read.activation_bytes < 2 * wide.activation_bytes


class _Operators(TorchDispatchMode):
    """A dispatch mode that records the operators that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.add(str(func))
        return func(*args, **(kwargs or {}))


def test_a_skeleton_draws_only_those_initial_values_that_are_read() -> None:
    drawn: list[torch.Tensor] = []
    with restored_registries():

        @backbones.register("drawing")
        class Drawing(backbones.get("mlp")):  # type: ignore[misc]
            def build(self, shape: ImageShape) -> nn.Module:
                drawn.append(torch.full((8,), 9.0, device="cpu").uniform_(0, 1))
                return super().build(shape)

        found = skeleton(model(backbone="drawing"), SHAPE)
    assert drawn[0].max() < 1
    assert all(parameter.is_meta for parameter in found.parameters())
    built = build(model(backbone="mlp"), SHAPE, 0)
    assert {n: (v.shape, v.dtype) for n, v in found.state_dict().items()} == {
        n: (v.shape, v.dtype) for n, v in built.state_dict().items()
    }
    with _Operators() as operators:
        skeleton(model(backbone="resnet50"), DOGS)
    assert "aten.normal_.default" not in operators.seen
    assert operators.seen


def test_a_class_that_is_defined_again_is_traced_again() -> None:
    def layers_of(width: int) -> set[str]:
        with restored_registries():

            @backbones.register("edited")
            class Edited(backbones.get("mlp")):  # type: ignore[misc]
                def build(self, shape: ImageShape) -> nn.Module:
                    dense = [nn.Linear(64, width), *(nn.Linear(width, width) for _ in range(width))]
                    return nn.Sequential(nn.Flatten(), *dense, nn.Linear(width, shape.classes))

                def layout(self, network: nn.Module) -> None:
                    """Return None, so that the layout is inferred."""

            config = {**AIM, "backbone": "edited", "memory": "dense_ones", "update": None}
            return {reading.layer for reading in skeleton(model(**config), SHAPE).attachment.readers}  # type: ignore[union-attr]

    assert layers_of(1) < layers_of(3)


def test_components_that_do_not_fit_together_are_refused_on_the_meta_device() -> None:
    assert set(backbones.names()) >= {"resnet50", "small_resnet", "vgg16_bn", "mlp"}
    with pytest.raises(ValueError, match="update has no effect"):
        summarize(model(**{**AIM, "placement": "input_only"}), SHAPE, 1)


@pytest.mark.parametrize("update", [None, *sorted(updates.names())])
def test_multiply_adds_equal_the_number_that_torch_counts(update: str | None) -> None:
    config = model(**{**AIM, "update": update, "placement": "every_layer"})
    network = skeleton(config, SHAPE).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(4, SHAPE.channels, SHAPE.height, SHAPE.width, device="meta"))
    assert summarize(config, SHAPE, 4).multiply_adds == counter.get_total_flops() // 2 // 4


def test_multiply_adds_of_attention_are_counted() -> None:
    class Attention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows = x.flatten(2)
            return torch.nn.functional.scaled_dot_product_attention(rows, rows, rows) @ rows.transpose(1, 2)

    x = torch.zeros(2, 8, 4, 4, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        Attention()(x)
    assert _multiply_adds(Attention(), x) == counter.get_total_flops() // 2 > 0
