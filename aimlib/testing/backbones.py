"""Conformance tests for backbones."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from aimlib.backbones.base import Backbone
from aimlib.config import ModelConfig
from aimlib.datasets.base import ImageShape
from aimlib.models import build, count_parameters, skeleton
from aimlib.registry import backbones, placements
from aimlib.testing.conformance import Conformance, assert_close, assert_gradients, random_like, refusal

_MEMORY = {"name": "conv_ones", "channels": 4, "rows": 2, "columns": 2}


class BackboneConformance(Conformance):
    """Tests for a backbone, whose network must accept images of all given shapes and work with memory.

    Attributes
    ----------
    shapes : image shapes that the network must accept, including one that is not square and one with an odd size.
    """

    registry = backbones
    shapes: ClassVar[tuple[ImageShape, ...]] = (
        ImageShape(channels=3, height=32, width=32, classes=7),
        ImageShape(channels=1, height=35, width=33, classes=2),
    )

    def model(self, **more: Any) -> ModelConfig:
        """Return the model with this backbone."""
        return ModelConfig.parse({"backbone": {"name": self.name, **self.options}, **more})

    def network(self, shape: ImageShape, seed: int = 0, **more: Any) -> nn.Module:
        """Return the network with the initial values of `seed`."""
        return build(self.model(**more), shape, seed)

    def images(self, shape: ImageShape, batch: int = 3) -> Tensor:
        """Return random images."""
        return random_like((batch, shape.channels, shape.height, shape.width))

    def test_gives_logits(self) -> None:
        """Logits are [batch, classes], float32 and finite; in evaluation, the rest of the batch does not matter."""
        for shape in self.shapes:
            network = self.network(shape)
            x = self.images(shape)
            logits = network(x)
            assert tuple(logits.shape) == (3, shape.classes)
            assert logits.dtype == torch.float32
            assert bool(logits.isfinite().all())
            with torch.no_grad():
                assert_close(network.eval()(x[:1]), network(x)[:1], 1e-4)

    def test_meta_device(self) -> None:
        """Under ``torch.device("meta")``, the network does not allocate RAM or device memory."""
        for shape in self.shapes:
            network = skeleton(self.model(), shape)
            assert all(p.is_meta for p in network.parameters())
            assert tuple(network(self.images(shape).to("meta")).shape) == (3, shape.classes)

    def test_the_seed_decides_the_start(self) -> None:
        """Equal seeds give equal parameters; different seeds give different parameters."""
        first, again, other = (self.network(self.shapes[0], seed).state_dict() for seed in (0, 0, 1))
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert any(not torch.equal(first[name], other[name]) for name in first)

    def test_state_dict_round_trip(self) -> None:
        """A second instance that loads the state returns the same logits."""
        shape = self.shapes[0]
        one, two = self.network(shape, 0).eval(), self.network(shape, 1).eval()
        two.load_state_dict(one.state_dict())
        with torch.no_grad():
            assert torch.equal(two(self.images(shape)), one(self.images(shape)))

    def test_channels_last_and_bfloat16(self) -> None:
        """Training works channels-last and, on request, in bfloat16."""
        shape = self.shapes[0]
        network, x = self.network(shape).eval(), self.images(shape)
        with torch.no_grad():
            expected = network(x)
            network.to(memory_format=torch.channels_last)
            assert_close(network(x.contiguous(memory_format=torch.channels_last)), expected, 1e-4)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                assert bool(network(x).isfinite().all())

    def test_layout_names_what_the_network_has(self) -> None:
        """The layers and the end of every block are modules; the layers are convolutions or dense layers."""
        plugin: Backbone = backbones.create(self.config())
        for shape in self.shapes:
            network = plugin.build(shape)
            for block in (block for stage in plugin.layout(network).stages for block in stage):
                assert isinstance(network.get_submodule(block.end), nn.Module)
                for layer in block.layers:
                    assert isinstance(network.get_submodule(layer), (nn.Conv2d, nn.Linear))

    def test_every_placement_attaches_or_is_refused_clearly(self) -> None:
        """With memory, shared parameters keep their names and values; a placement that finds no layer is refused."""
        shape, attached = self.shapes[0], 0
        baseline = self.network(shape).state_dict()
        for placement in filter(_has_defaults, placements.names()):
            model = self.model(memory=_MEMORY, placement=placement)
            message = refusal(lambda model=model: skeleton(model, shape))
            if message is not None:
                assert placement in message
                continue
            attached += 1
            state = build(model, shape, 0).state_dict()
            assert all(torch.equal(state[f"network.{name}"], value) for name, value in baseline.items())
        assert attached

    def test_gradient_reaches_the_memory(self) -> None:
        """With memory in every layer, a training step changes the memory and all parameters of the network."""
        shape = self.shapes[0]
        network = self.network(shape, memory=_MEMORY, placement="every_layer")
        loss = nn.functional.cross_entropy(network(self.images(shape, 4)), torch.zeros(4, dtype=torch.int64))
        loss.backward()  # type: ignore[no-untyped-call]
        assert_gradients(network)
        assert any(
            bool(p.grad.abs().sum() > 0) for p in network.get_submodule("source").parameters() if p.grad is not None
        )

    def test_widths_make_it_larger(self) -> None:
        """If the backbone has `widths`, increasing any of them adds parameters; matched controls rely on this."""
        widths = list(getattr(self.config(), "widths", ()))
        wider = [[width + (i == number) for i, width in enumerate(widths)] for number in range(len(widths))]
        assert all(self._parameters(widths=new) > self._parameters() for new in wider)

    def _parameters(self, **options: Any) -> int:
        backbone = {"name": self.name, **self.options, **options}
        return count_parameters(skeleton(self.model(backbone=backbone), self.shapes[0]))


def _has_defaults(placement: str) -> bool:
    """Return whether a placement can be used without setting any option."""
    return not any(field.is_required() for field in placements.get(placement).Config.model_fields.values())
