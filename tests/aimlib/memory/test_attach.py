"""A memory can be attached to a network that is otherwise unchanged."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict
from typing import Any

import pytest
import torch
import torchvision
from tiny_runs import AIM, MEMORY, SHAPE, SMALL, model
from torch import Tensor, nn

from aimlib.datasets.base import ImageShape
from aimlib.errors import PluginError, UsageError
from aimlib.memory import Block, ConvReader, Layout, LinearReader
from aimlib.memory.attach import AimNetwork, attach_memory
from aimlib.models import build, skeleton
from aimlib.registry import memories, placements, updates

LARGE = ImageShape(3, 64, 64, 10)


def attached(network: nn.Module, placement: Any = "every_layer", size: int = 64, **more: Any) -> AimNetwork:
    source = memories.create(memories.parse(MEMORY))
    chosen = placements.create(placements.parse(placement)) if isinstance(placement, str) else placement
    return attach_memory(network, source, chosen, input_shape=(3, size, size), **more)


class Chosen:
    """A placement that returns the given names."""

    config = placements.parse("every_layer")

    def __init__(self, *names: str) -> None:
        self.names = names

    def reads(self, layers: Any) -> tuple[str, ...]:
        return self.names


def images(batch: int = 3, shape: ImageShape = SHAPE) -> Tensor:
    return torch.randn(batch, shape.channels, shape.height, shape.width, generator=torch.Generator().manual_seed(batch))


@pytest.mark.parametrize("backbone", [SMALL, "resnet50", "vgg16_bn", "mlp"], ids=str)
@pytest.mark.parametrize("placement", sorted({*placements.names()} - {"layers"}))
def test_shared_parameters_keep_their_names(backbone: Any, placement: str) -> None:
    baseline = skeleton(model(backbone=backbone), LARGE).state_dict()
    network = skeleton(model(backbone=backbone, memory=MEMORY, placement=placement), LARGE)
    state = {name.removeprefix("network."): value for name, value in network.state_dict().items()}
    assert set(state) >= set(baseline)
    assert all(state[name].shape == value.shape for name, value in baseline.items())
    added = {name for name in state if name not in baseline}
    readers = {reading.layer for reading in network.attachment.readers}
    assert added == {f"{layer}.read_weight" for layer in readers} | {"source.conv.weight", "source.conv.bias"}
    order = [name for name in state if name in baseline]
    assert order == list(baseline)
    assert tuple(network(torch.zeros(2, 3, 64, 64, device="meta")).shape) == (2, 10)


@pytest.mark.parametrize(
    "make", [torchvision.models.resnet18, torchvision.models.alexnet], ids=lambda make: make.__name__
)
def test_memory_can_be_attached_to_torchvision_networks_without_a_layout(make: Any) -> None:
    with torch.device("meta"):
        baseline = make(num_classes=7)
        names = [n for n, m in baseline.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
        network = attached(make(num_classes=7))
        assert sorted(r.layer for r in network.attachment.readers) == sorted(names)
        assert set(network.network.state_dict()) >= set(baseline.state_dict())
        assert tuple(network(torch.zeros(2, 3, 64, 64)).shape) == (2, 7)
        assert all(isinstance(reader, (ConvReader, LinearReader)) for reader in network.readers())
        assert 0 < len(attached(make(num_classes=7), "stage_only").attachment.readers) < 10, "stages are inferred"
        with pytest.raises(
            UsageError,
            match=r"'stage_only' does not let any layer of this network read the memory .it selects no "
            r"layers",
        ):
            attached(make(num_classes=7), "stage_only", layout=Layout())


def test_readers_are_listed_with_their_location_and_size() -> None:
    network = skeleton(model(**{**AIM, "update": None, "placement": "every_layer"}), SHAPE)
    found = {r.layer: (r.height, r.width, r.channels_added) for r in network.attachment.readers}
    assert found["conv1"] == (8, 8, 1)
    assert found["layer2.0.conv3"] == (4, 4, 4)
    assert found["fc"] == (1, 1, 64)
    order = [r.layer for r in network.attachment.readers]
    assert order.index("layer2.0.conv1") < order.index("layer2.0.conv3") < order.index("layer2.0.downsample.0")
    assert (order[0], order[-1]) == ("conv1", "fc")


def test_layers_that_cannot_read_are_skipped_and_reported() -> None:
    with torch.device("meta"):
        network = attached(torchvision.models.mobilenet_v3_small(num_classes=4))
    grouped = {n for n, m in network.network.named_modules() if isinstance(m, nn.Conv2d) and m.groups != 1}
    assert set(network.attachment.skipped) == grouped
    assert grouped
    assert all("grouped convolution (groups=" in reason for reason in network.attachment.skipped.values())
    assert not grouped & {reading.layer for reading in network.attachment.readers}
    with (
        torch.device("meta"),
        pytest.raises(UsageError, match=r"does not let any layer of this network read the memory .*grouped"),
    ):
        attached(torchvision.models.mobilenet_v3_small(), Chosen(*grouped))


class Standardized(nn.Conv2d):
    """A convolution of an unusual kind."""

    def forward(self, x: Tensor) -> Tensor:
        return super()._conv_forward(x, self.weight - self.weight.mean(), self.bias)


class Odd(nn.Module):
    """A network with layers that cannot be replaced by readers."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Conv2d(3, 4, 1)
        self.own = Standardized(4, 4, 1)
        self.shared = nn.Conv2d(4, 4, 1)
        self.norm = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1))
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.shared(self.shared(self.own(self.plain(x))))).mean((2, 3))


def test_layers_of_unsupported_types_are_skipped_and_reported() -> None:
    network = attached(Odd())
    assert [reading.layer for reading in network.attachment.readers] == ["plain"]
    assert set(network.attachment.skipped) == {"own", "shared", "norm", "unused"}
    assert network.attachment.skipped["shared"] == "called 2 times in one forward pass"
    assert "Standardized" in network.attachment.skipped["own"]


def test_attaching_memory_to_a_network_that_already_has_memory_does_not_replace_the_first_memory() -> None:
    first = attached(nn.Sequential(OrderedDict(plain=nn.Conv2d(3, 2, 1))))
    kept = first.network.plain
    second = attached(first)
    assert second.attachment.skipped.keys() == {"network.plain"}
    assert "ConvReader" in second.attachment.skipped["network.plain"]
    assert first.network.plain is kept


def test_an_unknown_layer_is_refused_and_the_nearest_name_is_suggested() -> None:
    with pytest.raises(UsageError, match="chose a layer 'plane' that the network does not have; did you mean 'plain'"):
        attached(Odd(), Chosen("plane"))


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (Layout(((Block(("nowhere",), end="plain"),),)), "'nowhere'"),
        (Layout(((Block(("plain",), end="nowhere"),),)), "'nowhere'"),
        (Layout(((Block(("plain",), end="unused"),),)), "'unused'"),
    ],
)
def test_a_layout_that_does_not_fit_the_network_is_refused(layout: Layout, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        attached(Odd(), layout=layout, update=factory("conv_sigmoid"))


def factory(name: str) -> Any:
    config = updates.parse({"name": name, "filters": [2, 2]})
    return lambda features, memory, where: updates.get(name)(config, features, memory, where)


def test_a_copy_of_the_network_is_independent_of_the_original() -> None:
    network = build(model(**AIM), SHAPE, 0)
    twin = copy.deepcopy(network)
    x = images()
    assert torch.equal(network.eval()(x), twin.eval()(x))
    assert twin.memory is not network.memory
    assert all(reader.memory is twin.memory for reader in twin.readers())
    before = network(x)
    for parameter in twin.parameters():
        parameter.data.zero_()
    assert torch.equal(network(x), before)
    assert twin(x).abs().sum() == 0
    for update in network.updates.values():  # each copy must execute its own updates
        update.write.weight.data.add_(1)
    assert not torch.equal(network(x), before)
    assert twin(x).abs().sum() == 0
    restored = pickle.loads(pickle.dumps(network))
    assert torch.equal(restored(x), network(x))


def test_the_inner_network_cannot_be_called_on_its_own() -> None:
    network = build(model(**AIM), SHAPE, 0)
    with pytest.raises(RuntimeError, match="call the network that attach_memory returned"):
        network.network(images())
    network(images())
    with pytest.raises(RuntimeError, match="call the network that attach_memory returned"):
        network.network(images())  # no memory is left from the previous pass


def test_the_memory_is_cleared_after_an_exception() -> None:
    network = build(model(**AIM), SHAPE, 0)
    with pytest.raises(UsageError, match="accepts only the input size for which the memory was attached"):
        network(torch.zeros(1, 1, 4, 4))
    with pytest.raises(RuntimeError, match="outside a forward pass"):
        network.memory.read()
    assert network.eval()(images()).isfinite().all()


@pytest.mark.parametrize("shape", [SHAPE, ImageShape(2, 7, 11, 5), ImageShape(1, 13, 1, 2)], ids=str)
def test_odd_sizes_and_batches_of_one_image_work(shape: ImageShape) -> None:
    network = build(model(**AIM), shape, 0)
    x = images(3, shape)
    assert tuple(network(x).shape) == (3, shape.classes)
    with torch.no_grad():
        together = network.eval()(x)
        for number in range(3):
            torch.testing.assert_close(network(x[number : number + 1])[0], together[number], rtol=1e-4, atol=1e-5)


def test_gradients_reach_the_source_the_readers_and_every_update() -> None:
    network = build(model(**{**AIM, "update_after": "block"}), SHAPE, 0)
    nn.functional.cross_entropy(network(images(6)), torch.arange(6) % 3).backward()
    without_effect = {"see.bias", "refine.2.bias", "refine.5.bias"}  # a bias before a batch norm has no effect
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        if name.startswith("updates.") and name.split(".", 2)[2] in without_effect:
            continue
        assert parameter.grad.abs().sum() > 0, name
    assert len(network.updates) == 2


def test_tracing_does_not_change_the_network() -> None:
    network = torchvision.models.resnet18(num_classes=3)
    network.train()
    network.bn1.eval()  # freezes the batch norm
    before = copy.deepcopy(network.state_dict())
    attached(network)
    assert not network.bn1.training
    assert network.layer1[0].bn1.training
    assert network.training
    assert isinstance(network.conv1, ConvReader)
    assert network.conv1.training
    assert all(torch.equal(network.state_dict()[name], value) for name, value in before.items())
    assert not network._forward_hooks
    assert not network._forward_pre_hooks


def test_unsuitable_images_are_refused() -> None:
    with pytest.raises(UsageError, match=r"AlexNet does not take images of 3 channels, 8 x 8: .*choose another size"):
        attached(torchvision.models.alexnet(), size=8)


def test_memory_changes_only_the_outputs_of_layers_that_read_it() -> None:
    network = build(model(**{**AIM, "update": None}), SHAPE, 0).eval()
    baseline = build(model(), SHAPE, 0).eval()
    x = images()
    assert not torch.allclose(network(x), baseline(x))
    for reader in network.readers():
        reader.read_weight.data.zero_()
    assert torch.equal(network(x), baseline(x))


@pytest.mark.parametrize("answer", [None, 3, "layer1", True])
def test_if_a_placement_does_not_return_names_the_error_shows_what_it_returned(answer: Any) -> None:
    class Wrong(Chosen):
        def reads(self, layers: Any) -> Any:
            return answer

    with pytest.raises(PluginError, match=rf"reads\(\) returned {answer!r}; make it return the names of layers"):
        attached(torchvision.models.resnet18(weights=None), Wrong())
