"""Conformance tests for updates."""

from __future__ import annotations

import copy
from typing import ClassVar

import torch
from torch import Tensor

from aimlib.memory.initialization import initialize
from aimlib.memory.own_start import constructed
from aimlib.memory.sources.base import MemoryConfig
from aimlib.registry import updates
from aimlib.testing.conformance import (
    Conformance,
    assert_close,
    assert_gradients,
    random_like,
    refusal,
    weigh,
)
from aimlib.updates.base import MemoryUpdate


class UpdateConformance(Conformance):
    """Tests for an update, which must return a memory of the same size, one per image, with gradients to all inputs.

    Attributes
    ----------
    features : feature shapes, without the batch dimension, that the update must accept: a typical shape, odd sizes, and
        a shape smaller than the memory.
    memory : size of the memory in the tests.
    """

    registry = updates
    features: ClassVar[tuple[tuple[int, ...], ...]] = ((5, 8, 8), (3, 7, 5), (2, 1, 3))
    memory: ClassVar[MemoryConfig] = MemoryConfig(channels=4, rows=2, columns=3)

    def update(self, features: tuple[int, ...], seed: int = 0, memory: MemoryConfig | None = None) -> MemoryUpdate:
        """Return the update for a module whose output has the shape `features`, with the initial values of `seed`."""
        config, plugin = self.config(), updates.get(self.name)
        update: MemoryUpdate = constructed(
            config, lambda: plugin(config, features, memory or self.memory, "layer1"), seed, "update."
        )
        initialize(update, seed)
        return update

    def inputs(self, features: tuple[int, ...], batch: int, memories: int) -> tuple[Tensor, Tensor]:
        """Return random features and a random memory that require gradients."""
        size = self.memory
        x = random_like((batch, *features), seed=2).requires_grad_()
        return x, random_like((memories, size.channels, size.rows, size.columns), seed=3).requires_grad_()

    def test_new_memory_has_the_size_of_the_old(self) -> None:
        """The test covers all feature shapes, shared and per-image memories, and batches of one or more images."""
        for features in self.features:
            update = self.update(features)
            for training in (True, False):
                for batch, memories in ((4, 1), (4, 4), (1, 1)):
                    if training and batch == 1:
                        continue  # batch norm refuses to train on a single value
                    new = update.train(training)(*self.inputs(features, batch, memories))
                    assert new.shape[0] in (1, batch)
                    assert tuple(new.shape[1:]) == (self.memory.channels, self.memory.rows, self.memory.columns)
                    assert new.dtype == torch.float32
                    assert bool(new.isfinite().all())

    def test_images_do_not_see_each_other_in_evaluation(self) -> None:
        """In evaluation, an image's memory is the same whether the image is alone or in a batch."""
        features = self.features[0]
        update = self.update(features).eval()
        x, memory = self.inputs(features, 4, 4)
        with torch.no_grad():
            together = update(x, memory).expand(4, -1, -1, -1)
            for image in range(4):
                alone = update(x[image : image + 1], memory[image : image + 1])
                assert_close(alone, together[image : image + 1], 1e-4)

    def test_gradient_reaches_features_memory_and_parameters(self) -> None:
        """A loss on the new memory has gradients for the features, the old memory and all parameters."""
        for features in self.features[:2]:
            update = self.update(features)
            x, memory = self.inputs(features, 4, 1)
            weigh(update(x, memory)).backward()  # type: ignore[no-untyped-call]
            assert_gradients(update, x, memory)

    def test_gradient_reaches_them_from_a_batch_of_one(self) -> None:
        """The test uses evaluation mode, because batch norm may refuse to train on a single image."""
        update = self.update(self.features[0]).eval()
        x, memory = self.inputs(self.features[0], 1, 1)
        weigh(update(x, memory)).backward()  # type: ignore[no-untyped-call]
        assert_gradients(update, x, memory)

    def test_memories_of_one_position(self) -> None:
        """In dense networks, all channels of the memory are at one position."""
        size = MemoryConfig(channels=5, rows=1, columns=1)
        for features in self.features[:2]:
            x = random_like((3, *features), seed=2)
            new = self.update(features, memory=size)(x, random_like((1, 5, 1, 1), seed=3))
            assert tuple(new.shape) in ((1, 5, 1, 1), (3, 5, 1, 1))
            assert bool(new.isfinite().all())

    def test_equal_steps_give_equal_bits(self) -> None:
        """If a training step is repeated, the new memory and all gradients are bitwise identical."""
        x, memory = self.inputs(self.features[1], 4, 1)
        steps = []
        for _ in range(2):
            update = self.update(self.features[1]).train()
            new = update(x, memory)
            steps.append([new, *torch.autograd.grad(weigh(new), [x, memory, *update.parameters()])])
        assert all(torch.equal(first, again) for first, again in zip(*steps, strict=True))

    def test_copy_is_independent(self) -> None:
        """Changing the copy's parameters does not affect the original."""
        update = self.update(self.features[0])
        before = {name: value.clone() for name, value in update.state_dict().items()}
        for parameter in copy.deepcopy(update).parameters():
            parameter.data.add_(1)
        assert all(torch.equal(value, before[name]) for name, value in update.state_dict().items())

    def test_every_parameter_has_a_rule_for_its_start(self) -> None:
        """`aimlib.memory.initialization.initialize` covers all parameters, unless the class keeps its own values."""
        update = self.update(self.features[0])
        assert type(self.config()).initial_values == "own" or initialize(update, 0) == []

    def test_the_seed_decides_the_start(self) -> None:
        """Equal seeds give equal parameters; different seeds give different parameters."""
        first, again, other = (dict(self.update(self.features[0], seed).named_parameters()) for seed in (0, 0, 1))
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert not first or any(not torch.equal(first[name], other[name]) for name in first)

    def test_state_dict_carries_the_update(self) -> None:
        """A second instance that loads the state after a training step returns the same new memory."""
        features = self.features[0]
        one, two = self.update(features, 0), self.update(features, 1)
        x, memory = self.inputs(features, 4, 1)
        one(x, memory)  # changes the running statistics
        two.load_state_dict(one.state_dict())
        with torch.no_grad():
            assert torch.equal(two.eval()(x, memory), one.eval()(x, memory))

    def test_bfloat16(self) -> None:
        """The update works under autocast, and after the entire module has been converted to bfloat16."""
        features = self.features[0]
        x, memory = self.inputs(features, 4, 1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert bool(self.update(features)(x, memory).isfinite().all())
        half = self.update(features).to(torch.bfloat16)(x.bfloat16(), memory.bfloat16())
        assert half.dtype == torch.bfloat16

    def test_channels_last(self) -> None:
        """The memory format of the features does not affect the new memory or the gradients."""
        for features in self.features:
            if len(features) == 3:
                update = self.update(features).eval()
                x, memory = self.inputs(features, 2, 1)
                found = []
                for seen in (x, x.contiguous(memory_format=torch.channels_last)):
                    new = update(seen, memory)
                    found.append([new, *torch.autograd.grad(weigh(new), [x, memory])])
                for plain, last in zip(*found, strict=True):
                    assert_close(last, plain, 1e-4)

    def test_meta_device(self) -> None:
        """Built under ``torch.device("meta")``, the update computes shapes without allocating RAM or device memory."""
        features, size = self.features[0], self.memory
        with torch.device("meta"):
            update: MemoryUpdate = updates.get(self.name)(self.config(), features, size, "layer1")
            new = update(torch.zeros(2, *features), torch.zeros(1, size.channels, size.rows, size.columns))
        assert new.is_meta
        assert tuple(new.shape[1:]) == (size.channels, size.rows, size.columns)

    def test_features_that_are_no_maps_work_or_are_refused_clearly(self) -> None:
        """The update either works for dense features, or raises a UsageError that names the place."""
        message = refusal(lambda: self.update((6,)))
        if message is not None:
            assert "layer1" in message
            return
        update, (x, memory) = self.update((6,)), self.inputs((6,), 4, 1)
        new = update(x, memory)
        assert tuple(new.shape[1:]) == (self.memory.channels, self.memory.rows, self.memory.columns)
        weigh(new).backward()  # type: ignore[no-untyped-call]
        assert_gradients(update, x, memory)
