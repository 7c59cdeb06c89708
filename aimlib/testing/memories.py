"""Conformance tests for memory sources."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from aimlib.errors import ConfigError
from aimlib.memory.current import CurrentMemory
from aimlib.memory.initialization import initialize
from aimlib.memory.own_start import constructed
from aimlib.memory.readers import ConvReader
from aimlib.memory.sources.base import MemoryConfig, MemorySource
from aimlib.registry import memories
from aimlib.testing.conformance import Conformance, assert_close, assert_gradients, random_like, weigh


class MemorySourceConformance(Conformance):
    """Tests for a memory source: the memory's size, initial values set by the seed, gradients, dtypes and devices."""

    registry = memories
    options: ClassVar[Mapping[str, Any]] = {"channels": 3, "rows": 2, "columns": 5}

    def source(self, seed: int = 0, **more: Any) -> MemorySource:
        """Return the source with the initial values of `seed`; the options in `more` take precedence over `options`."""
        config = self.config(**more)
        source: MemorySource = constructed(config, lambda: memories.create(config), seed, "source.")
        initialize(source, seed)
        return source

    def test_memory_has_the_configured_size(self) -> None:
        """The memory is [1 or batch, channels, rows, columns], float32 and finite, for batches of 1 and 5 images."""
        source = self.source()
        for batch in (1, 5):
            memory = source(batch)
            assert memory.shape[0] in (1, batch)
            assert tuple(memory.shape[1:]) == (source.config.channels, source.config.rows, source.config.columns)
            assert memory.dtype == torch.float32
            assert bool(memory.isfinite().all())

    def test_odd_sizes(self) -> None:
        """The tested sizes are a single value, a single position, a single row, and maps with odd and even sides."""
        for channels, rows, columns in ((1, 1, 1), (5, 1, 1), (2, 1, 4), (3, 4, 3)):
            source = self.source(channels=channels, rows=rows, columns=columns)
            assert tuple(source(2).shape[1:]) == (channels, rows, columns)
            assert 0 <= source.degrees_of_freedom <= channels * rows * columns

    def test_size_may_be_given_in_floats(self) -> None:
        """Both ways of writing the size give the same run id."""
        options = {key: value for key, value in self.options.items() if key != "channels"}
        document = {"name": self.name, **options, "rows": 2, "columns": 5, "floats": 30}
        assert self.registry.parse(document) == self.config(channels=3, rows=2, columns=5)

    def test_bad_sizes_are_refused(self) -> None:
        """A ConfigError names the option."""
        bad = {"channels": 0, "rows": -1, "columns": 0, "initial_scale": -0.5, "source_lr_scale": 0.0}
        for option, value in bad.items():
            try:
                self.config(**{option: value})
            except ConfigError as error:
                assert option in str(error)  # noqa: PT017 -- importing must not require pytest
            else:
                raise AssertionError(f"{self.name!r} accepts {option}: {value}")

    def test_initial_scale_is_a_factor_on_the_start(self) -> None:
        """The test uses evaluation mode, so that it also applies to sources that draw random numbers in training."""
        one, half, zero = (self.source(initial_scale=scale).eval()(2) for scale in (1.0, 0.5, 0.0))
        assert_close(half, 0.5 * one)
        assert bool((zero == 0).all())

    def test_evaluation_depends_on_nothing_else_in_the_batch(self) -> None:
        """An image's memory is the same in every call and every batch, including in inference mode."""
        source = self.source().eval()
        expected = source(1)
        with torch.inference_mode():
            for batch in (1, 5, 1):
                memory = source(batch)
                assert torch.equal(memory, expected.expand_as(memory))

    def test_training_is_decided_by_the_seed_of_torch(self) -> None:
        """In training, a source draws from torch's generator, which the training loop seeds."""
        source = self.source().train()
        torch.manual_seed(3)
        first = source(4)
        torch.manual_seed(3)
        assert torch.equal(source(4), first)

    def test_degrees_of_freedom_are_possible(self) -> None:
        """There are at most as many degrees of freedom as values in the memory."""
        source = self.source()
        assert isinstance(source.config, MemoryConfig)
        assert 0 <= source.degrees_of_freedom <= source.config.values

    def test_every_parameter_declares_its_start(self) -> None:
        """`initialize` covers all parameters, unless the class keeps its own initial values."""
        assert type(self.config()).initial_values == "own" or initialize(self.source(), 0) == []

    def test_the_seed_decides_the_start(self) -> None:
        """Equal seeds give equal parameters; different seeds give different parameters."""
        first, again, other = (dict(self.source(seed).named_parameters()) for seed in (0, 0, 1))
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert not first or any(not torch.equal(first[name], other[name]) for name in first)

    def test_gradient_reaches_every_parameter(self) -> None:
        """A loss on the memory changes all trainable parameters."""
        source = self.source()
        memory = source(2)
        assert memory.requires_grad == any(p.requires_grad for p in source.parameters())
        if memory.requires_grad:
            weigh(memory).backward()  # type: ignore[no-untyped-call]
        assert_gradients(source)

    def test_state_dict_carries_the_memory(self) -> None:
        """A second instance that loads the state returns the same memory; checkpoints rely on this."""
        one, two = self.source(0).eval(), self.source(1).eval()
        two.load_state_dict(one.state_dict())
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
        torch.manual_seed(0)
        expected = one(2)
        torch.manual_seed(0)
        assert torch.equal(two(2), expected)

    def test_copy_is_independent(self) -> None:
        """Changing the copy's parameters does not affect the original."""
        source = self.source()
        before = [p.clone() for p in source.parameters()]
        for parameter in copy.deepcopy(source).parameters():
            parameter.data.add_(1)
        assert all(torch.equal(now, old) for now, old in zip(source.parameters(), before, strict=True))

    def test_bfloat16(self) -> None:
        """The source works under autocast, and after the entire module has been converted to bfloat16."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert bool(self.source()(2).isfinite().all())
        assert self.source().to(torch.bfloat16)(2).dtype == torch.bfloat16

    def test_meta_device(self) -> None:
        """Built under ``torch.device("meta")``, the source computes shapes without allocating RAM or device memory."""
        with torch.device("meta"):
            source: MemorySource = memories.create(self.config())
            memory = source(2)
        assert memory.is_meta
        assert all(p.is_meta for p in source.parameters())
        assert tuple(memory.shape[1:]) == (source.config.channels, source.config.rows, source.config.columns)

    def test_layers_can_read_it(self) -> None:
        """For odd sizes, single images and both memory formats, results are equal and gradients reach the source."""
        for height, width, batch in ((7, 5, 1), (3, 3, 2), (1, 1, 2)):
            source, current = self.source(), CurrentMemory()
            values = source.config.values
            added = max(1, -(-values // (height * width)))
            reader = ConvReader(torch.nn.Conv2d(2, 4, 3, padding=1), added, current)
            reader.read_weight.data.copy_(random_like(tuple(reader.read_weight.shape)))
            x = random_like((batch, 2, height, width))
            torch.manual_seed(0)
            current.write(source(batch))
            plain = reader(x)
            assert_close(reader(x.contiguous(memory_format=torch.channels_last)), plain, 1e-4)
            weigh(plain).backward()  # type: ignore[no-untyped-call]
            assert_gradients(source)
