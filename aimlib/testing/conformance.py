"""Code shared by the conformance tests of all families."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from aimlib.component import ComponentConfig
from aimlib.errors import ConfigError, UsageError
from aimlib.registry import Registry


class Conformance:
    """Base class of the conformance tests: the tested plugin and its options.

    Attributes
    ----------
    registry : the family's registry; set by the subclasses in this package.
    name : the name under which the plugin is registered; set it in your subclass.
    options : the plugin's options for the tests, in addition to those that the family's tests choose.
    """

    registry: ClassVar[Registry]
    name: ClassVar[str] = ""
    options: ClassVar[Mapping[str, Any]] = {}

    def config(self, **more: Any) -> ComponentConfig:
        """Return the plugin's configuration with the tests' options."""
        assert self.name, f"{type(self).__name__} must set `name` to the registered name of the plugin"
        return self.registry.parse({"name": self.name, **self.options, **more})

    def test_configuration_survives_a_document(self) -> None:
        """A configuration stays the same if it is written to a study document and read back."""
        config = self.config()
        assert self.registry.parse(config.model_dump(mode="json")) == config

    def test_unknown_option_is_refused(self) -> None:
        """A misspelled option raises a ConfigError that names the option."""
        try:
            self.config(surely_no_such_option=1)
        except ConfigError as error:
            assert "surely_no_such_option" in str(error)  # noqa: PT017 -- importing must not require pytest
        else:
            raise AssertionError(f"{self.name!r} accepts an option that it does not have")

    def test_source_says_where_the_idea_is_from(self) -> None:
        """The class has a `source` for the report, and a docstring for the list of plugins."""
        cls = self.registry.get(self.name)
        assert getattr(cls, "source", ""), f"{cls.__name__} has no `source`"
        assert cls.__doc__, f"{cls.__name__} has no docstring"


def assert_close(actual: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    """Raise AssertionError if two tensors are not close; `tolerance` is the absolute and the relative tolerance."""
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def assert_gradients(module: nn.Module, *inputs: Tensor) -> None:
    """Raise AssertionError unless trainable parameters have finite gradients and inputs have non-zero gradients."""
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"no gradient reaches {name}"
            assert bool(parameter.grad.isfinite().all()), f"the gradient of {name} is not finite"
    for number, tensor in enumerate(inputs):
        assert tensor.grad is not None, f"no gradient reaches input {number}"
        assert bool(tensor.grad.abs().sum() > 0), f"the gradient of input {number} is zero everywhere"


def random_like(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Return standard normal numbers that depend only on `seed`."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def weigh(output: Tensor) -> Tensor:
    """Return a scalar to differentiate: the sum of the output, weighted with fixed random numbers."""
    return (output * random_like(tuple(output.shape), seed=1).to(output.dtype)).sum()


def refusal(call: Any) -> str | None:
    """Return the message of the UsageError that `call` raises; None if `call` does not raise an error."""
    try:
        call()
    except UsageError as error:
        return str(error)
    return None
