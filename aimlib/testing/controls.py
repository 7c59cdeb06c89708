"""Conformance tests for controls."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from aimlib.config import ModelConfig
from aimlib.controls.base import Control
from aimlib.datasets.base import ImageShape
from aimlib.models import build, summarize
from aimlib.registry import controls
from aimlib.testing.conformance import Conformance, random_like

_SHAPE = ImageShape(channels=3, height=16, width=16, classes=5)
ROLES = ("matched", "frozen", "permuted", "other")


class ControlConformance(Conformance):
    """Tests for a control.

    The control must turn an AiM model into a different model that can be trained and, if possible, has the same initial
    values.

    Attributes
    ----------
    model : the AiM model, written as in a document.
    widens : whether the control has wider layers than the AiM model and therefore cannot share their initial values.
    """

    registry = controls
    model: ClassVar[dict[str, Any]] = {
        "backbone": {"name": "small_resnet", "widths": [8, 16], "blocks": [1, 1]},
        "memory": {"name": "conv_ones", "channels": 16, "rows": 4, "columns": 4},
        "placement": "block_entry",
        "update": {"name": "conv_sigmoid", "filters": [2, 2, 3]},
    }
    widens: ClassVar[bool] = False

    def aim(self) -> ModelConfig:
        """Return the AiM model."""
        return ModelConfig.parse(self.model)

    def controlled(self) -> ModelConfig:
        """Return the control's model."""
        control: Control = controls.create(self.config())
        return control.transform(self.aim(), _SHAPE)

    def network(self, seed: int = 0) -> nn.Module:
        """Return the control's network with the initial values of `seed`."""
        return build(self.controlled(), _SHAPE, seed)

    def images(self, batch: int) -> Tensor:
        """Return random images."""
        return random_like((batch, _SHAPE.channels, _SHAPE.height, _SHAPE.width), seed=2)

    def test_it_is_another_model_of_the_same_family(self) -> None:
        """The result is a complete model that can be written and read back, and that differs from the AiM model."""
        model = self.controlled()
        assert model != self.aim()
        assert ModelConfig.parse(model.model_dump(mode="json")) == model
        assert model.backbone.name == self.aim().backbone.name
        assert model.conv_init == self.aim().conv_init

    def test_role_is_known(self) -> None:
        """The control's role is one of those that the verdict uses."""
        assert controls.get(self.name).role in ROLES

    def test_transformation_is_deterministic(self) -> None:
        """Two transformations give equal models, because the run's identity depends on the transformed model."""
        assert self.controlled() == self.controlled()

    def test_it_predicts_and_trains(self) -> None:
        """In evaluation, batches of any size give logits; in training, trained parameters have finite gradients."""
        network = self.network()
        for batch in (1, 4):
            assert tuple(network.eval()(self.images(batch)).shape) == (batch, _SHAPE.classes)
        loss = nn.functional.cross_entropy(network.train()(self.images(4)), torch.arange(4))
        loss.backward()  # type: ignore[no-untyped-call]
        trained = {name: p.grad for name, p in network.named_parameters() if p.requires_grad}
        assert trained
        assert all(grad is not None and bool(grad.isfinite().all()) for grad in trained.values())

    def test_the_seed_decides_the_start(self) -> None:
        """Equal seeds give equal parameters; different seeds give different parameters."""
        first, again, other = (self.network(seed).state_dict() for seed in (0, 0, 1))
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert any(not torch.equal(first[name], other[name]) for name in first)

    def test_shared_layers_start_as_in_aim(self) -> None:
        """Every tensor that the baseline also has starts with the same values as in AiM, except in wider networks."""
        if self.widens:
            return
        baseline = build(ModelConfig.parse({"backbone": self.model["backbone"]}), _SHAPE, 0)
        ours = list(self.network().parameters())
        for name, value in baseline.named_parameters():
            assert any(torch.equal(value, own) for own in ours if own.shape == value.shape), name

    def test_meta_device(self) -> None:
        """Costs are computed on the meta device, without allocating the network."""
        summary = summarize(self.controlled(), _SHAPE, 4)
        assert summary.parameters == sum(p.numel() for p in self.network().parameters())
        assert summary.multiply_adds > 0
