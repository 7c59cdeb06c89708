"""The adaptive average pooling at the end of torchvision's networks."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from aimlib.memory.structure import replace_module, trace


class AdaptiveAveragePool(nn.AdaptiveAvgPool2d):
    """torch's adaptive average pooling, skipped for maps that already have its output size.

    Pooling would return such maps unchanged. However, the backward pass of a pooling to more than one value per channel
    is nondeterministic on CUDA, because the order of summation varies.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 -- torch's name
        """Return maps [batch, channels, *output_size]."""
        return input if tuple(input.shape[-2:]) == _size(self) else super().forward(input)


def leave_out_idle_pooling(network: nn.Module) -> None:
    """Make a network skip every adaptive average pooling that would have no effect. The layers keep their names."""
    for name, module in list(network.named_modules()):
        if type(module) is nn.AdaptiveAvgPool2d:
            replace_module(network, name, AdaptiveAveragePool(module.output_size))


def nondeterministic_poolings(network: nn.Module, input_shape: tuple[int, int, int]) -> tuple[str, ...]:
    """Return the names of the pooling layers whose backward pass on CUDA is nondeterministic.

    Parameters
    ----------
    input_shape : channels, height, width.
    """
    poolings = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.AdaptiveAvgPool2d) and _size(module) != (1, 1)
    }
    if not poolings:
        return ()
    calls = [call for call in trace(network, input_shape) if call.name in poolings]
    return tuple(call.name for call in calls if call.input_shape[-2:] != call.output_shape[-2:])


def _size(module: nn.AdaptiveAvgPool2d) -> tuple[int | None, ...]:
    size: Any = module.output_size
    return (size, size) if isinstance(size, int) else tuple(size)
