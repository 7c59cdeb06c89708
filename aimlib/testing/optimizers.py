"""Conformance tests for optimizers."""

from __future__ import annotations

import io
from typing import Any

import torch
from torch import nn

from aimlib.registry import optimizers
from aimlib.testing.conformance import Conformance, random_like
from aimlib.testing.tiny_training import assert_reproducible


class OptimizerConformance(Conformance):
    """Tests for an optimizer, which must reduce the loss, use the scheduled rate, and continue from its state."""

    registry = optimizers

    def build(self, *parameters: nn.Parameter, **more: Any) -> torch.optim.Optimizer:
        """Return the optimizer as runs build it, with one group for each parameter."""
        groups = [{"params": [parameter], "lr_scale": 1.0} for parameter in parameters]
        built: torch.optim.Optimizer = optimizers.create(self.config(**more)).build(groups)
        return built

    def parameter(self) -> nn.Parameter:
        """Return a random matrix."""
        return nn.Parameter(random_like((3, 4), seed=3))

    @staticmethod
    def steps(optimizer: torch.optim.Optimizer, count: int) -> float:
        """Minimize the sum of squares of all parameters for `count` steps; return the sum before the last step."""
        value = torch.zeros(())
        for _ in range(count):
            optimizer.zero_grad()
            parts = [(p**2).sum() for group in optimizer.param_groups for p in group["params"]]
            value = torch.stack(parts).sum()
            value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return float(value.detach())

    def test_every_group_has_the_learning_rate(self) -> None:
        """Schedules set ``group["lr"]``, which must include the scale of the group."""
        optimizer = self.build(self.parameter(), self.parameter(), learning_rate=0.0625)
        assert [group["lr"] for group in optimizer.param_groups] == [0.0625, 0.0625]
        assert [group["lr_scale"] for group in optimizer.param_groups] == [1.0, 1.0]

    def test_it_descends(self) -> None:
        """The loss is quadratic; the learning rate is the default, or the one that the options set."""
        optimizer = self.build(self.parameter())
        assert self.steps(optimizer, 50) < self.steps(self.build(self.parameter()), 1)

    def test_a_learning_rate_of_zero_changes_nothing(self) -> None:
        """At every step, the optimizer uses the learning rate that a schedule set."""
        parameter = self.parameter()
        optimizer = self.build(parameter)
        self.steps(optimizer, 2)
        before = parameter.detach().clone()
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        self.steps(optimizer, 2)
        assert torch.equal(parameter.detach(), before)

    def test_it_continues_from_its_stored_state(self) -> None:
        """The optimizer continues bit for bit from a stored state, which is read without executing code."""
        one, other = self.parameter(), self.parameter()
        first = self.build(one)
        self.steps(first, 3)
        file = io.BytesIO()
        torch.save({"optimizer": first.state_dict(), "parameter": one.detach()}, file)
        file.seek(0)
        stored = torch.load(file, weights_only=True)
        second = self.build(other)
        second.load_state_dict(stored["optimizer"])
        with torch.no_grad():
            other.copy_(stored["parameter"])
        self.steps(first, 3)
        self.steps(second, 3)
        assert torch.equal(one, other)

    def test_runs_have_the_same_bits_when_they_are_interrupted(self) -> None:
        """A run is trained, then repeated, and then resumed after every step."""
        assert_reproducible({"optimizer": {"name": self.name, **self.options}})
