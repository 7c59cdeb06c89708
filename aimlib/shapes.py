"""Fast forward passes on the meta device, which computes shapes but not values.

Batch normalization has no kernel for the meta device. Torch decomposes the operation in Python, and to do so imports
its compiler, which takes more than a second and loads hundreds of modules. The decomposition is not necessary, because
the output has the shape of the input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def quick_batch_norm(network: nn.Module) -> Iterator[None]:
    """Make the batch norms of `network` compute only shapes if their input is on the meta device.

    Hooks receive tensors of the same shapes as without this context, and autograd keeps the same number of bytes.
    """
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    for layer in layers:
        layer.forward = _forward(layer, layer.forward)  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _forward(layer: _BatchNorm, exact: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        if x.device.type != "meta":
            return exact(x)
        layer._check_input_dim(x)  # type: ignore[no-untyped-call]
        if x.shape[1] != layer.num_features:
            raise ValueError(f"batch normalization of {layer.num_features} channels cannot take {x.shape[1]}")
        output: Tensor = _SameShape.apply(x, layer.weight, layer.bias)
        return output

    return forward


class _SameShape(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, _bias: Tensor | None) -> Tensor:
        mean, inverse_sd = (torch.empty(x.shape[1], dtype=torch.float32, device=x.device) for _ in range(2))
        ctx.save_for_backward(x, *([] if weight is None else [weight]), mean, inverse_sd)
        # `empty_like` would take 20 times as long, because torch decomposes it in Python on the meta device.
        dense = x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last))
        if not dense:
            return torch.empty_like(x)
        return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise NotImplementedError("tensors on the meta device have no gradients here")
